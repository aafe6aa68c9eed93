"""The life of a request: load and encode every medium at once, describe it, generate.

Written over the `Stages` protocol, so that it runs the same on Ray Serve and on coroutines in tests.
Total time is the slowest medium plus generation, never a sum over media.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Generic, TypeVar, cast

from multimodal.concurrency import together
from multimodal.config import AppArgs
from multimodal.crossing import Crossing
from multimodal.deadlines import allowing
from multimodal.embedding import SEEN, Embedder
from multimodal.errors import InvalidMedia, InvalidRequest, MultimodalError
from multimodal.generation.bypass import BypassPolicy
from multimodal.generation.sources import NOTHING, Source, in_prompt, of_media, source_of
from multimodal.library.desk import LibraryDesk
from multimodal.library.files import FileLibrary
from multimodal.library.records import Retrieval, SearchResult
from multimodal.retrieval.searcher import ASKED_CHARACTERS, RETRIEVE
from multimodal.retrieval.snippet import Snippets
from multimodal.retrieval.types import SegmentPart
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
    FileReference,
    GenerateRequest,
    GenerationStep,
    ImageFeatures,
    InputMessage,
    MediaKind,
    MediaPart,
    MediaSkipped,
    MediaSource,
    OnMediaError,
    PromptMessage,
    PromptPart,
    Ready,
    RequestContext,
    Role,
    StageEvent,
    StageState,
    TextPart,
    Transcript,
    TranscriptPart,
    VideoFeatures,
    Visual,
)
from multimodal.understanding import Features, Medium, Understood

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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ready:
    """A chat whose answer can be generated."""

    ctx: RequestContext
    prompt: GenerateRequest
    visuals: Sequence[Deferred[Visual]]
    affinity: str
    sources: Sequence[Source] | None
    """None: nothing was looked for."""


class Assistant:
    """Answers requests with the stages of the graph."""

    def __init__(self, stages: Stages, args: AppArgs, files: FileLibrary) -> None:
        self._stages = stages
        self._args = args
        self._embedder = Embedder(stages, args)
        self._desk = LibraryDesk(stages, args, files)

    @property
    def library(self) -> LibraryDesk:
        """Uploaded files and search."""
        return self._desk

    async def embed(
        self, ctx: RequestContext, inputs: Sequence[str | MediaSource | FileReference], emit: Emit
    ) -> Embeddings:
        """One unit vector for each input, in order. `emit` is told of the stages of the media.

        Raises what `Embedder.embed` raises, FileUnknown and UnsupportedMedia.
        """
        found = [
            await self._desk.source(ctx, one) if isinstance(one, FileReference) else one for one in inputs
        ]
        ctx = allowing(ctx, [one for one in found if isinstance(one, MediaSource)], self._args)
        return await self._embedder.embed(ctx, found, emit)

    async def classify(self, ctx: RequestContext, request: ClassifyRequest, emit: Emit) -> Classification:
        """How well each label fits a picture or a video.

        Raises what `Embedder.classify` raises, FileUnknown, and InvalidMedia for a file of another kind.
        """
        source = await self._source(ctx, request.source)
        if source.kind not in (MediaKind.IMAGE, MediaKind.VIDEO):
            raise InvalidMedia("Only pictures and videos can be classified. Name one.", param=source.param)
        return await self._embedder.classify(
            allowing(ctx, [source], self._args), replace(request, source=source), emit
        )

    async def states(self) -> Mapping[str, StageState]:
        """State of every deployment by name."""
        return await self._stages.states()

    async def metrics(self) -> Mapping[str, Mapping[str, str]]:
        """Metrics in Prometheus' text format, by deployment and replica, current."""
        return await self._stages.metrics()

    async def chat(
        self, ctx: RequestContext, request: ChatRequest, retrieval: Retrieval | None = None
    ) -> AsyncGenerator[ChatEvent, None]:
        """Stream what happens: stages, media that were skipped, then the answer; with `retrieval`, also what
        it stands on.

        Closing the iterator aborts all that is still running. Raises the error of the first medium that
        fails, unless the request says to skip such media.
        """
        events: _Events[ChatEvent] = _Events()
        work = asyncio.ensure_future(self._prepare(ctx, request, retrieval, events))
        async with aclosing(_until_done(work, events)) as happening:
            async for event in happening:
                yield event
        ready = await work
        sources = ready.sources
        try:
            answer = self._generate(ready.ctx, ready.prompt, ready.visuals, ready.affinity)
            async with aclosing(answer) as steps:
                async for step in steps:
                    if isinstance(step, GenerationStep) and sources is not None:
                        # The first step, and with it what did not fit into the prompt.
                        yield replace(step, shortened=of_media(step.shortened))
                        yield in_prompt(sources, step.shortened)
                        sources = None
                    else:
                        yield step
        finally:
            shown = (one.visual for one in ready.sources or ())
            self._stages.abandon(*(visual for visual in shown if visual is not None))

    async def analyze(
        self, ctx: RequestContext, request: AnalysisRequest
    ) -> AsyncGenerator[AnalysisEvent, None]:
        """Stream what becomes of one medium: stages, parts of a transcript, what is known of it in the end,
        and the answer where there is a question.

        Closing the iterator aborts all that is still running. Raises the error of the medium.
        """
        source = request.source
        ctx = allowing(ctx, [source], self._args)
        events: _Events[AnalysisEvent] = _Events()
        medium = Medium(self._stages, self._args, ctx, source, events.put, request.hints)
        work = asyncio.ensure_future(_known(medium, request.question))
        async with aclosing(_until_done(work, events)) as happening:
            async for event in happening:
                yield event
        features, understood = await work
        if isinstance(features, Transcript | VideoFeatures):
            yield features
        if request.question is None or understood is None:
            return
        asked = ChatRequest(messages=(_question(source, request.question),), sampling=request.sampling)
        prompt, visuals = _prompt(asked, {source.param: understood})
        async with aclosing(self._generate(ctx, prompt, visuals, understood.affinity)) as steps:
            async for step in steps:
                yield step

    async def _generate(
        self,
        ctx: RequestContext,
        prompt: GenerateRequest,
        visuals: Sequence[Deferred[Visual]],
        affinity: str,
    ) -> AsyncGenerator[StageEvent | GenerationStep, None]:
        entered_s = time.perf_counter()
        yield StageEvent(stage=GENERATE)
        async with aclosing(self._stages.generate(ctx, prompt, visuals, affinity)) as steps:
            async for step in steps:
                yield step
        yield StageEvent(stage=GENERATE, seconds=time.perf_counter() - entered_s)

    async def _source(self, ctx: RequestContext, source: MediaSource | FileReference) -> MediaSource:
        return source if isinstance(source, MediaSource) else await self._desk.source(ctx, source)

    async def _prepare(
        self,
        ctx: RequestContext,
        request: ChatRequest,
        retrieval: Retrieval | None,
        events: _Events[ChatEvent],
    ) -> _Ready:
        """Everything before generation."""
        if retrieval is not None:
            retrieval = _beside(request, retrieval)
        request = await self._with_files(ctx, request, events)
        ctx = allowing(ctx, _sources(request), self._args)
        understood = await self._understand_all(ctx, request, events)
        sources = None
        if retrieval is not None:
            sources = await self._retrieve(ctx, request, retrieval, understood, events)
        prompt, visuals = _prompt(request, understood, sources)
        affinity = self._affinity(ctx, request, understood)
        return _Ready(ctx=ctx, prompt=prompt, visuals=visuals, affinity=affinity, sources=sources)

    def _affinity(
        self, ctx: RequestContext, request: ChatRequest, understood: Mapping[str, Understood]
    ) -> str:
        """That of the first medium, as what follows it in a prompt depends on it; without media, that of the
        first words of the client, which stay as a conversation goes on."""
        first = next((one.affinity for one in understood.values()), None)
        if first is not None:
            return first
        words = next((_words(one) for one in request.messages if one.role is not Role.SYSTEM), "")
        return self._stages.once.identities.conversation(ctx.tenant, words)

    async def _with_files(
        self, ctx: RequestContext, request: ChatRequest, events: _Events[ChatEvent]
    ) -> ChatRequest:
        """The request with uploaded files in the place of their ids."""
        messages = []
        for message in request.messages:
            parts = [
                await self._file_or_skip(ctx, part, request.on_media_error, events)
                if isinstance(part, FileReference)
                else part
                for part in message.parts
            ]
            kept = tuple(part for part in parts if part is not None)
            messages.append(replace(message, parts=kept))
        return replace(request, messages=tuple(messages))

    async def _file_or_skip(
        self,
        ctx: RequestContext,
        reference: FileReference,
        on_error: OnMediaError,
        events: _Events[ChatEvent],
    ) -> MediaSource | None:
        try:
            return await self._desk.source(ctx, reference)
        except InvalidRequest as error:
            if on_error is OnMediaError.FAIL:
                raise
            events.put(MediaSkipped(param=reference.param, code=error.code, message=error.message))
            return None

    async def _retrieve(
        self,
        ctx: RequestContext,
        request: ChatRequest,
        retrieval: Retrieval,
        understood: Mapping[str, Understood],
        events: _Events[ChatEvent],
    ) -> list[Source]:
        """What the library has on the last message: its words and its media together are the query."""
        entered_s = time.perf_counter()
        events.put(StageEvent(stage=RETRIEVE))
        last = request.messages[-1]
        media = [
            understood[part.param].features
            for part in last.parts
            if isinstance(part, MediaSource) and part.param in understood
        ]
        words = _words(last)
        try:
            found = await self._desk.searcher.ground(ctx, words, media, retrieval)
        finally:
            events.put(StageEvent(stage=RETRIEVE, seconds=time.perf_counter() - entered_s))
        snippets = Snippets(words[-ASKED_CHARACTERS:])
        pixels = self._shows_pixels(understood)
        shown = await together(self._shown(ctx, result, pixels) for result in found)
        return [
            source_of(number, result, snippets, visual)
            for number, (result, visual) in enumerate(zip(found, shown, strict=True), start=1)
        ]

    def _shows_pixels(self, understood: Mapping[str, Understood]) -> bool:
        """vLLM takes pixels or embeddings in one prompt, not both: those of the request decide. Where it has
        none, what was found goes to VisionTower, which most likely knows it, unless that is ruled out."""
        vision = self._args.vision
        if vision is None or not self._args.generator.pixels:
            return self._args.generator.pixels
        shown = [one.visual for one in understood.values() if one.visual is not None]
        if shown:
            return not all(isinstance(visual, Ready) for visual in shown)
        return vision.bypass.route == "engine"

    async def _shown(
        self, ctx: RequestContext, result: SearchResult, pixels: bool
    ) -> Deferred[Visual] | None:
        """A picture that was found, as the generator looks at it; nothing is encoded again."""
        segment = result.hit.segment
        if segment.part is not SegmentPart.PICTURE:
            return None
        vision = self._args.vision
        in_tower = vision is not None and vision.source == "tower" and not pixels
        if in_tower or pixels:
            if segment.kind is not MediaKind.IMAGE:
                return None
            source = MediaSource(
                kind=MediaKind.IMAGE, data=b"", param="retrieval", stored=result.file.content
            )
            if not in_tower:
                return cast(Deferred[Visual], self._stages.load(ctx, source))
            medium = Medium(self._stages, self._args, ctx, source, lambda _: None)
            return Ready(await medium.work_on(lambda one: one.visual()))
        if not self._stages.has_vision_tower or segment.picture is None:
            return None
        features = ImageFeatures(
            sha256=segment.sha256,
            width=segment.width or 0,
            height=segment.height or 0,
            colours=(),
            vector=segment.picture,
            logit_scale=segment.logit_scale,
        )
        return self._stages.see(ctx, features, ())

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
        crossing = self._crossing(sources)
        found = await together(
            _understand_or_skip(medium, question, source, request.on_media_error, events, crossing)
            for medium, source in zip(media, sources, strict=True)
        )
        return {
            source.param: result for source, result in zip(sources, found, strict=True) if result is not None
        }

    def _crossing(self, sources: Sequence[MediaSource]) -> Crossing | None:
        """None where there is no choice."""
        vision = self._args.vision
        if vision is None or not self._args.may_bypass:
            return None
        kinds = vision.kinds.intersection(SEEN)
        seen = [source.param for source in sources if source.kind in kinds]
        policy = BypassPolicy(vision.bypass)
        return Crossing(
            policy, seen, max_pixels=vision.max_pixels, engine_queue=lambda: self._stages.generating
        )


