"""One medium on its way through the loader and the encoders.

Every call that can begin is begun at once: what is still being decoded is handed on without waiting, and with
Ray it travels by reference.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import TypeAlias, TypeVar, cast

from multimodal.cache.features import Origin, Value
from multimodal.concurrency import both
from multimodal.config import AppArgs
from multimodal.crossing import Crossing
from multimodal.deadlines import late
from multimodal.encode_once import alone
from multimodal.errors import LostMedia, MultimodalError
from multimodal.generation.asked import moments_asked
from multimodal.generation.describe import describe_audio, describe_document, describe_image, describe_video
from multimodal.hearing import hear, transcript_of
from multimodal.identity import Feature, FeatureKey
from multimodal.loading import Attempt, StageClock
from multimodal.stages import Ears, Stages
from multimodal.types import (
    Deferred,
    DocumentFeatures,
    Emit,
    GeneratorEmbedding,
    ImageFeatures,
    ImageText,
    Media,
    MediaKind,
    MediaPart,
    MediaSource,
    Ready,
    RequestContext,
    SpeechHints,
    Transcript,
    TranscriptPart,
    VideoFeatures,
    Visual,
)

T = TypeVar("T")
V = TypeVar("V", bound=Value)
W = TypeVar("W")

Features: TypeAlias = ImageFeatures | Transcript | VideoFeatures | DocumentFeatures
"""What the encoders say of a picture, a recording, a video, a document."""


@dataclass(frozen=True, slots=True)
class Understood:
    """What became of one medium."""

    part: MediaPart
    features: Features
    visual: Deferred[Visual] | None = None
    affinity: str = ""
    """Of its content: see `multimodal.identity`."""


class Medium:
    """One medium of one request. `emit` is told of its stages, and of the parts of a transcript.

    What is known of it already is not made again, and it is loaded only where something is to be made.
    """

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
        self._try: Attempt | None = None
        self._parts = 0
        """Parts of a transcript that `emit` has been told of."""
        self._told = 0
        """Segments in those."""

    async def understand(self, question: str, crossing: Crossing | None = None) -> Understood:
        """Encode it and describe it, until the deadline. The question may name moments of a video; `crossing`
        decides where its pictures are encoded, in a graph that leaves a choice.

        Raises what a stage raises, with the part named, and DeadlineExceeded.
        """
        moments_s = moments_asked(question)
        return await self.work_on(lambda _: self._describe(moments_s, crossing))

    async def features(self) -> Features:
        """Encode it: no text is read in a picture, and nothing is made for the generator.

        Raises what `understand` raises.
        """
        return await self.work_on(lambda _: self._features())

    async def work_on(self, work: Callable[[Medium], Coroutine[object, object, T]]) -> T:
        """Do any work with it, until the deadline: the methods below are for `work` to call.

        It is done again, once, where the decoded medium is lost meanwhile.

        Raises what `understand` raises.
        """
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

    def media(self) -> Deferred[Media]:
        """The medium itself, decoded."""
        return self._now.loading.begun()

    async def image(self) -> ImageFeatures:
        """Of a picture."""
        return await self._get(
            Feature.IMAGE, ImageFeatures, lambda media, key: self._stages.encode_image(self._ctx, media, key)
        )

    async def text(self) -> ImageText:
        """Of a picture."""
        return await self._get(
            Feature.OCR, ImageText, lambda media, key: self._stages.read(self._ctx, media, key)
        )

    async def video(self) -> VideoFeatures:
        """Of a video."""
        return await self._get(
            Feature.VIDEO,
            VideoFeatures,
            lambda media, key: self._stages.watch(self._ctx, media, self._hints, key),
        )

    async def document(self) -> DocumentFeatures:
        """Of a document, or of the pages that were asked for."""
        return await self._get(
            Feature.DOCUMENT,
            DocumentFeatures,
            lambda media, key: self._stages.read_document(self._ctx, media, key),
        )

    async def transcript(self, ears: Ears | None = None) -> Transcript:
        """Of a recording. `emit` is told of its parts as they come; of one that is known, at once."""
        leads = False

        def heard(media: Deferred[Media], key: FeatureKey) -> Deferred[Transcript]:
            nonlocal leads
            leads = True
            windows = self._args.audio.part_windows
            parts = hear(ears or self._stages, self._ctx, media, self._hints, windows, key)
            return transcript_of(parts, self._emit_new)

        found = await self._get(Feature.TRANSCRIPT, Transcript, heard)
        if not self._parts or (not leads and self._told < len(found.segments)):
            # Of one that was lost on the way, and is known by now, the rest.
            self._emit_new(self._parts, TranscriptPart(segments=found.segments[self._told :]))
        return found

    async def visual(
        self, moments_s: Sequence[float] = (), features: ImageFeatures | VideoFeatures | None = None
    ) -> GeneratorEmbedding:
        """What the generator looks at. `features` are what a connector makes it of."""

        def see(media: Deferred[Media], key: FeatureKey) -> Deferred[GeneratorEmbedding]:
            return self._stages.see(self._ctx, media, moments_s, key)

        if features is None:
            return await self._get(Feature.VISUAL, GeneratorEmbedding, see, moments_s)
        seen = features

        async def connect(key: FeatureKey) -> GeneratorEmbedding:
            return await self._stages.see(self._ctx, seen, moments_s, key)

        return await self._have(Feature.VISUAL, GeneratorEmbedding, connect, moments_s)

    @property
    def _now(self) -> Attempt:
        if self._try is None:
            raise TypeError("only for work that `work_on` does")
        return self._try

    async def _attempt(self, work: Callable[[Medium], Coroutine[object, object, T]]) -> T:
        content = await self._stages.once.content(self._ctx, self._source)
        self._try = now = Attempt(
            self._stages, self._ctx, content, StageClock(self._emit, self._source.param)
        )
        try:
            result = await work(self)
            now.clock.end(cached=now.was_known)
            return result
        finally:
            self._try = None
            await now.close()

    async def _get(
        self,
        feature: Feature,
        kind: type[V],
        call: Callable[[Deferred[Media], FeatureKey], Deferred[V]],
        moments_s: Sequence[float] = (),
    ) -> V:
        """A feature that is made of the medium itself."""
        loading = self._now.loading

        async def make(key: FeatureKey) -> V:
            async with loading.use() as media:
                return await call(media, key)

        return await self._have(feature, kind, make, moments_s)

    async def _have(
        self,
        feature: Feature,
        kind: type[V],
        make: Callable[[FeatureKey], Awaitable[V]],
        moments_s: Sequence[float] = (),
    ) -> V:
        now = self._now
        key = now.content.key(feature, self._hints, moments_s)
        if self._hints.temperature > 0 and feature in (Feature.TRANSCRIPT, Feature.VIDEO):
            now.origins.append(Origin.MADE)
            return await make(alone(key))  # words are drawn: each time others
        outcome = await now.content.get(key, kind, make)
        now.origins.append(outcome.origin)
        return outcome.value

    async def _features(self) -> Features:
        match self._source.kind:
            case MediaKind.AUDIO:
                return await self.transcript()
            case MediaKind.VIDEO:
                return await self.video()
            case MediaKind.DOCUMENT:
                return await self.document()
            case MediaKind.IMAGE:
                return await self.image()

    async def _describe(self, moments_s: Sequence[float], crossing: Crossing | None) -> Understood:
        param, affinity = self._source.param, self._now.content.identity.affinity
        match self._source.kind:
            case MediaKind.AUDIO:
                transcript, visual = await both(self.transcript(), self._shown(None, moments_s, crossing))
                return Understood(describe_audio(param, transcript), transcript, visual, affinity)
            case MediaKind.VIDEO:
                video, visual = await self._looked_at(self.video, moments_s, crossing)
                return Understood(describe_video(param, video), video, visual, affinity)
            case MediaKind.DOCUMENT:
                document = await self.document()
                return Understood(describe_document(param, document), document, affinity=affinity)
            case MediaKind.IMAGE:
                (image, visual), text = await both(self._looked_at(self.image, (), crossing), self.text())
                return Understood(describe_image(param, image, text), image, visual, affinity)

    async def _looked_at(
        self,
        features: Callable[[], Coroutine[object, object, W]],
        moments_s: Sequence[float],
        crossing: Crossing | None,
    ) -> tuple[W, Deferred[Visual] | None]:
        """What ImageEncoder or VideoEncoder says, and what the generator is shown: at the same time, where
        the second is not made of the first."""
        vision = self._args.vision
        if crossing is None and vision is not None and vision.source == "tower":
            return await both(features(), self._shown(None, moments_s, None))
        found = await features()
        seen = found if isinstance(found, ImageFeatures | VideoFeatures) else None
        return found, await self._shown(seen, moments_s, crossing)

    async def _shown(
        self,
        features: ImageFeatures | VideoFeatures | None,
        moments_s: Sequence[float],
        crossing: Crossing | None,
    ) -> Deferred[Visual] | None:
        """What the generator looks at, if it looks at media of this kind."""
        vision = self._args.vision
        in_tower = vision is not None and self._source.kind.value in vision.kinds
        pixels = self._args.generator.pixels and self._source.kind is not MediaKind.AUDIO
        if in_tower and pixels and crossing is not None:
            in_tower = await crossing.to_tower(self._source.param, features, known=self._is_visual_known())
        if in_tower and vision is not None and vision.source == "tower":
            return Ready(await self.visual())
        if in_tower and features is not None and self._stages.has_vision_tower:
            return Ready(await self.visual(moments_s, features))
        if not pixels:
            return None
        # A generator with its own tower is given what was decoded, by reference. What is still on its way is
        # given up with this attempt.
        await self._stages.arrival(self.media())
        return cast(Deferred[Visual], self.media())

    def _is_visual_known(self) -> bool:
        content = self._now.content
        return content.is_known(content.key(Feature.VISUAL, self._hints))

    def _emit_new(self, number: int, part: TranscriptPart) -> None:
        """A recording that is loaded again is cut in the same way: its first parts are known already."""
        if number == self._parts:
            self._parts += 1
            self._told += len(part.segments)
            self._emit(part)
