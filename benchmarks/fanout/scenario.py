"""Tokens of many streams at saturation: our graph against Serve's default streaming."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Literal, TypeAlias, TypedDict

import psutil
import typer

from benchmarks import processes
from benchmarks.encode_once.sender import chat_url
from benchmarks.fanout.sides import DEFAULTS, NAMES, OURS, SideName, serving
from benchmarks.fanout.window import watch
from benchmarks.findings import MIN_PAIRS, Finding, Target, console, in_order, medians, publish
from benchmarks.generator_tax.client import Client, run
from benchmarks.generator_tax.stopping import end_in_order, stopped
from benchmarks.graph_tax.sides import Side
from benchmarks.graph_tax.workload import MODEL

TARGET = Target(at_least=4.0)
QUICK_PAIRS = 2
QUICK_SECONDS = 2.0

MAX_TOKENS = 8000
"""More than a window takes; the context of the embedded profile is a little longer."""

QUIET_CORES = 0.4
"""Below this, a side has given up what nobody waits for any more."""
QUIET_TIMEOUT_S = 30.0
_QUIET_CHECK_S = 0.5

_Metric: TypeAlias = Literal["cpu_ms", "tokens_per_s", "events_per_s"]


class Turn(TypedDict):
    """One window of one side."""

    cpu_ms: float
    """Of all processes of the server, for 1000 tokens."""
    tokens_per_s: float
    """Of all streams together."""
    events_per_s: float
    slowest_share: float
    """Tokens of the slowest stream, of what it would have if all had the same."""
    cores: dict[str, float]


class Measurement:
    """Turns, each while the other side is stopped."""

    def __init__(self, sides: Mapping[SideName, Side], streams: int, seconds: float) -> None:
        self._sides = sides
        self._streams = streams
        self._seconds = seconds

    def turn(self, name: SideName) -> Turn:
        """One of them. Raises RuntimeError when the answers are not what they should be."""
        others = [side.processes() for other, side in self._sides.items() if other != name]
        with stopped([process for tree in others for process in tree]):
            self._quiet(self._sides[name])
            turn = self._watch(name)
            self._quiet(self._sides[name])
            return turn

    def _watch(self, name: SideName) -> Turn:
        trees: dict[str, list[psutil.Process]] = {side: one.processes() for side, one in self._sides.items()}
        meter = processes.Watch({**trees, "client": [psutil.Process()]})
        cpu_s = partial(processes.cpu_s, trees[name])
        client = Client(chat_url(self._sides[name].url))
        window = run(watch(client, [_body()] * self._streams, self._seconds, cpu_s))
        return Turn(
            cpu_ms=1e6 * window.cpu_s / max(1, window.tokens),
            tokens_per_s=window.tokens / window.seconds,
            events_per_s=window.events / window.seconds,
            slowest_share=window.slowest_tokens * self._streams / max(1, window.tokens),
            cores=meter.cores(),
        )

    def _quiet(self, side: Side) -> None:
        deadline = time.monotonic() + QUIET_TIMEOUT_S
        while processes.idle_cores(side.processes(), _QUIET_CHECK_S) > QUIET_CORES:
            if time.monotonic() > deadline:
                raise RuntimeError(f"{side.name} goes on although nobody listens.")


def _body() -> bytes:
    messages = [{"role": "user", "content": "Count."}]
    body = {"model": MODEL, "messages": messages, "max_tokens": MAX_TOKENS, "stream": True}
    return json.dumps(body).encode()


def findings(turns: Mapping[SideName, Sequence[Turn]], streams: int) -> list[Finding]:
    """Ours over Serve's defaults."""
    metrics: tuple[tuple[str, _Metric, str, Target | None], ...] = (
        ("CPU, for 1000 tokens", "cpu_ms", "ms", None),
        ("tokens delivered", "tokens_per_s", "/s", TARGET),
        ("events", "events_per_s", "/s", None),
    )
    return [
        medians(
            f"{title}, {streams} streams",
            f"{OURS} / {DEFAULTS}",
            [turn[metric] for turn in turns[OURS]],
            [turn[metric] for turn in turns[DEFAULTS]],
            unit,
            target,
        )
        for title, metric, unit, target in metrics
    ]


def facts(turns: Mapping[SideName, Sequence[Turn]], offered_per_s: float) -> dict[str, float]:
    """What to know before believing the ratios."""
    found = {"tokens a second that the engine makes": offered_per_s}
    for name, of_side in turns.items():
        found[f"slowest stream, share of the mean, {name}"] = min(turn["slowest_share"] for turn in of_side)
        found[f"cores of the load generator, {name}"] = max(turn["cores"]["client"] for turn in of_side)
    return found


def main(
    config: Annotated[Path, typer.Option(help="What is served, but for the models.")] = Path(
        "serve_config.yaml"
    ),
    streams: Annotated[int, typer.Option(min=1, help="Open at the same time.")] = 64,
    step_ms: Annotated[float, typer.Option(min=0.1, help="Of the engine: a token for each stream.")] = 2.0,
    seconds: Annotated[float, typer.Option(min=0.5, help="Of a window.")] = 5.0,
    pairs: Annotated[int, typer.Option(min=MIN_PAIRS, help="Windows of each side.")] = MIN_PAIRS,
    quick: Annotated[bool, typer.Option("--quick", help="Two short pairs: does it run?")] = False,
) -> None:
    """Start both servers, and open streams to one at a time."""
    end_in_order()
    pairs, seconds = (QUICK_PAIRS, min(QUICK_SECONDS, seconds)) if quick else (pairs, seconds)
    turns: dict[SideName, list[Turn]] = {name: [] for name in NAMES}
    with serving(OURS, config, step_ms) as ours, serving(DEFAULTS, config, step_ms) as defaults:
        measurement = Measurement({OURS: ours, DEFAULTS: defaults}, streams, seconds)
        for name in NAMES:
            measurement.turn(name)
        for number in range(pairs):
            for name in in_order(number, NAMES):
                turns[name].append(measurement.turn(name))
            rates = [f"{name} {of_side[-1]['tokens_per_s']:.0f}" for name, of_side in turns.items()]
            console.print(f"  tokens/s: {', '.join(rates)}")
    options = {"streams": streams, "step_ms": step_ms, "seconds": seconds}
    details = {"options": options, "facts": facts(turns, 1e3 * streams / step_ms), "turns": turns}
    others = max(turn["cores"]["others"] for of_side in turns.values() for turn in of_side)
    publish("fanout", findings(turns, streams), details, others)
