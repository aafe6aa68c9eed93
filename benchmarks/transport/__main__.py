"""`python -m benchmarks.transport`: arrays between deployments, by reference and by value."""

from __future__ import annotations

from typing import Annotated

import typer

from benchmarks import processes
from benchmarks.common import run
from benchmarks.findings import MIN_PAIRS, QUICK_PAIRS, console, publish
from benchmarks.transport.measure import Found, Measurement
from benchmarks.transport.outcome import findings, series, switch_overs, turns
from benchmarks.transport.session import LOOPS, session


def main(
    pairs: Annotated[int, typer.Option(min=MIN_PAIRS, help="Turns of each way, of each size.")] = 9,
    quick: Annotated[bool, typer.Option("--quick", help="One pair: does it run?")] = False,
) -> None:
    """Move arrays of several sizes between two deployments, with Serve's default loops and in one loop."""
    pairs = QUICK_PAIRS if quick else pairs
    found: dict[str, Found] = {}
    idle_cores: dict[str, float] = {}
    others_cores = 0.0
    for loops in LOOPS:
        console.print(f"{loops}: starting Ray and Serve")
        with session(loops) as served:
            idle_cores[loops] = processes.idle_cores(served.processes())
            measurement = Measurement(served)
            found[loops] = measurement.run(pairs)
            others_cores = max(others_cores, measurement.others_cores)
    facts = {name: str(one) for name, one in switch_overs(found).items()}
    for name, text in facts.items():
        console.print(f"{name}: {text}", soft_wrap=True)
    facts |= {f"cores while idle, {loops}": f"{cores:.3f}" for loops, cores in idle_cores.items()}
    details = {"facts": facts, "series": series(found), "turns": turns(found)}
    publish("transport", findings(found), details, others_cores)


if __name__ == "__main__":
    run(main)
