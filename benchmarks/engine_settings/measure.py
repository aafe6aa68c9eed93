"""Turns of a candidate and of the baseline on the same prompts, next to each other."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import psutil

# Pydantic, which reads these, needs this one in Python 3.11.
from typing_extensions import TypedDict

from benchmarks import processes
from benchmarks.engine_settings.engine import MAX_TOKENS, Engine
from benchmarks.findings import in_order
from benchmarks.generator_tax.stopping import stopped
from benchmarks.load import Answer, PromptSource, Streams, measure

SideName: TypeAlias = Literal["candidate", "baseline"]
SIDES: tuple[SideName, ...] = get_args(SideName)

LONG_WORDS = 408
"""Make prompts of about 1,000 tokens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What is asked in a turn: a prompt of each stream."""

    name: str
    streams: int
    words: int


LOADS = (
    Load(name="1 stream", streams=1, words=16),
    Load(name="16 streams", streams=16, words=16),
    Load(name="long prompt", streams=1, words=LONG_WORDS),
)


class Turn(TypedDict):
    """One load of one side."""

    cpu_ms: float
    """For each token of the answers, all processes of the engine, prefill included."""
    tokens_per_s: float
    ttft_ms: float
    tpot_ms: float
    prompt_tokens: float
    """Of the first prompt."""
    cached_tokens: float
    """Of it, in the prefix cache: the beginning that all prompts have."""


Pair: TypeAlias = dict[str, dict[SideName, Turn]]
"""By load."""


class Comparison:
    """A candidate and the baseline, both ready, and both stopped but for their turns."""

    def __init__(self, candidate: Engine, baseline: Engine, prompts: Mapping[str, PromptSource]) -> None:
        self._engines: dict[SideName, Engine] = {"candidate": candidate, "baseline": baseline}
        self._prompts = prompts
        self.others_cores = 0.0
        """The most that programs which take no part kept busy in a turn."""

    def run(self, pairs: int, report: Callable[[Pair], None]) -> list[Pair]:
        """An unmeasured pair warms up."""
        self._pair(0)
        self.others_cores = 0.0
        found = []
        for number in range(pairs):
            found.append(self._pair(number))
            report(found[-1])
        return found

    def _pair(self, number: int) -> Pair:
        return {load.name: self._of_load(number, load) for load in LOADS}

    def _of_load(self, number: int, load: Load) -> dict[SideName, Turn]:
        streams = self._prompts[load.name].streams(load.streams, 1)
        return {side: self._turn(side, streams) for side in in_order(number, SIDES)}

    def _turn(self, side: SideName, streams: Streams) -> Turn:
        engine = self._engines[side]
        [other] = (one for name, one in self._engines.items() if name != side)
        with stopped(other.processes()):
            watch = processes.Watch({"engine": engine.processes(), "client": [psutil.Process()]})
            meter = processes.CpuMeter(engine.processes())
            answers = engine.run(streams)
            cpu_s = meter.cpu_s()
            self.others_cores = max(self.others_cores, watch.cores()["others"])
        return turn_of(answers, cpu_s)


def turn_of(answers: Sequence[Answer], cpu_s: float) -> Turn:
    """Raises RuntimeError where an answer is not whole."""
    if any(one.completion_tokens != MAX_TOKENS for one in answers):
        raise RuntimeError(f"Not every answer has {MAX_TOKENS} tokens.")
    measured = measure(answers)
    return Turn(
        cpu_ms=1e3 * cpu_s / sum(one.completion_tokens for one in answers),
        tokens_per_s=measured["tokens_per_s"],
        ttft_ms=measured["ttft_ms"],
        tpot_ms=measured["tpot_ms"],
        prompt_tokens=answers[0].prompt_tokens,
        cached_tokens=answers[0].cached_tokens,
    )


def boot_s(engine: Engine) -> float:
    """Seconds until it is ready, counted from now. Raises RuntimeError where it ends instead."""
    started_s = time.perf_counter()
    engine.wait()
    return time.perf_counter() - started_s
