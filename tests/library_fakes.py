"""Uploaded files and an index in memory, for tests of what works on them in the background."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from multimodal.encode_once import EncodeOnce
from multimodal.identity import FeatureKey
from multimodal.library.records import Duplicate, FileRecord, FileStatus
from multimodal.retrieval.types import Found, Search, Segment
from multimodal.types import (
    SAMPLE_RATE_HZ,
    Audio,
    Chunk,
    Deferred,
    Document,
    DocumentFeatures,
    Image,
    Media,
    MediaKind,
    MediaSource,
    Page,
    PageFeatures,
    RequestContext,
    SpeechHints,
    StoredContent,
    TextBlock,
    Transcript,
    Video,
    VideoFeatures,
)
from tests.encoder_fakes import vector_of
from tests.fakes import FakeStages, remembering, seen

T = TypeVar("T")

DUPLICATE_BITS = 6


def a_file(number: int, kind: MediaKind | None, *, tenant: str = "ann", content: str = "") -> FileRecord:
    """An uploaded file; those of the same content have the same bytes."""
    content = content or f"content {number}"
    return FileRecord(
        id=f"file-{number:032x}",
        tenant=tenant,
        filename=f"{number}.bin",
        purpose="user_data",
        media_type="application/octet-stream",
        kind=kind,
        content=StoredContent(key=f"{tenant}/{content}", sha256=content, size_bytes=9),
        created_s=1_700_000_000 + number,
    )


def picture(pixels: NDArray[np.uint8] | None = None) -> Image:
    """A picture with structure, unless it is given its pixels."""
    if pixels is None:
        pixels = np.random.default_rng(1).integers(0, 255, (40, 60, 3), np.uint8)
    return Image(sha256="p", pixels=pixels, width=pixels.shape[1], height=pixels.shape[0], format="png")


def sound(seconds: float = 1.0) -> Audio:
    samples = np.zeros(int(seconds * SAMPLE_RATE_HZ), np.float32)
    return Audio(sha256="s", samples=samples, duration_s=seconds, format="wav")


def clip(times_s: Sequence[float]) -> Video:
    """A video of different frames at these times."""
    frames = np.random.default_rng(2).integers(0, 255, (len(times_s), 40, 60, 3), np.uint8)
    return Video(
        sha256="v",
        frames=frames,
        times_s=tuple(times_s),
        duration_s=60.0,
        width=60,
        height=40,
        format="mp4",
        audio=None,
    )


def document(pages: Sequence[str], first: int, count: int, *, looks: bool = True) -> Document:
    """At most `count` of these pages, from `first` on."""
    pixels = np.full((40, 30, 3), 255, np.uint8) if looks else None
    numbered = list(enumerate(pages, 1))[first - 1 : first - 1 + count]
    return Document(
        sha256="d",
        format="pdf",
        title="",
        pages=tuple(
            Page(number=number, blocks=(TextBlock(text=text),), pixels=pixels) for number, text in numbered
        ),
        page_count=len(pages),
    )


@dataclass
class FakeShelf:
    """`IngestQueue`, and what else an Ingestor needs of uploaded files."""

    attempts: int = 3
    files: dict[str, FileRecord] = field(default_factory=dict)
    owners: dict[str, str] = field(default_factory=dict)
    unpurged: list[tuple[str, str]] = field(default_factory=list)
    thumbnails: dict[tuple[str, int], bytes] = field(default_factory=dict)
    """By content key and ordinal."""
    reports: list[tuple[str, str, float]] = field(default_factory=list)
    """File id, stage and progress."""
    released: list[tuple[str, float]] = field(default_factory=list)
    """File id and delay: a file that is given back can be claimed at once."""
    failures: dict[str, list[Exception]] = field(default_factory=dict)
    """Raised by the method of that name, one after the other."""
    sweeps: int = 0
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def put(self, file: FileRecord) -> FileRecord:
        """Upload."""
        self.files[file.id] = file
        return file

    def delete(self, file_id: str) -> None:
        """As the API does."""
        self.unpurged.append((self.files.pop(file_id).tenant, file_id))

    def lose_lease(self, file_id: str) -> None:
        """As when its owner was silent for too long: whoever asks next gets it."""
        del self.owners[file_id]

    def only(self) -> FileRecord:
        """The one file that there is."""
        (file,) = self.files.values()
        return file

    async def until(self, holds: Callable[[], bool]) -> None:
        """Return when this holds; it is looked at whenever something is called."""
        while not holds():
            self.changed.clear()
            await self.changed.wait()

    async def claim(self, owner: str) -> FileRecord | None:
        self._called("claim")
        for file in self.files.values():
            orphan = file.status is FileStatus.PROCESSING and file.id not in self.owners
            if file.kind is None or not (orphan or file.status is FileStatus.UPLOADED):
                continue
            if file.attempts >= self.attempts:
                self._change(file.id, status=FileStatus.ERROR, error_code="processing_interrupted")
                continue
            self.owners[file.id] = owner
            return self._change(file.id, status=FileStatus.PROCESSING, attempts=file.attempts + 1)
        return None

    async def renew(self, owner: str, file_id: str) -> bool:
        self._called("renew")
        return self._owns(owner, file_id)

    async def report(self, owner: str, file_id: str, stage: str, progress: float) -> bool:
        self._called("report")
        self.reports.append((file_id, stage, progress))
        return self._owns(owner, file_id)

    async def finish(
        self,
        owner: str,
        file_id: str,
        *,
        segments: int,
        duration_s: float | None,
        pages: int | None,
        duplicates: Sequence[Duplicate],
    ) -> bool:
        self._called("finish")
        return self._end(
            owner,
            file_id,
            status=FileStatus.PROCESSED,
            segments=segments,
            duration_s=duration_s,
            pages=pages,
            duplicates=tuple(duplicates),
        )

    async def fail(self, owner: str, file_id: str, code: str, message: str) -> bool:
        self._called("fail")
        return self._end(owner, file_id, status=FileStatus.ERROR, error_code=code, error_message=message)

    async def release(self, owner: str, file_id: str, delay_s: float) -> None:
        self._called("release")
        self.released.append((file_id, delay_s))
        attempts = self.files[file_id].attempts - 1
        self._end(owner, file_id, status=FileStatus.UPLOADED, attempts=attempts)

    async def write_thumbnail(self, record: FileRecord, ordinal: int, jpeg: bytes) -> None:
        self._called("write_thumbnail")
        self.thumbnails[record.content.key, ordinal] = jpeg

    async def twin(self, record: FileRecord) -> FileRecord | None:
        self._called("twin")
        for other in self.files.values():
            same = other.content.key == record.content.key and other.id != record.id
            if same and other.status is FileStatus.PROCESSED:
                return other
        return None

    async def deleted(self) -> Sequence[tuple[str, str]]:
        self._called("deleted")
        return list(self.unpurged)

    async def existing(self, tenant: str, file_ids: Sequence[str]) -> set[str]:
        self._called("existing")
        return {one for one in file_ids if one in self.files and self.files[one].tenant == tenant}

    async def searchable(self, tenant: str, file_ids: Sequence[str]) -> set[str]:
        self._called("searchable")
        found = [one for one in self.files.values() if one.status is not FileStatus.ERROR]
        return {one.id for one in found if one.tenant == tenant and one.id in file_ids}

    async def processed(self) -> Mapping[str, Sequence[str]]:
        self._called("processed")
        found: dict[str, list[str]] = {}
        for file in self.files.values():
            if file.status is FileStatus.PROCESSED and file.segments:
                found.setdefault(file.tenant, []).append(file.id)
        return found

    async def requeue(self, tenant: str, file_ids: Sequence[str]) -> None:
        self._called("requeue")
        for file_id in file_ids:
            file = self.files.get(file_id)
            if file is not None and file.tenant == tenant and file.status is FileStatus.PROCESSED:
                self._change(file_id, status=FileStatus.UPLOADED, segments=0)

    async def sweep(self) -> int:
        self._called("sweep")
        self.sweeps += 1
        return 0

    async def purge(self, tenant: str, file_id: str) -> None:
        self._called("purge")
        self.unpurged.remove((tenant, file_id))

    def _called(self, method: str) -> None:
        self.changed.set()
        if self.failures.get(method):
            raise self.failures[method].pop(0)

    def _owns(self, owner: str, file_id: str) -> bool:
        return file_id in self.files and self.owners.get(file_id) == owner

    def _end(self, owner: str, file_id: str, **changes: object) -> bool:
        if not self._owns(owner, file_id):
            return False
        del self.owners[file_id]
        self._change(file_id, **changes)
        return True

    def _change(self, file_id: str, **changes: object) -> FileRecord:
        self.files[file_id] = replace(self.files[file_id], **changes)  # type: ignore[arg-type]
        return self.files[file_id]


@dataclass
class FakeLibraryStages(FakeStages):
    """The graph with an index. What a file holds is said by `holds`."""

    once: EncodeOnce = field(default_factory=lambda: remembering(2**20))
    transcript_of_video: Transcript | None = None
    segments: dict[str, dict[str, Segment]] = field(default_factory=lambda: defaultdict(dict))
    """By tenant and id."""
    stored: list[int] = field(default_factory=list)
    """Segments in each call."""
    media: dict[str, Callable[[MediaSource], Media]] = field(default_factory=dict)
    sources: list[MediaSource] = field(default_factory=list)

    def holds(self, file: FileRecord, media: Media | Callable[[MediaSource], Media]) -> None:
        """What its bytes decode to; a function may raise."""
        self.media[file.content.key] = media if callable(media) else lambda source: media

    def of(self, file: FileRecord) -> list[Segment]:
        """Its segments in the index, in order."""
        found = [one for one in self.segments[file.tenant].values() if one.file_id == file.id]
        return sorted(found, key=lambda one: one.ordinal)

    def load(
        self, ctx: RequestContext, source: MediaSource, key: FeatureKey | None = None
    ) -> Deferred[Media]:
        self.contexts.append(ctx)
        self.sources.append(source)

        async def load() -> Media:
            assert source.stored is not None
            return self.media[source.stored.key](source)

        return self._start("load", load)

    def watch(
        self, ctx: RequestContext, video: Deferred[Media], hints: SpeechHints, key: FeatureKey | None = None
    ) -> Deferred[VideoFeatures]:
        async def watch() -> VideoFeatures:
            found = await video
            assert isinstance(found, Video)
            return VideoFeatures(
                sha256=found.sha256,
                duration_s=found.duration_s,
                width=found.width,
                height=found.height,
                scenes=self.scenes,
                transcript=self.transcript_of_video,
            )

        return self._start("watch", watch)

    def read_document(
        self, ctx: RequestContext, document: Deferred[Media], key: FeatureKey | None = None
    ) -> Deferred[DocumentFeatures]:
        async def read() -> DocumentFeatures:
            found = await document
            assert isinstance(found, Document)
            return DocumentFeatures(
                sha256=found.sha256,
                title=found.title,
                pages=tuple(map(_page, found.pages)),
                page_count=found.page_count,
            )

        return self._start("read_document", read)

    def store_segments(self, ctx: RequestContext, segments: Sequence[Segment]) -> Deferred[None]:
        async def store() -> None:
            assert all(segment.tenant == ctx.tenant for segment in segments)
            self.stored.append(len(segments))
            self.segments[ctx.tenant].update({segment.id: segment for segment in segments})

        return self._start("store_segments", store)

    def forget_files(self, ctx: RequestContext, file_ids: Collection[str]) -> Deferred[None]:
        async def forget() -> None:
            kept = self.segments[ctx.tenant]
            for one in [one for one in kept.values() if one.file_id in file_ids]:
                del kept[one.id]

        return self._start("forget_files", forget)

    def search(self, ctx: RequestContext, search: Search) -> Deferred[Found]:
        raise NotImplementedError

    def segments_of(
        self, ctx: RequestContext, file_id: str, with_vectors: bool
    ) -> Deferred[Sequence[Segment]]:
        async def find() -> Sequence[Segment]:
            found = [one for one in self.segments[ctx.tenant].values() if one.file_id == file_id]
            return sorted(found, key=lambda one: one.ordinal)

        return self._start("segments_of", find)

    def look_alikes(
        self, ctx: RequestContext, perceptual_hashes: Sequence[int]
    ) -> Deferred[Sequence[Sequence[tuple[Segment, int]]]]:
        async def find() -> Sequence[Sequence[tuple[Segment, int]]]:
            return [self._near(ctx.tenant, bits) for bits in perceptual_hashes]

        return self._start("look_alikes", find)

    def indexed_files(self, ctx: RequestContext) -> Deferred[Mapping[str, Sequence[str]]]:
        async def find() -> Mapping[str, Sequence[str]]:
            return {
                tenant: sorted({one.file_id for one in kept.values()})
                for tenant, kept in self.segments.items()
            }

        return self._start("indexed_files", find)

    def _near(self, tenant: str, bits: int) -> list[tuple[Segment, int]]:
        found = [
            (segment, (segment.perceptual_hash ^ bits).bit_count())
            for segment in self.segments[tenant].values()
            if segment.perceptual_hash is not None
        ]
        near = [one for one in found if one[1] <= DUPLICATE_BITS]
        return sorted(near, key=lambda one: (one[1], one[0].id))


def _page(page: Page) -> PageFeatures:
    chunks = tuple(Chunk(text=block.text, box=block.box) for block in page.blocks)
    look = None if page.pixels is None else seen(vector_of("page"), f"page {page.number}")
    return PageFeatures(number=page.number, chunks=chunks, image=look)
