"""All benchmarks that the suite runs, in the order in which it does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

PATIENCE = 3.0
"""A scenario is ended after this many times the minutes that it should take."""
MIN_LIMIT_S = 180.0
"""A server alone may take so long to start on a busy machine."""


class Mode(StrEnum):
    """Does it run, or what is the number."""

    QUICK = "quick"
    FULL = "full"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One benchmark, which runs in a process of its own."""

    name: str
    measures: str
    """Which part of the product, against what."""
    full: str
    """What follows `python -m`."""
    quick: str | None = None
    """The same in a tenth of the time; None: there is no such way."""
    full_minutes: float
    quick_minutes: float = 0.0
    in_quick: bool = False
    """Whether a quick suite has it; else it takes too long for ten minutes, but --only runs it."""

    def arguments(self, mode: Mode) -> tuple[str, ...]:
        """Module and options. Raises ValueError where it has no quick way."""
        line = self.full if mode is Mode.FULL else self.quick
        if line is None:
            raise ValueError(f"{self.name} has no quick way: run it with `full`.")
        return tuple(line.split())

    def minutes(self, mode: Mode) -> float:
        """What it takes on two cores, about."""
        return self.full_minutes if mode is Mode.FULL else self.quick_minutes

    def limit_s(self, mode: Mode) -> float:
        """When it is ended."""
        return max(MIN_LIMIT_S, 60 * PATIENCE * self.minutes(mode))

    @property
    def exists(self) -> bool:
        """Whether its module is in this checkout."""
        base = Path(__file__).parent.parent.joinpath(*self.full.split()[0].split("."))
        return base.is_dir() or base.with_suffix(".py").is_file()


def _with_quick(
    name: str, measures: str, command: str, *, full: float, quick: float, in_quick: bool = True
) -> Scenario:
    return Scenario(
        name=name,
        measures=measures,
        full=command,
        quick=f"{command} --quick",
        full_minutes=full,
        quick_minutes=quick,
        in_quick=in_quick,
    )


def _encode_once(name: str, measures: str, *, full: float) -> Scenario:
    command = f"benchmarks.encode_once {name}"
    return _with_quick(name, measures, command, full=full, quick=2, in_quick=False)


SCENARIOS: Sequence[Scenario] = (
    # What a reader asks for first, so that a suite that is stopped has it.
    _with_quick(
        "graph-tax",
        "the graph without models, against Ray Serve's defaults and one uvicorn process",
        "benchmarks.graph_tax",
        full=25,
        quick=3.4,
    ),
    _with_quick(
        "generator-tax",
        "tokens per second over HTTP, against vLLM's own server and the bare engine",
        "benchmarks.generator_tax",
        full=40,
        quick=3.7,
    ),
    _with_quick(
        "bench-serve",
        "our endpoint with vLLM's own client, for text and for pictures",
        "benchmarks.generator_tax bench-serve",
        full=15,
        quick=2.5,
        in_quick=False,
    ),
    _with_quick(
        "fanout",
        "streams of one answer each, against Serve's default streaming",
        "benchmarks.fanout",
        full=3,
        quick=1.4,
        in_quick=False,
    ),
    _with_quick(
        "transport",
        "frames from one deployment to another, by reference against by value",
        "benchmarks.transport",
        full=8,
        quick=1.5,
        in_quick=False,
    ),
    # One stage each, against the plain library.
    _with_quick("text-encoder", "sentence vectors", "benchmarks.text_encoder", full=4, quick=1.1),
    _with_quick("image-encoder", "the image tower", "benchmarks.image_encoder", full=1, quick=0.2),
    _with_quick("speech", "speech to text", "benchmarks.speech", full=5, quick=0.5),
    _with_quick("jpeg", "large photographs, decoded small", "benchmarks.jpeg", full=1.2, quick=0.2),
    _with_quick("frames", "frames of a clip", "benchmarks.frames", full=1.2, quick=0.2),
    _with_quick("ocr", "lines of text in pictures", "benchmarks.ocr", full=2, quick=0.5),
    _with_quick(
        "engine-settings",
        "settings of vLLM on the CPU, against the default",
        "benchmarks.engine_settings",
        full=40,
        quick=4,
        in_quick=False,
    ),
    # The same medium twice; each starts its servers.
    _encode_once("hit-miss", "a medium that is new, against the same again", full=5),
    _encode_once("single-flight", "one new picture in 64 chats at once", full=5),
    _encode_once("second-turn", "a second question about a picture, against vLLM's own server", full=8),
    _encode_once("flood", "text chats beside a flood of pictures, against none and vLLM's server", full=8),
    _encode_once("zipf", "popular media with the cache, against without", full=6),
    # No quick way: most of their time goes into what they start or prepare.
    Scenario(
        name="startup",
        measures="launch to the first streamed token",
        full="benchmarks.startup --runs 3",
        full_minutes=6,
    ),
    Scenario(
        name="bypass",
        measures="pictures in the engine, against VisionTower",
        full="benchmarks.bypass",
        full_minutes=15,
    ),
    Scenario(
        name="retrieval",
        measures="filtered search, against the bare engine",
        full="benchmarks.retrieval --points 20000",
        full_minutes=10,
    ),
    Scenario(
        name="ingestion",
        measures="files into the library, and what live requests notice of it",
        full="benchmarks.ingestion --pairs 7",
        full_minutes=12,
    ),
)
"""`memory` and `idle` are missing: they measure a server that is running already."""


def chosen(mode: Mode, only: Sequence[str]) -> list[Scenario]:
    """By name, else all of the mode. Raises ValueError for a name that is none."""
    if unknown := set(only) - {one.name for one in SCENARIOS}:
        raise ValueError(f"No scenario is called {', '.join(sorted(unknown))}: see --list.")
    if only:
        return [one for one in SCENARIOS if one.name in only]
    return [one for one in SCENARIOS if mode is Mode.FULL or one.in_quick]
