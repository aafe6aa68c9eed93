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
from multimodal.embedding import Embedder
from multimodal.errors import MultimodalError
from multimodal.stages import Stages
from multimodal.types import (
    AnalysisEvent,
    AnalysisRequest,
    ChatEvent,
    ChatRequest,
    Classification,
    ClassifyRequest,
    Deferred,
    Embeddings,
    Emit,
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
    TextPart,
    TranscriptPart,
    Visual,
)
from multimodal.understanding import Features, Medium, Understood, together

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
        self._embedder = Embedder(stages, args)

    async def embed(self, ctx: RequestContext, inputs: Sequence[str | MediaSource], emit: Emit) -> Embeddings:
        """One unit vector for each input, in order. `emit` is told of the stages of the media.

        Raises what `Embedder.embed` raises.
        """
        ctx = self._allowing(ctx, [one for one in inputs if isinstance(one, MediaSource)])
        return await self._embedder.embed(ctx, inputs, emit)

    async def classify(self, ctx: RequestContext, request: ClassifyRequest, emit: Emit) -> Classification:
        """How well each label fits a picture or a video. Raises what `Embedder.classify` raises."""
        return await self._embedder.classify(self._allowing(ctx, [request.source]), request, emit)

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
        work = asyncio.ensure_future(_known(medium, request.question))
        async with aclosing(_until_done(work, events)) as happening:
            async for event in happening:
                yield event
        features, understood = await work
        if not isinstance(features, ImageFeatures):
            yield features
        if request.question is None or understood is None:
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

        sources = _sources(request)
        media = [Medium(self._stages, self._args, ctx, source, emit) for source in sources]
        question = _words(request.messages[-1])
        found = await together(
            _understand_or_skip(medium, question, source, request.on_media_error, events)
            for medium, source in zip(media, sources, strict=True)
        )
        return {
            source.param: result for source, result in zip(sources, found, strict=True) if result is not None
        }


SPEECH_BYTES_PER_S = 4000
"""32 kbit/s: below what speech is usually compressed to, so the estimate of its length is an upper one."""


async def _understand_or_skip(
    medium: Medium, question: str, source: MediaSource, on_error: OnMediaError, events: _Events[ChatEvent]
) -> Understood | None:
    try:
        return await medium.understand(question)
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


async def _known(medium: Medium, question: str | None) -> tuple[Features, Understood | None]:
    """What a medium holds, and where there is a question, also what the generator is told of it."""
    if question is None:
        return await medium.features(), None
    understood = await medium.understand(question)
    return understood.features, understood


def _sources(request: ChatRequest) -> list[MediaSource]:
    return [part for message in request.messages for part in message.parts if isinstance(part, MediaSource)]


def _words(message: InputMessage) -> str:
    return " ".join(part.text for part in message.parts if isinstance(part, TextPart))


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


async def _cancel(work: asyncio.Future[T]) -> None:
    """End the work, and wait until all of it has ended."""
    work.cancel()
    await asyncio.wait([work])
    if not work.cancelled():
        work.exception()  # seen: it was raised already, or nobody is there to hear of it
