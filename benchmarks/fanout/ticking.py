"""An engine that makes nothing: at each step every stream has one token more, whether it is ready or not."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncGenerator, Sequence

from multimodal.types import Delta, GenerateRequest, GenerationStep, RequestContext, Usage, Visual

TOKEN_CHARACTERS = 2
_CYCLE = " 0 1 2 3 4 5 6 7 8 9"


def token(number: int) -> str:
    """Text of the token with this number, from 0: TOKEN_CHARACTERS."""
    return f" {number % 10}"


def count(text: str) -> int:
    """Tokens of the beginning of an answer. Raises ValueError where one is missing, or out of order."""
    tokens, rest = divmod(len(text), TOKEN_CHARACTERS)
    if rest or text != (_CYCLE * (tokens // 10 + 1))[: len(text)]:
        wrong = re.sub(r"(?: 0 1 2 3 4 5 6 7 8 9)+", " ... ", text)[:80]
        raise ValueError(f"Tokens were lost or changed places: {wrong!r}.")
    return tokens


class Ticker:
    """The steps. Streams that are slow find more than one token waiting, as in an engine that is a process of
    its own."""

    def __init__(self, step_s: float) -> None:
        self._step_s = step_s
        self._steps = 0
        self._streams = 0
        self._stepped = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def stream(self, tokens: int) -> AsyncGenerator[str, None]:
        """Texts of tokens, at most one for each step from now on."""
        self._streams += 1
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run())
        before = self._steps
        try:
            for number in range(tokens):
                while self._steps <= before + number:
                    await self._stepped.wait()
                yield token(number)
        finally:
            self._streams -= 1

    async def _run(self) -> None:
        due_s = time.perf_counter()
        while self._streams:
            due_s += self._step_s
            await asyncio.sleep(max(0.0, due_s - time.perf_counter()))
            self._steps += 1
            self._stepped.set()
            self._stepped = asyncio.Event()


class TickingGenerator:
    """The same as the engine of our graph. Implements `GeneratorBackend`."""

    def __init__(self, step_s: float) -> None:
        self._ticker = Ticker(step_s)

    async def generate(
        self, ctx: RequestContext, request: GenerateRequest, visuals: Sequence[Visual]
    ) -> AsyncGenerator[GenerationStep, None]:
        """As many tokens as the request says."""
        tokens = request.sampling.max_tokens or 1
        yield GenerationStep()
        async for text in self._ticker.stream(tokens):
            yield GenerationStep(deltas=(Delta(index=0, text=text, tokens=1),))
        yield GenerationStep(
            deltas=(Delta(index=0, text="", tokens=0, finish_reason="length"),),
            usage=Usage(prompt_tokens=1, completion_tokens=tokens, cached_tokens=0),
        )

    async def check_health(self) -> None:
        """Always well."""

    def close(self) -> None:
        """Nothing runs."""
