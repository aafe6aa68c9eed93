"""Both ways of a picture into one engine: as pixels, or as embeddings that a tower beside it made of them."""

from __future__ import annotations

import asyncio
import itertools
import multiprocessing
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.load import PromptSource
from multimodal.config import GeneratorArgs, VisionArgs
from multimodal.generation.bypass import Route
from multimodal.stages import VisionBackend
from multimodal.types import (
    GenerateRequest,
    GeneratorEmbedding,
    Image,
    MediaKind,
    MediaPart,
    PromptMessage,
    RequestContext,
    Role,
    Sampling,
    TextPart,
    Visual,
)

if TYPE_CHECKING:
    from multimodal.generation.engine import VllmEngine

TURN_TIMEOUT_S = 300.0
TEXT_TOKENS = 1024
"""Of each answer under way; the next one begins when it ends."""
TEXT_WORDS = 16
WARM_UP_PX = 56
"""Of the picture that the tower's process begins with, so that it is there before anything is measured."""
_POLL_S = 0.002


@dataclass(frozen=True, slots=True)
class Turn:
    """One picture, one way."""

    ttft_s: float
    """From the decoded picture to the first token."""
    stall_s: float | None
    """The longest that a text request under way waited for its next token meanwhile; None: there is none."""


class Pictures:
    """Noise, each picture another: neither vLLM's cache of media nor its prefix cache knows any."""

    def __init__(self, seed: int) -> None:
        self._random = np.random.default_rng(seed)
        self._numbers = itertools.count()

    def next(self, side_px: int) -> Image:
        """A new square picture, decoded."""
        pixels = self._random.integers(0, 256, (side_px, side_px, 3), np.uint8)
        name = f"{next(self._numbers):064x}"
        return Image(sha256=name, pixels=pixels, width=side_px, height=side_px, format="png")


class Sides:
    """One engine and one tower of one checkpoint. Entering boots both: tens of seconds."""

    def __init__(self, model: Path, generator: GeneratorArgs, vision: VisionArgs) -> None:
        self._model = model
        self._generator = generator
        self._tower = ProcessPoolExecutor(
            1, multiprocessing.get_context("spawn"), initializer=_open, initargs=(model, vision)
        )
        self._numbers = itertools.count()

    async def __aenter__(self) -> Sides:
        from multimodal.generation.engine import VllmEngine

        await self._seen(Route.TOWER, Pictures(0).next(WARM_UP_PX))
        self._engine: VllmEngine = VllmEngine(self._model, self._generator)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._tower.shutdown(cancel_futures=True)
        self._engine.close()

    async def turn(self, route: Route, image: Image, others: Others) -> Turn:
        """Ask about one picture. Raises what the engine raises."""
        begun_s = time.perf_counter()
        visual = await self._seen(route, image)
        async with aclosing(self._arrivals(_about_a_picture(), [visual])) as arrivals:
            first_s = await anext(arrivals)
        return Turn(ttft_s=first_s - begun_s, stall_s=await others.stall_s(begun_s, first_s))

    async def _seen(self, route: Route, image: Image) -> Visual:
        if route is Route.ENGINE:
            return image
        return await asyncio.get_running_loop().run_in_executor(self._tower, _see, image)

    @asynccontextmanager
    async def text_under_way(self, count: int, seed: int) -> AsyncGenerator[Others, None]:
        """So many text requests, each followed by another one, until the block is left."""
        prompts = PromptSource(seed, TEXT_WORDS)

        async def ask() -> AsyncGenerator[float, None]:
            while True:
                async with aclosing(self._arrivals(_text(prompts.streams(1, 1)[0][0]), [])) as arrivals:
                    async for arrival_s in arrivals:
                        yield arrival_s

        others = Others(ask, count)
        try:
            await others.ready()
            yield others
        finally:
            await others.end()

    async def _arrivals(
        self, request: GenerateRequest, visuals: Sequence[Visual]
    ) -> AsyncGenerator[float, None]:
        """When each token came."""
        ctx = RequestContext(
            request_id=f"bypass-{next(self._numbers)}",
            tenant="benchmark",
            deadline_s=time.time() + TURN_TIMEOUT_S,
        )
        async with aclosing(self._engine.generate(ctx, request, visuals)) as steps:
            async for step in steps:
                if any(delta.tokens for delta in step.deltas):
                    yield time.perf_counter()


class Others:
    """Text requests under way, and when their tokens came."""

    def __init__(self, ask: Callable[[], AsyncGenerator[float, None]], count: int) -> None:
        self._arrivals_s: list[list[float]] = [[] for _ in range(count)]
        self._tasks = [asyncio.ensure_future(_record(ask(), seen)) for seen in self._arrivals_s]

    async def ready(self) -> None:
        """Until each has its first token."""
        await self._reach(float("-inf"))

    async def stall_s(self, start_s: float, end_s: float) -> float | None:
        """The longest gap between two tokens of one request of which some part lies between these times."""
        await self._reach(end_s)
        gaps = [longest_gap_s(seen, start_s, end_s) for seen in self._arrivals_s]
        for seen in self._arrivals_s:
            del seen[:-1]
        return max(gaps, default=None)

    async def end(self) -> None:
        """Abort them."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _reach(self, moment_s: float) -> None:
        """Until each has a token after this moment. Raises what ended one of them."""
        while not all(seen and seen[-1] > moment_s for seen in self._arrivals_s):
            for task in self._tasks:
                if task.done():
                    task.result()
            await asyncio.sleep(_POLL_S)


def longest_gap_s(arrivals_s: Sequence[float], start_s: float, end_s: float) -> float:
    """Of the gaps that overlap these times; 0 where there is none."""
    gaps = itertools.pairwise(arrivals_s)
    return max((later - sooner for sooner, later in gaps if later > start_s and sooner < end_s), default=0.0)


async def _record(arrivals: AsyncGenerator[float, None], seen: list[float]) -> None:
    async with aclosing(arrivals):
        async for arrival_s in arrivals:
            seen.append(arrival_s)


def _about_a_picture() -> GenerateRequest:
    picture = MediaPart(kind=MediaKind.IMAGE, param="picture", lines=("A picture.",), visual=0)
    return _request((picture, TextPart(text="What is it?")), tokens=1)


def _text(prompt: str) -> GenerateRequest:
    return _request((TextPart(text=prompt),), tokens=TEXT_TOKENS)


def _request(parts: tuple[TextPart | MediaPart, ...], tokens: int) -> GenerateRequest:
    return GenerateRequest(
        messages=(PromptMessage(role=Role.USER, parts=parts),),
        sampling=Sampling(max_tokens=tokens, temperature=0.0, ignore_eos=True),
    )


# --- in the tower's process --------------------------------------------------------------------

_tower: VisionBackend | None = None


def _open(model: Path, vision: VisionArgs) -> None:
    global _tower
    from multimodal.encoders.towers.opening import open_tower

    _tower = open_tower(model, vision)


def _see(image: Image) -> GeneratorEmbedding:
    if _tower is None:
        raise RuntimeError("The tower is not open.")
    return _tower.see([(image, ())])[0]
