"""`hit-miss`: how long a request is in the stage `encode`, of a medium that is new and of the same again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal, TypedDict

import psutil
import typer

from benchmarks import processes
from benchmarks.encode_once.media import FreshMedia, Medium
from benchmarks.encode_once.sender import client_session
from benchmarks.encode_once.served import Served, ours, settings
from benchmarks.findings import MIN_PAIRS, QUICK_PAIRS, Finding, Target, console, medians, publish
from benchmarks.load import Answer, HttpAsker

QUESTION = "What is it?"
ENCODE = "encode"
TARGET = Target(at_least=20)
PICTURE_PX = (1024, 768)
SECONDS = 30.0

STAGES = {"stream_options": {"include_usage": True, "include_stages": True}}

MAKERS: Mapping[str, Callable[[FreshMedia], Medium]] = {
    "picture": lambda fresh: fresh.photo(*PICTURE_PX),
    "speech, 30 s": lambda fresh: fresh.speech(SECONDS),
    "clip, 30 s": lambda fresh: fresh.clip(SECONDS),
}


class Request(TypedDict):
    """One answer of one token."""

    encode_ms: float
    ttft_ms: float
    stages_ms: dict[str, float]
    cached: bool
    """The server said that nothing was encoded."""


class Pair(TypedDict):
    """The same medium twice."""

    miss: Request
    hit: Request
    others: float
    """Cores that programs which take no part kept busy meanwhile."""


def request_of(answer: Answer) -> Request:
    """Raises RuntimeError where the answer does not say how long it took to encode."""
    stages_ms: dict[str, float] = {}
    for one in answer.stages:
        stages_ms[one["stage"]] = stages_ms.get(one["stage"], 0.0) + 1e3 * one["seconds"]
    if ENCODE not in stages_ms or answer.began_s is None:
        raise RuntimeError("The answer names no stage `encode`: is stream_options.include_stages served?")
    return Request(
        # Times are told in microseconds: what is faster counts as one.
        encode_ms=max(1e-3, stages_ms[ENCODE]),
        ttft_ms=1e3 * (answer.began_s - answer.sent_s),
        stages_ms=stages_ms,
        cached=any(one["stage"] == ENCODE and one.get("cached", False) for one in answer.stages),
    )


class Measurement:
    """Pairs of requests, one at a time."""

    def __init__(self, asker: HttpAsker, server: Sequence[psutil.Process]) -> None:
        self._asker = asker
        self._server = server
        self._fresh = FreshMedia()

    async def pair(self, kind: str) -> Pair:
        """A medium of this kind that is new, and then not."""
        medium = MAKERS[kind](self._fresh)
        watch = processes.Watch({"server": self._server, "client": [psutil.Process()]})
        miss, hit = await self._ask(medium), await self._ask(medium)
        return Pair(miss=miss, hit=hit, others=watch.cores()["others"])

    async def _ask(self, medium: Medium) -> Request:
        content = [medium.part(), {"type": "text", "text": QUESTION}]
        return request_of(await self._asker.chat([{"role": "user", "content": content}], STAGES))


async def measure(server: Served, pairs: int) -> dict[str, list[Pair]]:
    """The kinds take turns; the first round warms up."""
    found: dict[str, list[Pair]] = {kind: [] for kind in MAKERS}
    async with client_session() as session:
        measurement = Measurement(HttpAsker(session, server.url, server.model, 1), server.processes())
        for number in range(pairs + 1):
            for kind, before in found.items():
                pair = await measurement.pair(kind)
                if number:
                    before.append(pair)
                    miss, hit = pair["miss"]["encode_ms"], pair["hit"]["encode_ms"]
                    console.print(f"  {kind}: {miss:.1f} ms and {hit:.3f} ms")
    return found


def findings(found: Mapping[str, Sequence[Pair]]) -> list[Finding]:
    """Of each kind, the stage and the time to the first token."""
    return [line for kind, pairs in found.items() for line in _of_kind(kind, pairs)]


def _of_kind(kind: str, pairs: Sequence[Pair]) -> list[Finding]:
    metrics: tuple[tuple[str, Literal["encode_ms", "ttft_ms"], Target | None], ...] = (
        ("stage encode", "encode_ms", TARGET),
        ("TTFT", "ttft_ms", None),
    )
    return [
        medians(
            f"{kind}: {name}, p50",
            "miss / hit",
            [pair["miss"][metric] for pair in pairs],
            [pair["hit"][metric] for pair in pairs],
            "ms",
            target,
        )
        for name, metric, target in metrics
    ]


def main(
    config: Annotated[Path, typer.Option(help="What is served.")] = Path("serve_config.yaml"),
    pairs: Annotated[int, typer.Option(min=MIN_PAIRS, help="Media of each kind.")] = 9,
    quick: Annotated[bool, typer.Option("--quick", help="One pair: does it run?")] = False,
) -> None:
    """Ask about new media, and about the same again; pictures, speech and clips take turns."""
    pairs = QUICK_PAIRS if quick else pairs
    with ours(config) as server:
        found = asyncio.run(measure(server, pairs))
        details = {"pairs": found, "settings": settings(server.profile)}
    told = [pair["hit"]["cached"] for pairs_ in found.values() for pair in pairs_]
    console.print(f"Hits that the server calls cached: {sum(told)} of {len(told)}.")
    others = max(pair["others"] for pairs_ in found.values() for pair in pairs_)
    publish("hit-miss", findings(found), details, others)
