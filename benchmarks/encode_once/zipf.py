"""`zipf`: requests about pictures of which few are asked for often, with the cache and without any."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, TypeAlias, TypedDict

import numpy as np
import typer
from numpy.typing import NDArray

from benchmarks import processes
from benchmarks.compare import SETTLE_S
from benchmarks.encode_once.hit_miss import PICTURE_PX, QUESTION
from benchmarks.encode_once.media import FreshMedia
from benchmarks.encode_once.profile import NO_CACHE, Changes, merged
from benchmarks.encode_once.sender import Burst, Sender, chat_body, chat_url, sender
from benchmarks.encode_once.served import Served, ours, settings
from benchmarks.findings import MIN_PAIRS, QUICK_PAIRS, Finding, console, in_order, medians, publish

EXPONENT = 1.0
"""Zipf's own: the second picture is asked for half as often as the first."""

CACHED, UNCACHED = "cached", "uncached"

Endpoint: TypeAlias = Literal["embeddings", "chat"]
SMALLER: Changes = {"generator": {"kv_cache_bytes": 256 * 1024 * 1024}}
"""Two servers run at once."""


_Metric: TypeAlias = Literal["per_s", "cpu_ms", "p50_ms", "p99_ms"]


class Turn(TypedDict):
    """One side, one sequence of requests."""

    requests: int
    media: int
    """Different pictures in it."""
    per_s: float
    cpu_ms: float
    """Of all processes of the server, for each request; its idle work included."""
    p50_ms: float
    p99_ms: float
    encoded: dict[str, int]
    """Items, by encoder."""
    others: float
    """Cores that programs which take no part kept busy; the other server is one that does."""


def weights(pictures: int) -> NDArray[np.float64]:
    """Probabilities by rank."""
    shares: NDArray[np.float64] = np.arange(1, pictures + 1, dtype=np.float64) ** -EXPONENT
    shares /= shares.sum()
    return shares


def catalogue_size(requests: int, reuse: float) -> int:
    """How many pictures there must be, so that this share of the requests is expected to repeat one.

    A picture of probability p is among n requests with probability 1 - (1 - p)^n.
    """
    wanted = (1 - reuse) * requests
    size = 1
    while size < 100 * requests and float((1 - (1 - weights(size)) ** requests).sum()) < wanted:
        size += 1
    return size


class Measurement:
    """Turns on two servers, on the same sequences of requests."""

    def __init__(
        self, sides: Mapping[str, Served], sending: Sender, *, endpoint: Endpoint, clients: int, seed: int
    ) -> None:
        self._sides = sides
        self._sending = sending
        self._endpoint = endpoint
        self._clients = clients
        self._fresh = FreshMedia()
        self._random = np.random.default_rng(seed)

    def sequence(self, requests: int, reuse: float) -> tuple[tuple[bytes, ...], tuple[int, ...]]:
        """New pictures, and who asks for which."""
        size = catalogue_size(requests, reuse)
        drawn = self._random.choice(size, requests, p=weights(size))
        _, order = np.unique(drawn, return_inverse=True)
        bodies = tuple(self._body() for _ in range(int(order.max()) + 1))
        return bodies, tuple(int(one) for one in order)

    def turn(self, name: str, bodies: tuple[bytes, ...], order: tuple[int, ...]) -> Turn:
        """All requests of a sequence, to one server."""
        server = self._sides[name]
        before = server.encoded()
        trees = {side: one.processes() for side, one in self._sides.items()}
        watch = processes.Watch({**trees, "client": [self._sending.process]})
        own = processes.CpuMeter(trees[name])
        url = chat_url(server.url) if self._endpoint == "chat" else f"{server.url}/v1/embeddings"
        sent = self._sending.send(Burst(url=url, bodies=bodies, order=order, clients=self._clients))
        cpu_s, cores = max(processes.TICK_S, own.cpu_s()), watch.cores()
        p50_ms, p99_ms = np.percentile(sent["times_ms"], [50, 99])
        return Turn(
            requests=len(order),
            media=len(bodies),
            per_s=len(order) / sent["seconds"],
            cpu_ms=1e3 * cpu_s / len(order),
            p50_ms=float(p50_ms),
            p99_ms=float(p99_ms),
            encoded=dict(server.encoded() - before),
            others=cores["others"],
        )

    def _body(self) -> bytes:
        part = self._fresh.photo(*PICTURE_PX).part()
        if self._endpoint == "chat":
            # Both servers have the same generator.
            return json.dumps(chat_body(self._sides[CACHED].model, part, QUESTION)).encode()
        return json.dumps({"model": "image", "input": [part], "encoding_format": "base64"}).encode()


