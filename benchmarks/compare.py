"""Pairs of turns: the server, then the bare engine, on the same prompts, each alone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Literal, TypeAlias, TypedDict, cast, get_args

import psutil

from benchmarks import processes
from benchmarks.bare import BareEngine
from benchmarks.common import median, ratio_of_medians
from benchmarks.load import Answer, HttpAsker, Metrics, PromptSource, Streams, measure, run_turn

SETTLE_S = 2.0
"""Between turns: vLLM's processes poll for 1 s after their last step (`SpinCondition.busy_loop_s`)."""

MetricName: TypeAlias = Literal["ttft_ms", "itl_p50_ms", "itl_p99_ms", "tpot_ms", "tokens_per_s"]
METRICS: tuple[MetricName, ...] = get_args(MetricName)

_CoresName: TypeAlias = Literal["http_cores", "bare_cores"]
SIDES: tuple[_CoresName, ...] = get_args(_CoresName)

BUSY_CORES = 0.2
"""More than this of other programs in a turn is pointed out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What is run."""

    url: str
    streams: tuple[int, ...]
    pairs: int
    rounds: int
    max_tokens: int
    prompt_words: int
    seed: int


class Cores(TypedDict):
    """Who kept the processor busy during a turn, cores on average."""

    server: float
    """Every process of it; 0 where it runs on another machine."""
    bare: float
    client: float
    """The load generator, which is this process."""
    others: float
    """Everything else on this machine. Much of it makes the turn worthless."""


class Pair(TypedDict):
    """One turn of each side, on the same prompts, next to each other."""

    http: Metrics
    bare: Metrics
    http_cores: Cores
    """During the server's turn."""
    bare_cores: Cores
    """During the bare engine's turn."""
    same_answers: float
    """Share of equal texts. Below 1 where batches differ, because sums in bfloat16 then do."""
    prompt_tokens: float
    """Median."""


class Summary(TypedDict):
    """All pairs at one number of streams."""

    streams: int
    ratios: dict[str, dict[str, float]]
    """Metric -> HTTP / bare with its confidence interval."""
    http: dict[str, float]
    bare: dict[str, float]
    """Metric -> median over pairs."""
    pairs: list[Pair]


class Comparison:
    """Both sides, and turns of one while the other is idle."""

    def __init__(
        self, http: HttpAsker, bare: BareEngine, server: Sequence[psutil.Process], options: Options
    ) -> None:
        self._http = http
        self._bare = bare
        self._server = server
        self._options = options
        self._prompts = PromptSource(options.seed, options.prompt_words)

    async def at(self, streams: int, report: Callable[[int, Pair], None]) -> Summary:
        """Warm both sides up, then measure pairs, and report each with its number."""
        await self._pair(self._prompts.streams(streams, 1))
        pairs = []
        for number in range(1, self._options.pairs + 1):
            pairs.append(await self._pair(self._prompts.streams(streams, self._options.rounds)))
            report(number, pairs[-1])
        return summarise(streams, pairs)

    async def _pair(self, streams: Streams) -> Pair:
        self._bare.pause()
        try:
            cores = self._meter()
            served = await run_turn(self._http.ask, streams)
            http_cores = cores()
        finally:
            self._bare.resume()
        await asyncio.sleep(SETTLE_S)
        cores = self._meter()
        direct = await asyncio.to_thread(self._bare.run, streams)
        bare_cores = cores()
        await asyncio.sleep(SETTLE_S)
        check_same_work(served, direct, self._options.max_tokens)
        return Pair(
            http=measure(served),
            bare=measure(direct),
            http_cores=http_cores,
            bare_cores=bare_cores,
            same_answers=sum(a.text == b.text for a, b in zip(served, direct, strict=True)) / len(served),
            prompt_tokens=median([one.prompt_tokens for one in direct]),
        )

    def _meter(self) -> Callable[[], Cores]:
        watch = processes.Watch(
            {"server": self._server, "bare": self._bare.processes(), "client": [psutil.Process()]}
        )
        return lambda: cast("Cores", watch.cores())


def check_same_work(served: Sequence[Answer], direct: Sequence[Answer], max_tokens: int) -> None:
    """Raises RuntimeError where the sides did not do the same: then the numbers mean nothing."""
    for ours, theirs in zip(served, direct, strict=True):
        if ours.prompt_tokens != theirs.prompt_tokens:
            raise RuntimeError(
                f"The server fed {ours.prompt_tokens} prompt tokens and the bare engine "
                f"{theirs.prompt_tokens}: does --config name the file that the server runs?"
            )
        if {ours.completion_tokens, theirs.completion_tokens} != {max_tokens}:
            raise RuntimeError(f"Not every answer has {max_tokens} tokens.")
        if ours.cached_tokens != theirs.cached_tokens:
            raise RuntimeError(
                f"The server found {ours.cached_tokens} prompt tokens in its prefix cache and the bare "
                f"engine {theirs.cached_tokens}: leave --seed out, or restart the server."
            )


def summarise(streams: int, pairs: list[Pair]) -> Summary:
    """Ratios of medians first, absolute medians second."""
    http = {name: [pair["http"][name] for pair in pairs] for name in METRICS}
    bare = {name: [pair["bare"][name] for pair in pairs] for name in METRICS}
    return Summary(
        streams=streams,
        ratios={name: asdict(ratio_of_medians(http[name], bare[name])) for name in METRICS},
        http={name: median(http[name]) for name in METRICS},
        bare={name: median(bare[name]) for name in METRICS},
        pairs=pairs,
    )


def remarks(pairs: Sequence[Pair]) -> list[str]:
    """What to know before believing the numbers."""
    server = median([pair["bare_cores"]["server"] for pair in pairs])
    bare = median([pair["http_cores"]["bare"] for pair in pairs])
    others = max(pair[side]["others"] for pair in pairs for side in SIDES)
    same = min(pair["same_answers"] for pair in pairs)
    lines = [
        f"Cores used while the other side ran: server {server:.2f}, bare engine {bare:.2f}.",
        f"Equal answers: {same:.0%} or more of each turn.",
    ]
    if others > BUSY_CORES:
        lines.append(
            f"Other programs used up to {others:.2f} cores in a turn: run it again on an idle machine."
        )
    return lines
