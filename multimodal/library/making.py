"""One file through the loader and the encoders: its segments, with all their vectors, and small pictures."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TypeAlias, TypeVar

from multimodal.concurrency import both
from multimodal.config import AppArgs
from multimodal.errors import MediaTooLarge, MultimodalError, NoPictures
from multimodal.library import pictures, segments
from multimodal.library.background import PatientEars
from multimodal.library.jobs import EMBED, ENCODE, LOAD
from multimodal.library.records import FileRecord
from multimodal.library.words import Words
from multimodal.retrieval.types import Segment
from multimodal.stages import Stages
from multimodal.types import (
    Document,
    FrameSampling,
    Image,
    Media,
    MediaKind,
    MediaSource,
    RequestContext,
    StageEvent,
    TranscriptPart,
    Video,
)
from multimodal.understanding import Medium

T = TypeVar("T")

PARAM = "file"
"""What errors call the file."""

Show: TypeAlias = Callable[[str, float], None]
"""Is told the stage, and how far a file is, in [0, 1]."""

ENCODED, EMBEDDED = 0.8, 0.9
"""How far a file is when it was seen and heard, and when its texts have their vectors."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """Segments that can be stored: those of a whole file, or of some pages of it."""

    segments: Sequence[Segment]
    thumbnails: Mapping[int, bytes] = field(default_factory=dict)
    """JPEG, by the segment's ordinal."""
    duration_s: float | None = None
    pages: int | None = None
    """Of the whole document."""


class Maker:
    """Makes the segments of one file, with the stages of the graph."""

    def __init__(
        self, stages: Stages, args: AppArgs, ctx: RequestContext, file: FileRecord, show: Show
    ) -> None:
        self._stages = stages
        self._args = args
        self._ctx = ctx
        self._file = file
        self._show = show
        self._span = (0.0, 1.0)
        """Which part of the file's progress is under way."""

    async def make(self) -> AsyncGenerator[Made, None]:
        """All segments once; those of a document in runs of pages, so that no run is too large.

        Raises what the stages raise, and DeadlineExceeded.
        """
        if self._file.kind is MediaKind.DOCUMENT:
            async for made in self._document():
                yield made
        elif self._file.kind is MediaKind.VIDEO:
            yield await self._with_words(await self._video())
        elif self._file.kind is MediaKind.AUDIO:
            yield await self._with_words(await self._medium(MediaKind.AUDIO, self._hear))
        elif self._file.kind is MediaKind.IMAGE:
            yield await self._with_words(await self._medium(MediaKind.IMAGE, self._look))

    async def _document(self) -> AsyncGenerator[Made, None]:
        first, ordinal, page_count = 1, 0, 1
        self._span = (0.0, 0.0)  # nobody knows yet how many pages there are
        while first <= page_count:
            read = partial(self._read, ordinal)
            pages, made = await self._medium(MediaKind.DOCUMENT, read, first_page=first)
            yield await self._with_words(made)
            page_count, ordinal = made.pages or 1, ordinal + len(made.segments)
            first = max(first, *pages) + 1 if pages else page_count + 1
            # The next run is expected to be as long as this one.
            self._span = ((first - 1) / page_count, min(1.0, (first - 1 + len(pages)) / page_count))

    async def _video(self) -> Made:
        """What is heard alone, where there are no pictures: containers of video may hold only sound."""
        frames = min(self._args.library.frames, self._args.loader.max_frames_limit)
        try:
            return await self._medium(
                MediaKind.VIDEO, self._watch, frame_sampling=FrameSampling.SCENE, max_frames=frames
            )
        except NoPictures as error:
            try:
                return await self._medium(MediaKind.AUDIO, self._hear)
            except MediaTooLarge:  # names the limit of recordings, to someone who sent a video
                raise error from None

    async def _medium(
        self,
        kind: MediaKind,
        work: Callable[[Medium], Coroutine[object, object, T]],
        *,
        frame_sampling: FrameSampling = FrameSampling.UNIFORM,
        max_frames: int | None = None,
        first_page: int = 1,
    ) -> T:
        """What `work` makes of the file."""
        source = MediaSource(
            kind=kind,
            data=b"",
            param=PARAM,
            declared_type=self._file.media_type,
            frame_sampling=frame_sampling,
            max_frames=max_frames,
            stored=self._file.content,
            first_page=first_page,
            filename=self._file.filename,
        )
        return await Medium(self._stages, self._args, self._ctx, source, self._on_event).work_on(work)

    def _on_event(self, event: StageEvent | TranscriptPart) -> None:
        if isinstance(event, StageEvent) and event.seconds is None:
            self._at(LOAD if event.stage == LOAD else ENCODE, 0.0)

    def _at(self, stage: str, share: float) -> None:
        begin, end = self._span
        self._show(stage, begin + (end - begin) * share)

    async def _look(self, medium: Medium) -> Made:
        seen, text = await both(medium.image(), medium.text())
        pixels = _expect(await medium.media(), Image).pixels
        return await self._pictured(segments.of_picture(self._file, seen, text), {0: pixels})

    async def _hear(self, medium: Medium) -> Made:
        ears = PatientEars(self._stages, lambda share: self._at(ENCODE, ENCODED * share))
        transcript = await medium.transcript(ears)
        found = segments.of_recording(self._file, transcript)
        return Made(segments=found, duration_s=transcript.duration_s)

    async def _watch(self, medium: Medium) -> Made:
        features = await medium.video()
        video = _expect(await medium.media(), Video)
        found = segments.of_video(self._file, features)
        made = await self._pictured(found, pictures.of_scenes(video, found))
        return replace(made, duration_s=features.duration_s)

    async def _read(self, first_ordinal: int, medium: Medium) -> tuple[list[int], Made]:
        """Some pages: their numbers, and what was made of them."""
        features = await medium.document()
        document = _expect(await medium.media(), Document)
        found = segments.of_pages(self._file, features, first_ordinal)
        made = await self._pictured(found, pictures.of_pages(document, found))
        return [page.number for page in features.pages], replace(made, pages=features.page_count)

    async def _pictured(self, found: Sequence[Segment], looks: pictures.Pictures) -> Made:
        """With hashes and thumbnails."""
        side_px = self._args.library.thumbnail_px
        return Made(
            segments=await asyncio.to_thread(pictures.with_hashes, found, looks),
            thumbnails=await asyncio.to_thread(pictures.thumbnails, looks, side_px),
        )

    async def _with_words(self, made: Made) -> Made:
        """With the vectors of the texts."""

        def on_progress(share: float) -> None:
            self._at(EMBED, ENCODED + (EMBEDDED - ENCODED) * share)

        on_progress(0.0)
        words = Words(self._stages, self._args)
        vectors = await words.vectors(self._ctx, segments.texts_of(made.segments), PARAM, on_progress)
        return replace(made, segments=segments.with_words(made.segments, vectors))


def _expect(media: Media, kind: type[T]) -> T:
    if not isinstance(media, kind):
        raise MultimodalError("The loader returned another kind of medium than it was asked for.")
    return media
