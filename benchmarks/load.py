"""Prompts, the concurrent streams that send them, and what is measured of their answers."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NotRequired, TypeAlias, TypedDict, cast

import aiohttp

from benchmarks.common import median, percentile

Streams: TypeAlias = Sequence[Sequence[str]]
"""For each concurrent stream, the prompts that it sends one after the other."""

_SYLLABLES = ("ba", "con", "der", "fil", "gor", "lam", "mer", "nu", "pel", "rin", "sto", "tar", "vi", "zen")


class StageSeen(TypedDict):
    """A stage of a request, as the end of its answer reports it (`stream_options.include_stages`)."""

    stage: str
    param: NotRequired[str | None]
    seconds: float
    cached: NotRequired[bool]
    """Nothing was encoded: all was known already."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One streamed answer. Times are seconds on the clock of the process that received it."""

    sent_s: float
    arrivals_s: tuple[float, ...]
    """When each piece of text arrived; pieces without text (control tokens) do not count."""
    ended_s: float
    text: str
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int
    """Prompt tokens found in the prefix cache."""
    began_s: float | None = None
    """When its first token was there, be it one without text; None where that is not known."""
    stages: tuple[StageSeen, ...] = ()
    """Where they were asked for."""


class Metrics(TypedDict):
    """One turn of one side."""

    ttft_ms: float
    """Median over requests: sent to first piece of text."""
    itl_p50_ms: float
    itl_p99_ms: float
    """Percentiles of the time between two pieces of text of one answer, all answers together."""
    tpot_ms: float
    """Median over requests: time per output token after the first piece, however tokens are grouped."""
    tokens_per_s: float
    """Output tokens of all streams, first request sent to last answer ended."""


class PromptSource:
    """Prompts that differ from their first words on: no prefix cache finds one in another."""

    def __init__(self, seed: int, words: int) -> None:
        self._random = random.Random(seed)
        self._words = words

    def streams(self, count: int, rounds: int) -> list[list[str]]:
        """`rounds` new prompts for each of `count` streams."""
        return [[self._prompt() for _ in range(rounds)] for _ in range(count)]

    def _prompt(self) -> str:
        note = " ".join("".join(self._random.choices(_SYLLABLES, k=2)) for _ in range(self._words))
        return f"{note}\n\nThese are names. Write a long story about some of them."


async def run_turn(ask: Callable[[str], Awaitable[Answer]], streams: Streams) -> list[Answer]:
    """All streams at once, each asking its prompts one by one. Answers are in the order of the prompts."""

    async def stream(prompts: Sequence[str]) -> list[Answer]:
        return [await ask(prompt) for prompt in prompts]

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(stream(prompts)) for prompts in streams]
    return [answer for task in tasks for answer in task.result()]


def measure(answers: Sequence[Answer]) -> Metrics:
    """Raises ValueError when an answer has no text, or none has two pieces of it."""
    gaps_s = [later - sooner for one in answers for sooner, later in pairwise(one.arrivals_s)]
    duration_s = max(one.ended_s for one in answers) - min(one.sent_s for one in answers)
    if not all(one.arrivals_s for one in answers):
        raise ValueError("An answer had no text.")
    return Metrics(
        ttft_ms=1e3 * median([one.arrivals_s[0] - one.sent_s for one in answers]),
        itl_p50_ms=1e3 * percentile(gaps_s, 50),
        itl_p99_ms=1e3 * percentile(gaps_s, 99),
        tpot_ms=1e3 * median([_per_token_s(one) for one in answers]),
        tokens_per_s=sum(one.completion_tokens for one in answers) / duration_s,
    )


def _per_token_s(answer: Answer) -> float:
    return (answer.ended_s - answer.arrivals_s[0]) / max(1, answer.completion_tokens - 1)


# --- over HTTP ---------------------------------------------------------------------------------


class _Delta(TypedDict, total=False):
    content: str


