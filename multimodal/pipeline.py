"""The life of a chat request: load and encode every medium at once, describe it, generate.

Written over the `Stages` protocol, so that it runs the same on Ray Serve and on coroutines in tests.
Total time is the slowest medium plus generation, never a sum over media.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import TypeVar, cast

from multimodal.config import AppArgs
from multimodal.errors import DeadlineExceeded, LostMedia, MultimodalError
from multimodal.generation.describe import describe_audio, describe_image, describe_video
from multimodal.stages import Stages
from multimodal.types import (
    ChatEvent,
    ChatRequest,
    Deferred,
    GenerateRequest,
    MediaKind,
    MediaPart,
    MediaSkipped,
    MediaSource,
    OnMediaError,
    PromptMessage,
    PromptPart,
    RequestContext,
    StageEvent,
    StageState,
    TextEmbeddings,
    TextPart,
    Visual,
)

T = TypeVar("T")


@dataclass(slots=True)
class Understood:
    """What became of one medium."""

    part: MediaPart
    visual: Deferred[Visual] | None = None


class _Events:
    """Events of concurrent work, in the order in which they happen, until it is done."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[ChatEvent | None] = asyncio.Queue()

    def put(self, event: ChatEvent) -> None:
        self._queue.put_nowait(event)

    def close(self) -> None:
        self._queue.put_nowait(None)

    async def __aiter__(self) -> AsyncIterator[ChatEvent]:
        while (event := await self._queue.get()) is not None:
            yield event


class Assistant:
    """Answers requests with the stages of the graph."""

    def __init__(self, stages: Stages, args: AppArgs) -> None:
        self._stages = stages
        self._args = args

    async def embed(self, ctx: RequestContext, texts: Sequence[str]) -> TextEmbeddings:
        """One unit vector for each text, in order. Raises InvalidRequest for a text that is too long."""
        return await self._within(ctx, self._stages.embed_text(ctx, texts))

    async def states(self) -> Mapping[str, StageState]:
        """State of every deployment by name."""
        return await self._stages.states()

    async def metrics(self) -> Mapping[str, Sequence[str]]:
        """Metrics of every replica in Prometheus' text format, by deployment, current."""
        return await self._stages.metrics()

    async def chat(self, ctx: RequestContext, request: ChatRequest) -> AsyncGenerator[ChatEvent, None]:
        """Stream what happens: stages, media that were skipped, then the answer.

        Closing the iterator aborts all that is still running. Raises the error of the first medium that
        fails, unless the request says to skip such media.
        """
        ctx = replace(ctx, deadline_s=ctx.deadline_s + self._media_allowance_s(request))
        events = _Events()
        work = asyncio.ensure_future(self._understand_all(ctx, request, events))
        work.add_done_callback(lambda _: events.close())
        try:
            async for event in events:
                yield event
            understood = await work
        finally:
            await _cancel(work)
        prompt, visuals = _prompt(request, understood)
        entered_s = time.perf_counter()
        yield StageEvent(stage="generate")
        async with aclosing(self._stages.generate(ctx, prompt, visuals)) as steps:
            async for step in steps:
                yield step
        yield StageEvent(stage="generate", seconds=time.perf_counter() - entered_s)

    def _media_allowance_s(self, request: ChatRequest) -> float:
        """Further seconds for sound and video, by an upper estimate of how long they play."""
        limits = self._args.limits
        longest_s = {MediaKind.AUDIO: limits.audio_s, MediaKind.VIDEO: limits.video_s, MediaKind.IMAGE: 0.0}
        media_s = sum(
            min(longest_s[source.kind], len(source.data) / SPEECH_BYTES_PER_S) for source in _sources(request)
        )
        return self._args.deadline.per_media_s * media_s

    async def _understand_all(
        self, ctx: RequestContext, request: ChatRequest, events: _Events
    ) -> dict[str, Understood]:
        """Every medium at the same time; the first failure ends the rest."""
        tasks: dict[str, asyncio.Task[Understood | None]] = {}
        try:
            async with asyncio.TaskGroup() as group:
                for source in _sources(request):
                    step = self._understand_or_skip(ctx, source, request.on_media_error, events)
                    tasks[source.param] = group.create_task(step)
        except BaseExceptionGroup as errors:
            raise _first(errors) from None
        return {param: result for param, task in tasks.items() if (result := task.result()) is not None}

    async def _understand_or_skip(
        self, ctx: RequestContext, source: MediaSource, on_error: OnMediaError, events: _Events
    ) -> Understood | None:
        entered_s = time.perf_counter()
        events.put(StageEvent(stage="encode", param=source.param))
        try:
            return await self._within(ctx, self._understand_twice(ctx, source))
        except MultimodalError as error:
            error.param = error.param or source.param
            if on_error is OnMediaError.FAIL:
                raise
            events.put(MediaSkipped(param=source.param, code=error.code, message=error.message))
            return None
        finally:
            elapsed_s = time.perf_counter() - entered_s
            events.put(StageEvent(stage="encode", param=source.param, seconds=elapsed_s))

    async def _understand_twice(self, ctx: RequestContext, source: MediaSource) -> Understood:
        """Decoded media die with the replica that holds them; then they are loaded again, once."""
        try:
            return await self._understand(ctx, source)
        except LostMedia:
            return await self._understand(ctx, source)

    async def _understand(self, ctx: RequestContext, source: MediaSource) -> Understood:
        """Load one medium and hand it to every stage that wants it, without waiting in between."""
        started: list[Deferred[object]] = []
        try:
            return await self._encode(ctx, source, started)
        except BaseException:
            # Whatever ended this, Ray goes on with calls that nobody waits for, unless it is told.
            self._stages.abandon(*started)
            raise

    async def _encode(
        self, ctx: RequestContext, source: MediaSource, started: list[Deferred[object]]
    ) -> Understood:
        """Every call is put into `started` before it is waited for."""
        stages, param = self._stages, source.param

        def begin(call: Deferred[T]) -> Deferred[T]:
            started.append(call)
            return call

        media = begin(stages.load(ctx, source))
        # A generator with its own tower is given what was decoded, by reference.
        visual = cast(Deferred[Visual], media) if self._args.generator.pixels else None
        if source.kind is MediaKind.AUDIO:
            return Understood(describe_audio(param, await begin(stages.transcribe(ctx, media))))
        if source.kind is MediaKind.VIDEO:
            return Understood(describe_video(param, await begin(stages.watch(ctx, media))), visual)
        features = begin(stages.encode_image(ctx, media))
        text = begin(stages.read(ctx, media))
        if stages.has_vision_tower:
            visual = begin(stages.see(ctx, media, features))
        return Understood(describe_image(param, *await asyncio.gather(features, text)), visual)

    async def _within(self, ctx: RequestContext, work: Awaitable[T]) -> T:
        try:
            async with asyncio.timeout(ctx.remaining_s()):
                return await work
        except TimeoutError:
            raise DeadlineExceeded(
                "The request was not finished in time. Send fewer or shorter media."
            ) from None


