"""`python -m benchmarks.graph_tax`."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from benchmarks import processes
from benchmarks.common import run, write_results
from benchmarks.encode_once.sender import chat_url
from benchmarks.findings import console, publish
from benchmarks.graph_tax import profiling, report, sides
from benchmarks.graph_tax.measure import Measurement
from benchmarks.graph_tax.plan import CLIENTS, FULL, QUICK, TOKENS, Plan
from benchmarks.graph_tax.turns import Bench
from benchmarks.graph_tax.workload import Workload
from benchmarks.open_loop import Closed, Load, loader

_STOPS = {signal.SIGINT, signal.SIGTERM}

PROFILED = ("Gateway", "MediaLoader")
PROFILED_REQUESTS = 200
"""Sent again and again meanwhile, each time new ones."""


def main(
    quick: Annotated[bool, typer.Option("--quick", help="Two pairs of short turns: no measurement.")] = False,
    config: Annotated[Path, typer.Option(help="The profile, whose models are replaced.")] = Path(
        "serve_config.yaml"
    ),
    serve: Annotated[str, typer.Option(help="Only serve this side, until Ctrl-C.")] = "",
    profile: Annotated[str, typer.Option(help="Only show where this side's time goes.")] = "",
    seed: Annotated[int, typer.Option(help="Of pictures.")] = 7,
) -> None:
    """What a request through the whole graph costs, with models that do nothing.

    Sides: "ours", "Serve defaults" (the same graph with Ray Serve as it comes), and "uvicorn" (one process
    that does the HTTP and JSON work alone).
    """
    if serve:
        _serve(serve, config)
    elif profile:
        _profile(profile, config, Workload(seed, TOKENS))
    else:
        _measure(QUICK if quick else FULL, config, Workload(seed, TOKENS))


def _measure(plan: Plan, config: Path, workload: Workload) -> None:
    with ExitStack() as stack:
        loading = stack.enter_context(loader())
        found = {name: stack.enter_context(sides.serving(name, config)) for name in sides.SIDES}
        compared: Sequence[str] = (sides.OURS, sides.DEFAULTS)
        measured = Measurement(Bench(found, loading), plan, workload, compared).run()
        idle_cores = {name: processes.idle_cores(side.processes()) for name, side in found.items()}
    others = max(turn.cores["others"] for turn in measured.turns())
    details = report.details(measured, idle_cores)
    options = {"plan": asdict(plan), "tokens": TOKENS, "clients": CLIENTS}
    publish("graph-tax", report.findings(measured), {"options": options, **details}, others)


def _serve(name: str, config: Path) -> None:
    with sides.serving(name, config) as side:
        console.print(f"{side.name}: {side.url}, process {side.root.pid}", soft_wrap=True)
        # Not before: the server's processes would not hear of them either.
        signal.pthread_sigmask(signal.SIG_BLOCK, _STOPS)
        signal.sigwait(_STOPS)


def _profile(name: str, config: Path, workload: Workload) -> None:
    with sides.serving(name, config) as side, loader() as loading:

        def load() -> int:
            bodies = workload.fresh(PROFILED_REQUESTS, stream=True)
            request = Load(url=chat_url(side.url), bodies=bodies, pace=Closed(clients=CLIENTS))
            return len(loading.run(request).latencies_ms)

        load()
        found = [profiling.profile(side.root, replica, load) for replica in PROFILED]
    for one in found:
        for table in profiling.tables(one):
            console.print(table)
    results = {"side": name, "profiles": [asdict(one) for one in found]}
    console.print(f"Results: {write_results('graph-tax-profile', results)}", soft_wrap=True)


if __name__ == "__main__":
    run(main)
