"""The life of a request: load and encode every medium at once, describe it, generate.

Written over the `Stages` protocol, so that it runs the same on Ray Serve and on coroutines in tests.
Total time is the slowest medium plus generation, never a sum over media.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Generic, TypeVar

from multimodal.config import AppArgs
from multimodal.errors import MultimodalError
from multimodal.stages import Stages
from multimodal.types import (
    AnalysisEvent,
    AnalysisRequest,
    ChatEvent,
    ChatRequest,
    Deferred,
    GenerateRequest,
    GenerationStep,
    ImageFeatures,
    InputMessage,
    MediaKind,
    MediaSkipped,
    MediaSource,
    OnMediaError,
    PromptMessage,
    PromptPart,
    RequestContext,
    Role,
    StageEvent,
    StageState,
    TextEmbeddings,
    TextPart,
    TranscriptPart,
    Visual,
)
from multimodal.understanding import Medium, Understood, within

E = TypeVar("E")
T = TypeVar("T")

GENERATE = "generate"
"""The last stage of a request, as events and metrics name it."""


class _Events(Generic[E]):
    """Events of concurrent work, in the order in which they happen, until it is done."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[E | None] = asyncio.Queue()

    def put(self, event: E) -> None:
        self._queue.put_nowait(event)

    def close(self) -> None:
        self._queue.put_nowait(None)

    async def __aiter__(self) -> AsyncIterator[E]:
        while (event := await self._queue.get()) is not None:
            yield event


class Assistant:
    """Answers requests with the stages of the graph."""

    def __init__(self, stages: Stages, args: AppArgs) -> None:
        self._stages = stages
        self._args = args

    async def embed(self, ctx: RequestContext, texts: Sequence[str]) -> TextEmbeddings:
        """One unit vector for each text, in order. Raises InvalidRequest for a text that is too long."""
        return await within(ctx, self._stages.embed_text(ctx, texts))

    async def states(self) -> Mapping[str, StageState]:
        """State of every deployment by name."""
        return await self._stages.states()

    async def metrics(self) -> Mapping[str, Mapping[str, str]]:
        """Metrics in Prometheus' text format, by deployment and replica, current."""
        return await self._stages.metrics()

    async def chat(self, ctx: RequestContext, request: ChatRequest) -> AsyncGenerator[ChatEvent, None]:
        """Stream what happens: stages, media that were skipped, then the answer.

        Closing the iterator aborts all that is still running. Raises the error of the first medium that
        fails, unless the request says to skip such media.
        """
        ctx = self._allowing(ctx, _sources(request))
        events: _Events[ChatEvent] = _Events()
        work = asyncio.ensure_future(self._understand_all(ctx, request, events))
        async with aclosing(_until_done(work, events)) as happening:
            async for event in happening:
                yield event
        prompt, visuals = _prompt(request, await work)
        async with aclosing(self._generate(ctx, prompt, visuals)) as steps:
            async for step in steps:
                yield step

    async def analyze(
        self, ctx: RequestContext, request: AnalysisRequest
    ) -> AsyncGenerator[AnalysisEvent, None]:
        """Stream what becomes of one medium: stages, parts of a transcript, what is known of it in the end,
        and the answer where there is a question.

        Closing the iterator aborts all that is still running. Raises the error of the medium.
        """
        ctx = self._allowing(ctx, [request.source])
        events: _Events[AnalysisEvent] = _Events()
        medium = Medium(self._stages, self._args, ctx, request.source, events.put, request.hints)
        work = asyncio.ensure_future(medium.understand())
        async with aclosing(_until_done(work, events)) as happening:
            async for event in happening:
                yield event
        understood = await work
        if not isinstance(understood.features, ImageFeatures):
            yield understood.features
        if request.question is None:
            return
        asked = ChatRequest(
            messages=(_question(request.source, request.question),), sampling=request.sampling
        )
        prompt, visuals = _prompt(asked, {request.source.param: understood})
        async with aclosing(self._generate(ctx, prompt, visuals)) as steps:
            async for step in steps:
                yield step

    async def _generate(
        self, ctx: RequestContext, prompt: GenerateRequest, visuals: Sequence[Deferred[Visual]]
    ) -> AsyncGenerator[StageEvent | GenerationStep, None]:
        entered_s = time.perf_counter()
        yield StageEvent(stage=GENERATE)
        async with aclosing(self._stages.generate(ctx, prompt, visuals)) as steps:
            async for step in steps:
                yield step
        yield StageEvent(stage=GENERATE, seconds=time.perf_counter() - entered_s)

    def _allowing(self, ctx: RequestContext, sources: Sequence[MediaSource]) -> RequestContext:
        """With more time for sound and video, by an upper estimate of how long they play."""
        limits = self._args.limits
        longest_s = {MediaKind.AUDIO: limits.audio_s, MediaKind.VIDEO: limits.video_s, MediaKind.IMAGE: 0.0}
        media_s = sum(
            min(longest_s[source.kind], len(source.data) / SPEECH_BYTES_PER_S) for source in sources
        )
        return replace(ctx, deadline_s=ctx.deadline_s + self._args.deadline.per_media_s * media_s)

    async def _understand_all(
        self, ctx: RequestContext, request: ChatRequest, events: _Events[ChatEvent]
    ) -> dict[str, Understood]:
        """Every medium at the same time; the first failure ends the rest."""

        def emit(event: StageEvent | TranscriptPart) -> None:
            if isinstance(event, StageEvent):
                events.put(event)

        tasks: dict[str, asyncio.Task[Understood | None]] = {}
        try:
            async with asyncio.TaskGroup() as group:
                for source in _sources(request):
                    medium = Medium(self._stages, self._args, ctx, source, emit)
                    step = _understand_or_skip(medium, source, request.on_media_error, events)
                    tasks[source.param] = group.create_task(step)
        except BaseExceptionGroup as errors:
            raise _first(errors) from None
        return {param: result for param, task in tasks.items() if (result := task.result()) is not None}


SPEECH_BYTES_PER_S = 4000
"""32 kbit/s: below what speech is usually compressed to, so the estimate of its length is an upper one."""


async def _understand_or_skip(
    medium: Medium, source: MediaSource, on_error: OnMediaError, events: _Events[ChatEvent]
) -> Understood | None:
    try:
        return await medium.understand()
    except MultimodalError as error:
        if on_error is OnMediaError.FAIL:
            raise
        events.put(MediaSkipped(param=source.param, code=error.code, message=error.message))
        return None


async def _until_done(work: asyncio.Future[T], events: _Events[E]) -> AsyncGenerator[E, None]:
    """Events until the work is done; whoever stops listening stops the work."""
    work.add_done_callback(lambda _: events.close())
    try:
        async for event in events:
            yield event
    finally:
        await _cancel(work)


def _sources(request: ChatRequest) -> list[MediaSource]:
    return [part for message in request.messages for part in message.parts if isinstance(part, MediaSource)]


def _question(source: MediaSource, question: str) -> InputMessage:
    return InputMessage(role=Role.USER, parts=(source, TextPart(text=question)))


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


async def _cancel(work: asyncio.Future[T]) -> None:
    """End the work, and wait until all of it has ended."""
    work.cancel()
    await asyncio.wait([work])
    if not work.cancelled():
        work.exception()  # seen: it was raised already, or nobody is there to hear of it
