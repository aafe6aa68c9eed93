"""One medium on its way through the loader and the encoders.

Every call that can begin is begun at once: what is still being decoded is handed on without waiting, and with
Ray it travels by reference.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias, TypeVar, cast

from multimodal.config import AppArgs
from multimodal.errors import DeadlineExceeded, LostMedia, MultimodalError
from multimodal.generation.asked import moments_asked
from multimodal.generation.describe import describe_audio, describe_document, describe_image, describe_video
from multimodal.hearing import hear, transcript_of
from multimodal.stages import Stages
from multimodal.types import (
    Deferred,
    DocumentFeatures,
    Emit,
    ImageFeatures,
    Media,
    MediaKind,
    MediaPart,
    MediaSource,
    RequestContext,
    SpeechHints,
    StageEvent,
    Transcript,
    TranscriptPart,
    VideoFeatures,
    Visual,
)

T = TypeVar("T")

Features: TypeAlias = ImageFeatures | Transcript | VideoFeatures | DocumentFeatures
"""What the encoders say of a picture, a recording, a video, a document."""

LOAD, ENCODE = "load", "encode"
"""Stages of a medium, as events and metrics name them."""


@dataclass(frozen=True, slots=True)
class Understood:
    """What became of one medium."""

    part: MediaPart
    features: Features
    visual: Deferred[Visual] | None = None


_Work: TypeAlias = Callable[[Deferred[Media]], Coroutine[object, object, T]]
"""What is done with a medium that is being loaded."""


class Medium:
    """One medium of one request. `emit` is told of its stages, and of the parts of a transcript."""

    def __init__(
        self,
        stages: Stages,
        args: AppArgs,
        ctx: RequestContext,
        source: MediaSource,
        emit: Emit,
        hints: SpeechHints | None = None,
    ) -> None:
        self._stages = stages
        self._args = args
        self._ctx = ctx
        self._source = source
        self._emit = emit
        self._hints = hints or SpeechHints()
        self._started: list[Deferred[object]] = []
        self._parts = 0
        """Parts of a transcript that `emit` has been told of."""

    async def understand(self, question: str) -> Understood:
        """Load it, encode it and describe it, until the deadline. The question may name moments of a video.

        Raises what a stage raises, with the part named, and DeadlineExceeded.
        """
        return await self._until_deadline(partial(self._describe, moments_asked(question)))

    async def features(self) -> Features:
        """Load and encode it: no text is read in a picture, and nothing is made for the generator.

        Raises what `understand` raises.
        """
        return await self._until_deadline(self._encode)

    async def work_on(self, work: Callable[[Deferred[Media]], Coroutine[object, object, T]]) -> T:
        """Load it, and do any other work with it, until the deadline.

        `work` is given the medium that is being loaded; calls that it hands to `begin` are abandoned when it
        fails. It is done again, once, where the medium is lost meanwhile.

        Raises what `understand` raises.
        """
        return await self._until_deadline(work)

    def begin(self, call: Deferred[T]) -> Deferred[T]:
        """A call whose result nobody wants any more when the work on this medium fails."""
        self._started.append(call)
        return call

    async def _until_deadline(self, work: _Work[T]) -> T:
        try:
            async with asyncio.timeout(self._ctx.remaining_s()):
                try:
                    return await self._attempt(work)
                except LostMedia:
                    # Decoded media go with the machine that holds them; then they are loaded again, once.
                    return await self._attempt(work)
        except TimeoutError:
            raise late() from None
        except MultimodalError as error:
            error.param = error.param or self._source.param
            raise

    async def _attempt(self, work: _Work[T]) -> T:
        try:
            return await self._run(work)
        except BaseException:
            # Whatever ended this, Ray goes on with calls that nobody waits for, unless it is told.
            self._stages.abandon(*self._started)
            raise
        finally:
            self._started.clear()

    async def _run(self, work: _Work[T]) -> T:
        clock = _StageClock(self._emit, self._source.param)
        clock.enter(LOAD)
        media = self.begin(self._stages.load(self._ctx, self._source))
        encoded = asyncio.ensure_future(work(media))
        arrival = asyncio.ensure_future(self._stages.arrival(media))
        try:
            await asyncio.wait([arrival, encoded], return_when=asyncio.FIRST_COMPLETED)
            clock.enter(ENCODE)
            return await encoded
        finally:
            clock.leave()
            await _end(arrival, encoded)

    async def _encode(self, media: Deferred[Media]) -> Features:
        if self._source.kind is MediaKind.AUDIO:
            return await self._hear(media)
        if self._source.kind is MediaKind.VIDEO:
            return await self._watch(media)
        if self._source.kind is MediaKind.DOCUMENT:
            return await self._read_pages(media)
        return await self._look(media)

    async def _describe(self, moments_s: Sequence[float], media: Deferred[Media]) -> Understood:
        """Begins all calls before it waits for the first."""
        stages, ctx, param = self._stages, self._ctx, self._source.param
        # A generator with its own tower is given what was decoded, by reference.
        visual = cast(Deferred[Visual], media) if self._args.generator.pixels else None
        if self._source.kind is MediaKind.AUDIO:
            transcript = await self._hear(media)
            return Understood(describe_audio(param, transcript), transcript)
        if self._source.kind is MediaKind.VIDEO:
            video = await self._watch(media)
            if stages.has_vision_tower:
                visual = self.begin(stages.see(ctx, video, moments_s))
            return Understood(describe_video(param, video), video, visual)
        if self._source.kind is MediaKind.DOCUMENT:
            document = await self._read_pages(media)
            return Understood(describe_document(param, document), document)
        features = self._look(media)
        text = self.begin(stages.read(ctx, media))
        # In this order, which keeps none of them waiting for long: what was lost is lost for both.
        seen = await features
        if stages.has_vision_tower:
            visual = self.begin(stages.see(ctx, seen, ()))
        lines = await text
        return Understood(describe_image(param, seen, lines), seen, visual)

    def _look(self, media: Deferred[Media]) -> Deferred[ImageFeatures]:
        return self.begin(self._stages.encode_image(self._ctx, media))

    def _watch(self, media: Deferred[Media]) -> Deferred[VideoFeatures]:
        return self.begin(self._stages.watch(self._ctx, media, self._hints))

    def _read_pages(self, media: Deferred[Media]) -> Deferred[DocumentFeatures]:
        return self.begin(self._stages.read_document(self._ctx, media))

    async def _hear(self, media: Deferred[Media]) -> Transcript:
        parts = hear(self._stages, self._ctx, media, self._hints, self._args.audio.part_windows)
        return await transcript_of(parts, self._emit_new)

    def _emit_new(self, number: int, part: TranscriptPart) -> None:
        """A recording that is loaded again is cut in the same way: its first parts are known already."""
        if number == self._parts:
            self._parts += 1
            self._emit(part)


class _StageClock:
    """Says which stage a medium enters, and how long it was in the one before."""

    def __init__(self, emit: Callable[[StageEvent], None], param: str) -> None:
        self._emit = emit
        self._param = param
        self._stage: str | None = None
        self._entered_s = 0.0

    def enter(self, stage: str) -> None:
        self.leave()
        self._stage, self._entered_s = stage, time.perf_counter()
        self._emit(StageEvent(stage=stage, param=self._param))

    def leave(self) -> None:
        if self._stage is not None:
            seconds = time.perf_counter() - self._entered_s
            self._emit(StageEvent(stage=self._stage, param=self._param, seconds=seconds))
            self._stage = None


def late() -> DeadlineExceeded:
    """The error for a request whose time is over."""
    return DeadlineExceeded("The request was not finished in time. Send fewer or shorter media.")


async def _end(*work: asyncio.Future[T] | asyncio.Future[None]) -> None:
    """Cancel what still runs, and wait until it has ended."""
    for one in work:
        one.cancel()
    await asyncio.wait(work)
    for one in work:
        if not one.cancelled():
            one.exception()  # seen: it is raised by who waits for it


async def within(ctx: RequestContext, work: Awaitable[T]) -> T:
    """The result, if it comes before the deadline. Raises DeadlineExceeded."""
    try:
        async with asyncio.timeout(ctx.remaining_s()):
            return await work
    except TimeoutError:
        raise late() from None


async def together(work: Iterable[Coroutine[object, object, T]]) -> list[T]:
    """Results, in order, of work that is done at the same time.

    The first failure ends the rest, and is raised as it is.
    """
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one) for one in work]
    except BaseExceptionGroup as errors:
        raise _first(errors) from None
    return [task.result() for task in tasks]


def _first(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    """The error that came first, however deep it is nested."""
    first = errors.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first
