"""Texts per second of the text encoder, and how long they wait, against transformers on the same weights."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Annotated, TypedDict, cast

import psutil
import typer

from benchmarks import processes
from benchmarks.common import median, percentile, run
from benchmarks.findings import (
    MIN_PAIRS,
    QUICK_PAIRS,
    Finding,
    Series,
    Target,
    check,
    console,
    in_order,
    medians,
    percentiles,
    publish,
)
from benchmarks.limits import Limits, Number
from benchmarks.text_turns import LIBRARY, OURS, SIDES, Turn, Turned, mixed_texts
from benchmarks.transport.session import environment
from multimodal.config import TextArgs

if TYPE_CHECKING:
    from ray.serve.handle import DeploymentHandle

AGAINST = f"{OURS} / {LIBRARY}"

FASTER, TAIL, SAME_COSINE = Target(at_least=2.5), Target(at_most=1.5), Target(at_least=0.999)

LOADS = (0.3, 0.6, 0.9)
"""Arrivals, of what the library can do at most."""
LOAD_S = 4.0
CHECKED_TEXTS = 128
TEXT_SEEDS = 1000
TEXT_MODEL = TextArgs().model


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What is run."""

    model: str
    threads: int
    callers: int
    texts: int
    """In a turn of the closed loop."""
    pairs: int
    quick: bool


class Turns(TypedDict):
    """Of each side, item i next to each other, on the same texts."""

    closed: dict[str, list[Turned]]
    opened: dict[float, dict[str, list[Turned]]]
    """By LOADS."""
    rates_per_s: dict[float, float]
    others_cores: float


class Replica:
    """Runs turns in the process that holds both sides."""

    def __init__(self, handle: DeploymentHandle[object]) -> None:
        self._handle = handle
        self.process = psutil.Process(cast("int", self.ask("process_id")))

    def ask(self, method: str, *args: object) -> object:
        """What one of its methods gives; blocks."""
        return self._handle.options(method_name=method).remote(*args).result()

    def run(self, turn: Turn) -> Turned:
        """One turn."""
        return cast("Turned", self.ask("run", turn))


@contextlib.contextmanager
def replica(options: Options) -> Iterator[Replica]:
    """A Ray of its own, until the block is left."""
    with tempfile.TemporaryDirectory(prefix="text-", ignore_cleanup_errors=True) as folder:
        os.environ |= {**environment("Serve defaults", folder), "HF_HUB_OFFLINE": "1"}
        os.environ.pop("RAY_ADDRESS", None)
        # Ray reads its environment when it is imported.
        import ray
        from ray import serve

        from benchmarks.text_sides import app

        quiet = {"log_level": "WARNING", "enable_access_log": False}
        ray.init(address="local", include_dashboard=False, num_cpus=2, log_to_driver=False)
        try:
            serve.start(proxy_location="Disabled", logging_config=quiet)
            yield Replica(serve.run(app(options.model, options.threads), route_prefix=None))
        finally:
            serve.shutdown()  # type: ignore[no-untyped-call]
            ray.shutdown()


def take_turns(there: Replica, options: Options) -> Turns:
    """Pairs of both loops, after one of the closed loop that warms up and tells what the library can do."""
    warm = pair(there, -1, options.texts, callers=options.callers)[LIBRARY]
    rates_per_s = {load: load * options.texts / warm.seconds for load in LOADS}
    watch = processes.Watch({"replica": [there.process], "driver": [psutil.Process()]})
    closed, opened = [], {load: list[dict[str, Turned]]() for load in LOADS}
    for number in range(options.pairs):
        closed.append(pair(there, number, options.texts, callers=options.callers))
        for load, rate_per_s in rates_per_s.items():
            opened[load].append(pair(there, number, round(LOAD_S * rate_per_s), rate_per_s=rate_per_s))
    return Turns(
        closed=by_side(closed),
        opened={load: by_side(pairs) for load, pairs in opened.items()},
        rates_per_s=rates_per_s,
        others_cores=watch.cores()["others"],
    )


def pair(
    there: Replica, number: int, count: int, *, callers: int = 0, rate_per_s: float = 0.0
) -> dict[str, Turned]:
    """One turn of each side, on the same texts, which no other pair has."""
    texts = mixed_texts(count, seed=TEXT_SEEDS * (number + 1) + round(rate_per_s))
    turn = Turn(side="", texts=texts, callers=callers, rate_per_s=rate_per_s, seed=number + 1)
    return {side: there.run(replace(turn, side=side)) for side in in_order(number, SIDES)}


def by_side(pairs: Sequence[Mapping[str, Turned]]) -> dict[str, list[Turned]]:
    """Lists of turns."""
    return {side: [one[side] for one in pairs] for side in SIDES}


