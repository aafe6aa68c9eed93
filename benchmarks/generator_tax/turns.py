"""Rounds: each side gets the same prompts, one side at a time, in an order that rotates."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypedDict, TypeVar

from benchmarks import processes
from benchmarks.common import median
from benchmarks.generator_tax.sides import ALONE, BARE, NAMES, OURS, SideName, Sides
from benchmarks.load import Answer, PromptSource, Streams, measure

T = TypeVar("T")

SETTLE_S = 1.0
"""After a side that was stopped goes on: its timers are due, all at once."""

MANY_STREAMS = 16
"""From here on, one request of each stream makes a turn long enough."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What is run."""

    streams: tuple[int, ...]
    rounds: int
    max_tokens: int
    prompt_words: int
    seed: int

    def requests(self, streams: int) -> int:
        """Of each stream in a turn."""
        return 1 if streams >= MANY_STREAMS else 2


class Turn(TypedDict):
    """One side, all streams at once."""

    cpu_ms: float
    """Of all processes of the side, for each token of the answers."""
    tokens_per_s: float
    tpot_ms: float
    """As in `load.Metrics`."""
    ttft_ms: list[float]
    """Of each request: sent to first piece of text."""
    inter_token_ms: list[float]
    """Between two pieces of text of one answer, all answers together."""
    pieces: int
    """Of text: below the number of tokens where several travel together."""
    cores: dict[str, float]
    """Kept busy, by side; "client" is the load generator, "others" take no part."""


class Round(TypedDict):
    """A turn of each side on the same prompts."""

    turns: dict[SideName, Turn]
    prompt_tokens: float
    """Median."""
    same_answers: float
    """Share of texts of ours that equal the bare engine's. Below 1 where batches differ, as sums in bfloat16
    then do."""


class Measurement:
    """All rounds."""

    def __init__(self, sides: Sides, options: Options) -> None:
        self._sides = sides
        self._options = options
        self._prompts = PromptSource(options.seed, options.prompt_words)

    def at(self, streams: int, report: Callable[[int, Round], None]) -> list[Round]:
        """After a round that warms up; each is reported with its number."""
        self._round(0, streams, 1)
        found = []
        for number in range(self._options.rounds):
            found.append(self._round(number, streams, self._options.requests(streams)))
            report(number, found[-1])
        return found

    def _round(self, number: int, streams: int, requests: int) -> Round:
        prompts = self._prompts.streams(streams, requests)
        # The same server as OURS would find the same prompts in its prefix cache.
        prompts_alone = self._prompts.streams(streams, requests)
        turns: dict[SideName, Turn] = {}
        answers: dict[SideName, list[Answer]] = {}
        for name in rotated(NAMES, number):
            turns[name], answers[name] = self._turn(name, prompts_alone if name == ALONE else prompts)
        check_same_work(answers, self._options.max_tokens)
        pairs = zip(answers[OURS], answers[BARE], strict=True)
        return Round(
            turns=turns,
            prompt_tokens=median([one.prompt_tokens for one in answers[BARE]]),
            same_answers=sum(one.text == other.text for one, other in pairs) / len(answers[OURS]),
        )

    def _turn(self, name: SideName, streams: Streams) -> tuple[Turn, list[Answer]]:
        with self._sides.only(name) as side:
            time.sleep(SETTLE_S)
            watch = processes.Watch(self._sides.trees())
            own = processes.CpuMeter(side.processes())
            answers = side.run(streams)
            return turn_of(answers, own.cpu_s(), watch.cores()), answers


def turn_of(answers: Sequence[Answer], cpu_s: float, cores: dict[str, float]) -> Turn:
    """Raises ValueError when an answer has no text."""
    metrics = measure(answers)
    gaps_s = [later - sooner for one in answers for sooner, later in pairwise(one.arrivals_s)]
    return Turn(
        cpu_ms=1e3 * max(cpu_s, processes.TICK_S) / sum(one.completion_tokens for one in answers),
        tokens_per_s=metrics["tokens_per_s"],
        tpot_ms=metrics["tpot_ms"],
        ttft_ms=[1e3 * (one.arrivals_s[0] - one.sent_s) for one in answers],
        inter_token_ms=[1e3 * gap_s for gap_s in gaps_s],
        pieces=sum(len(one.arrivals_s) for one in answers),
        cores=cores,
    )


def rotated(sides: Sequence[T], number: int) -> Sequence[T]:
    """Each side is first, second and last equally often in as many rounds as there are sides; every other
    time around backwards, so that no side always follows the same one."""
    start = number % len(sides)
    turned = [*sides[start:], *sides[:start]]
    return turned if (number // len(sides)) % 2 == 0 else turned[::-1]


def check_same_work(answers: Mapping[SideName, Sequence[Answer]], max_tokens: int) -> None:
    """Raises RuntimeError where the sides did not do the same: then the numbers mean nothing."""
    for name, of_side in answers.items():
        for one, bare in zip(of_side, answers[BARE], strict=True):
            if one.completion_tokens != max_tokens:
                raise RuntimeError(
                    f"An answer of {name} has {one.completion_tokens} tokens, not {max_tokens}."
                )
            if name == ALONE:
                continue
            if one.prompt_tokens != bare.prompt_tokens:
                raise RuntimeError(
                    f"A prompt has {one.prompt_tokens} tokens at {name}, {bare.prompt_tokens} at {BARE}."
                )
            if one.cached_tokens != bare.cached_tokens:
                raise RuntimeError(
                    f"{name} found {one.cached_tokens} tokens of a prompt in its prefix cache, {BARE} "
                    f"{bare.cached_tokens}: leave --seed out."
                )
