"""`single-flight`: 64 requests at once for one picture that nobody has seen; how often is it encoded?"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal, TypeAlias, TypedDict

import typer

from benchmarks import processes
from benchmarks.encode_once.hit_miss import PICTURE_PX, QUESTION
from benchmarks.encode_once.media import FreshMedia
from benchmarks.encode_once.sender import Burst, Sender, chat_body, chat_url, sender
from benchmarks.encode_once.served import Served, ours, settings
from benchmarks.findings import (
    MIN_PAIRS,
    QUICK_PAIRS,
    Finding,
    Target,
    console,
    in_order,
    medians,
    publish,
    sums,
)

ENCODER = "ImageEncoder"
TARGET = Target(at_most=1.02)
IDENTICAL, DISTINCT = "identical", "distinct"


_Cost: TypeAlias = Literal["cpu_s", "seconds"]
COSTS: Mapping[str, _Cost] = {"CPU": "cpu_s", "time of the burst": "seconds"}
"""Of a request: its share of what its turn took."""


class Turn(TypedDict):
    """One burst, or several one after the other."""

    requests: int
    media: int
    """Different pictures."""
    encoded: dict[str, int]
    """Items, by encoder."""
    seconds: float
    cpu_s: float
    """Of the server."""
    others: float


class Measurement:
    """Turns on one server."""

    def __init__(self, server: Served, sending: Sender) -> None:
        self._server = server
        self._sending = sending
        self._fresh = FreshMedia()

    def identical(self, requests: int, pictures: int) -> Turn:
        """For each picture, so many requests at once."""
        bodies = self._bodies(pictures)
        return self._turn(bodies, [[number] * requests for number in range(pictures)])

    def distinct(self, requests: int) -> Turn:
        """So many at once, each with a picture of its own."""
        return self._turn(self._bodies(requests), [list(range(requests))])

    def _bodies(self, count: int) -> tuple[bytes, ...]:
        parts = [self._fresh.photo(*PICTURE_PX).part() for _ in range(count)]
        return tuple(json.dumps(chat_body(self._server.model, part, QUESTION)).encode() for part in parts)

    def _turn(self, bodies: tuple[bytes, ...], bursts: Sequence[Sequence[int]]) -> Turn:
        before = self._server.encoded()
        sides = {"server": self._server.processes(), "client": [self._sending.process]}
        watch = processes.Watch(sides)
        own = processes.CpuMeter(sides["server"])
        seconds = 0.0
        for order in bursts:
            burst = Burst(
                url=chat_url(self._server.url), bodies=bodies, order=tuple(order), clients=len(order)
            )
            seconds += self._sending.send(burst)["seconds"]
        cpu_s, cores = max(processes.TICK_S, own.cpu_s()), watch.cores()
        encoded = self._server.encoded() - before
        return Turn(
            requests=sum(map(len, bursts)),
            media=len(bodies),
            encoded=dict(encoded),
            seconds=seconds,
            cpu_s=cpu_s,
            others=cores["others"],
        )


def measure(server: Served, requests: int, pictures: int, distinct: int, pairs: int) -> dict[str, list[Turn]]:
    """Pairs of turns, after one that warms up."""
    turns: dict[str, list[Turn]] = {IDENTICAL: [], DISTINCT: []}
    with sender() as sending:
        measurement = Measurement(server, sending)
        measurement.distinct(2)

        for number in range(pairs):
            for side in in_order(number, (IDENTICAL, DISTINCT)):
                same = side == IDENTICAL
                turns[side].append(
                    measurement.identical(requests, pictures) if same else measurement.distinct(distinct)
                )
            last = turns[IDENTICAL][-1]
            console.print(f"  {last['requests']} requests, {last['media']} pictures: {last['encoded']}")
    return turns


def findings(turns: dict[str, list[Turn]]) -> list[Finding]:
    """What identical requests cost, and what different ones do."""
    same, different = turns[IDENTICAL], turns[DISTINCT]
    return [
        sums(
            f"{ENCODER}: items, all bursts of identical requests",
            "items / pictures",
            [float(turn["encoded"].get(ENCODER, 0)) for turn in same],
            [float(turn["media"]) for turn in same],
            "",
            TARGET,
        ),
        *[
            medians(
                f"{name}, for each request",
                f"{IDENTICAL} / {DISTINCT}",
                [1e3 * turn[key] / turn["requests"] for turn in same],
                [1e3 * turn[key] / turn["requests"] for turn in different],
                "ms",
            )
            for name, key in COSTS.items()
        ],
    ]


def main(
    config: Annotated[Path, typer.Option(help="What is served.")] = Path("serve_config.yaml"),
    requests: Annotated[int, typer.Option(min=2, help="Identical requests at once.")] = 64,
    pictures: Annotated[int, typer.Option(min=1, help="Pictures of a turn, one burst for each.")] = 3,
    distinct: Annotated[int, typer.Option(min=1, help="Different requests at once, in between.")] = 8,
    pairs: Annotated[int, typer.Option(min=MIN_PAIRS, help="Turns of each side.")] = MIN_PAIRS,
    quick: Annotated[bool, typer.Option("--quick", help="One pair: does it run?")] = False,
) -> None:
    """Ask the same of a new picture many times at once, and count what the encoders did."""
    pairs = QUICK_PAIRS if quick else pairs
    with ours(config) as server:
        turns = measure(server, requests, pictures, distinct, pairs)
        details = {"turns": turns, "settings": settings(server.profile)}
    others = max(turn["others"] for side in turns.values() for turn in side)
    publish("single-flight", findings(turns), details, others)