def findings(turns: Turns, texts: int) -> list[Finding]:
    """What a text costs, how many are done, and how long they wait."""
    closed = turns["closed"]
    cpu_ms = {side: [1e3 * one.cpu_s / texts for one in closed[side]] for side in closed}
    per_s = {side: [texts / one.seconds for one in closed[side]] for side in closed}
    waits = [
        percentiles(
            percent,
            f"p{percent} of arrivals at {load:.0%} of what the library can do",
            AGAINST,
            *latencies_ms(sides),
            "ms",
            TAIL if percent == 99 else None,
        )
        for load, sides in turns["opened"].items()
        for percent in (50, 99)
    ]
    return [
        medians("CPU for each text", AGAINST, cpu_ms[OURS], cpu_ms[LIBRARY], "ms"),
        medians("texts of mixed lengths", AGAINST, per_s[OURS], per_s[LIBRARY], "1/s", FASTER),
        percentiles(99, "p99 of callers who ask without pause", AGAINST, *latencies_ms(closed), "ms", TAIL),
        *waits,
    ]


def latencies_ms(sides: Mapping[str, Sequence[Turned]]) -> tuple[list[list[float]], list[list[float]]]:
    """Ours and the library's, a list for each turn."""
    ours, library = ([one.latencies_ms for one in sides[side]] for side in SIDES)
    return ours, library


def plots(turns: Turns) -> list[Series]:
    """Latency against load."""
    rates_per_s = [turns["rates_per_s"][load] for load in turns["opened"]]
    return [
        Series(
            plot="Text encoder, latency against load",
            panel=f"p{percent}",
            side=side,
            x=rates_per_s,
            y=[
                percentile([value for one in sides[side] for value in one.latencies_ms], percent)
                for sides in turns["opened"].values()
            ],
            x_label="arrivals, texts/s",
            y_label="latency, ms",
            y_log=True,
        )
        for percent in (50, 99)
        for side in SIDES
    ]


def facts(turns: Turns, found: Limits, flops: float, options: Options) -> dict[str, float]:
    """How far the physical limit is."""
    seconds = {side: median([one.seconds for one in turns["closed"][side]]) for side in turns["closed"]}
    work = flops * options.texts
    number: Number = "bfloat16" if "bfloat16" in found.flops_per_s else "float32"
    return {
        "one text, MFLOP, on average": round(flops / 1e6),
        f"{OURS}, of GEMM peak in {number}": round(found.share(work, seconds[OURS], number), 3),
        f"{LIBRARY}, of GEMM peak in float32": round(found.share(work, seconds[LIBRARY], "float32"), 3),
        **found.facts(),
    }


def main(
    model: Annotated[str, typer.Option(help="A sentence model, as a configuration names it.")] = TEXT_MODEL,
    threads: Annotated[int, typer.Option(min=1, help="Threads and cores of the replica.")] = 1,
    callers: Annotated[int, typer.Option(min=1, help="Who ask at once, in the closed loop.")] = 16,
    texts: Annotated[int, typer.Option(min=16, help="In a turn of the closed loop.")] = 256,
    pairs: Annotated[int, typer.Option(min=MIN_PAIRS, help="Turns of each side.")] = MIN_PAIRS,
    quick: Annotated[bool, typer.Option("--quick", help="One pair: does it run?")] = False,
) -> None:
    """Compare TextEncoder with transformers' float32 eager model, on the same weights, texts and cores."""
    options = Options(
        model=model,
        threads=threads,
        callers=callers,
        texts=texts,
        pairs=QUICK_PAIRS if quick else pairs,
        quick=quick,
    )
    with replica(options) as there:
        checked = mixed_texts(CHECKED_TEXTS, seed=0)
        cosines = cast("list[float]", there.ask("cosines", checked))
        turns = take_turns(there, options)
        found = cast("Limits", there.ask("limits", quick))
        flops = cast("float", there.ask("flops", checked))
    details: dict[str, object] = {
        "options": asdict(options),
        "checks": [check("cosine with the library's vectors, lowest", min(cosines), SAME_COSINE)],
        "facts": facts(turns, found, flops, options),
        "series": plots(turns),
        "turns": as_json(turns),
        "limits": found.as_json(),
    }
    console.print(f"Lowest cosine of both sides: {min(cosines):.6f}")
    console.print(details["facts"])
    publish("text-encoder", findings(turns, texts), details, turns["others_cores"])


def as_json(turns: Turns) -> dict[str, object]:
    """For the results file: without each single latency."""

    def short(sides: Mapping[str, Sequence[Turned]]) -> dict[str, list[dict[str, float]]]:
        return {
            side: [{"seconds": one.seconds, "cpu_s": one.cpu_s} for one in found]
            for side, found in sides.items()
        }

    opened = {f"{load:g}": short(sides) for load, sides in turns["opened"].items()}
    return {"closed": short(turns["closed"]), "opened": opened}


if __name__ == "__main__":
    run(main)