class _Choice(TypedDict):
    delta: _Delta


class _PromptDetails(TypedDict):
    cached_tokens: int


class _Usage(TypedDict):
    prompt_tokens: int
    completion_tokens: int
    prompt_tokens_details: _PromptDetails | None


class _Chunk(TypedDict, total=False):
    choices: list[_Choice]
    usage: _Usage | None
    stages: list[StageSeen] | None
    error: dict[str, object]


class HttpAsker:
    """Asks a server that speaks OpenAI's API. aiohttp, because its parser takes the least CPU time."""

    def __init__(self, session: aiohttp.ClientSession, url: str, model: str, max_tokens: int) -> None:
        self._session = session
        self._url = f"{url.rstrip('/')}/v1/chat/completions"
        self._fixed: dict[str, object] = {
            "model": model,
            "max_tokens": max_tokens,
            "temperature": 0,
            "ignore_eos": True,
            "stream": True,
            "stream_options": {"include_usage": True},
        }

    async def ask(self, prompt: str) -> Answer:
        """Raises RuntimeError for anything but a complete answer."""
        return await self.chat([{"role": "user", "content": prompt}])

    async def chat(
        self,
        messages: Sequence[Mapping[str, object]],
        options: Mapping[str, object] | None = None,
        reader: SseReader | None = None,
    ) -> Answer:
        """A conversation; `options` replace fields of the body. Raises as `ask` does.

        A `reader` of the caller's own has what came until then where this is cancelled.
        """
        body = json.dumps({**self._fixed, "messages": messages, **(options or {})}).encode()
        reader = reader or SseReader()
        sent_s = time.perf_counter()
        headers = {"Content-Type": "application/json"}
        async with self._session.post(self._url, data=body, headers=headers) as response:
            if response.status != 200:
                raise RuntimeError(f"The server answered {response.status}: {(await response.text())[:500]}")
            async for data in response.content.iter_any():
                reader.feed(data, time.perf_counter())
        return reader.answer(sent_s)


class SseReader:
    """Collects the chunks of one streamed completion, in whatever pieces they arrive."""

    def __init__(self) -> None:
        self._rest = b""
        self._texts: list[str] = []
        self.arrivals_s: list[float] = []
        """As in Answer, so far."""
        self.began_s: float | None = None
        """As in Answer."""
        self._ended_s = 0.0
        self._usage: _Usage | None = None
        self._stages: tuple[StageSeen, ...] = ()

    def feed(self, data: bytes, now_s: float) -> None:
        """Raises RuntimeError for an error event."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            if line.startswith(b"data: {"):
                self._see(cast(_Chunk, json.loads(line[6:])), now_s)

    def _see(self, chunk: _Chunk, now_s: float) -> None:
        if "error" in chunk:
            raise RuntimeError(f"The stream failed: {chunk['error']}")
        self._usage = chunk.get("usage") or self._usage
        self._stages = tuple(chunk.get("stages") or self._stages)
        for choice in chunk.get("choices", ()):
            # Servers send the role when they have the first token.
            self.began_s = self.began_s or now_s
            self._ended_s = now_s
            if text := choice["delta"].get("content"):
                self._texts.append(text)
                self.arrivals_s.append(now_s)

    def answer(self, sent_s: float) -> Answer:
        """All of it. Raises RuntimeError when the stream ended early."""
        if self._usage is None:
            raise RuntimeError("The stream ended without its usage.")
        details = self._usage["prompt_tokens_details"]
        return Answer(
            sent_s=sent_s,
            arrivals_s=tuple(self.arrivals_s),
            ended_s=self._ended_s,
            text="".join(self._texts),
            prompt_tokens=self._usage["prompt_tokens"],
            completion_tokens=self._usage["completion_tokens"],
            cached_tokens=details["cached_tokens"] if details else 0,
            began_s=self.began_s,
            stages=self._stages,
        )