SPEECH_BYTES_PER_S = 4000
"""32 kbit/s: below what speech is usually compressed to, so the estimate of its length is an upper one."""


def _sources(request: ChatRequest) -> list[MediaSource]:
    return [part for message in request.messages for part in message.parts if isinstance(part, MediaSource)]


def _prompt(
    request: ChatRequest, understood: Mapping[str, Understood]
) -> tuple[GenerateRequest, list[Deferred[Visual]]]:
    """The conversation with every medium in its place, and the visuals in the order of their numbers."""
    visuals: list[Deferred[Visual]] = []

    def told(part: TextPart | MediaSource) -> PromptPart | None:
        if isinstance(part, TextPart):
            return part
        if (result := understood.get(part.param)) is None:
            return None
        if result.visual is None:
            return result.part
        visuals.append(result.visual)
        return replace(result.part, visual=len(visuals) - 1)

    messages = tuple(
        PromptMessage(
            role=message.role,
            parts=tuple(part for part in map(told, message.parts) if part is not None),
        )
        for message in request.messages
    )
    return GenerateRequest(messages=messages, sampling=request.sampling), visuals


def _first(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    """The error that came first, however deep it is nested."""
    first = errors.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first


async def _cancel(work: asyncio.Future[dict[str, Understood]]) -> None:
    """End the work, and wait until all of it has ended."""
    work.cancel()
    await asyncio.wait([work])
    if not work.cancelled():
        work.exception()  # seen: it was raised already, or nobody is there to hear of it