async def _understand_or_skip(
    medium: Medium,
    question: str,
    source: MediaSource,
    on_error: OnMediaError,
    events: _Events[ChatEvent],
    crossing: Crossing | None,
) -> Understood | None:
    try:
        return await medium.understand(question, crossing)
    except MultimodalError as error:
        if on_error is OnMediaError.FAIL:
            raise
        if crossing is not None:
            crossing.leave(source.param)
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


def _beside(request: ChatRequest, retrieval: Retrieval) -> Retrieval:
    """Files that stand in the conversation anyway are not looked into."""
    attached = [
        part.file_id for one in request.messages for part in one.parts if isinstance(part, FileReference)
    ]
    left_out = tuple(dict.fromkeys((*retrieval.filter.not_file_ids, *attached)))
    return replace(retrieval, filter=replace(retrieval.filter, not_file_ids=left_out))


def _sources(request: ChatRequest) -> list[MediaSource]:
    return [part for message in request.messages for part in message.parts if isinstance(part, MediaSource)]


def _words(message: InputMessage) -> str:
    return " ".join(part.text for part in message.parts if isinstance(part, TextPart))


def _question(source: MediaSource, question: str) -> InputMessage:
    return InputMessage(role=Role.USER, parts=(source, TextPart(text=question)))


def _prompt(
    request: ChatRequest, understood: Mapping[str, Understood], sources: Sequence[Source] | None = None
) -> tuple[GenerateRequest, list[Deferred[Visual]]]:
    """The conversation with every medium in its place, what was found before the last words, and the visuals
    in the order of their numbers. `sources` is None where nothing was looked for."""
    visuals: list[Deferred[Visual]] = []

    def with_visual(part: MediaPart, visual: Deferred[Visual] | None) -> MediaPart:
        if visual is None:
            return part
        visuals.append(visual)
        return replace(part, visual=len(visuals) - 1)

    def told(part: TextPart | MediaSource | FileReference) -> PromptPart | None:
        if isinstance(part, TextPart):
            return part
        if (result := understood.get(part.param)) is None:
            return None
        return with_visual(result.part, result.visual)

    def turn(message: InputMessage) -> PromptMessage:
        parts = tuple(part for part in map(told, message.parts) if part is not None)
        return PromptMessage(role=message.role, parts=parts)

    *before, last = request.messages
    messages = [turn(message) for message in before]
    found: list[PromptPart] = []
    if sources:
        found = [with_visual(one.part, one.visual) for one in reversed(sources)]
    elif sources is not None and not understood:
        # Beside media the answer may well be in those.
        found = [NOTHING]
    ending = turn(last)
    messages.append(replace(ending, parts=(*found, *ending.parts)))
    return GenerateRequest(messages=tuple(messages), sampling=request.sampling), visuals


async def _cancel(work: asyncio.Future[T]) -> None:
    """End the work, and wait until all of it has ended."""
    work.cancel()
    await asyncio.wait([work])
    if not work.cancelled():
        work.exception()  # seen: it was raised already, or nobody is there to hear of it