def measure(
    sides: Mapping[str, Served],
    *,
    endpoint: Endpoint,
    clients: int,
    requests: int,
    reuse: float,
    pairs: int,
    seed: int,
) -> dict[str, list[Turn]]:
    """Pairs of turns on the same sequence, after one that warms both sides up."""
    turns: dict[str, list[Turn]] = {CACHED: [], UNCACHED: []}
    with sender() as sending:
        measurement = Measurement(sides, sending, endpoint=endpoint, clients=clients, seed=seed)
        for name in sides:
            measurement.turn(name, *measurement.sequence(clients, reuse))
        for number in range(pairs):
            bodies, order = measurement.sequence(requests, reuse)
            for name in in_order(number, (CACHED, UNCACHED)):
                time.sleep(SETTLE_S)
                turns[name].append(measurement.turn(name, bodies, order))
            rates = [f"{name} {side[-1]['per_s']:.1f}" for name, side in turns.items()]
            console.print(f"  {len(order)} requests, {len(bodies)} pictures; a second: {', '.join(rates)}")
    return turns


def findings(turns: Mapping[str, list[Turn]]) -> list[Finding]:
    """With the cache over without."""
    metrics: tuple[tuple[str, _Metric, str], ...] = (
        ("requests a second", "per_s", "/s"),
        ("CPU, for each request", "cpu_ms", "ms"),
        ("time of a request, p50", "p50_ms", "ms"),
        ("time of a request, p99", "p99_ms", "ms"),
    )
    return [
        medians(
            name,
            f"{CACHED} / {UNCACHED}",
            [turn[metric] for turn in turns[CACHED]],
            [turn[metric] for turn in turns[UNCACHED]],
            unit,
        )
        for name, metric, unit in metrics
    ]


def main(
    config: Annotated[Path, typer.Option(help="What is served.")] = Path("serve_config.yaml"),
    endpoint: Annotated[Endpoint, typer.Option(help="chat: one picture, one token.")] = "embeddings",
    clients: Annotated[int, typer.Option(min=1, help="Each waits for its answer.")] = 8,
    requests: Annotated[int, typer.Option(min=2, help="Of a turn.")] = 150,
    reuse: Annotated[float, typer.Option(min=0.01, max=0.99, help="Share of repeated requests.")] = 0.8,
    pairs: Annotated[int, typer.Option(min=MIN_PAIRS, help="Turns of each side.")] = MIN_PAIRS,
    seed: Annotated[int | None, typer.Option(help="Of the sequences; default: a new one.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="One short pair: does it run?")] = False,
) -> None:
    """Start a server with the cache and one without, and send both the same Zipf-distributed requests."""
    pairs, requests = (QUICK_PAIRS, 40) if quick else (pairs, requests)
    seed = secrets.randbits(32) if seed is None else seed
    options = {"endpoint": endpoint, "clients": clients, "reuse": reuse, "seed": seed}
    with ours(config, SMALLER) as cached, ours(config, merged(SMALLER, NO_CACHE)) as uncached:
        turns = measure(
            {CACHED: cached, UNCACHED: uncached},
            endpoint=endpoint,
            clients=clients,
            requests=requests,
            reuse=reuse,
            pairs=pairs,
            seed=seed,
        )
        sides = {name: settings(one.profile) for name, one in ((CACHED, cached), (UNCACHED, uncached))}
    others = max(turn["others"] for side in turns.values() for turn in side)
    publish("zipf", findings(turns), {"options": options, "turns": turns, "settings": sides}, others)
