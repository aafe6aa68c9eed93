"""A graph whose index answers what was written down beforehand, and segments for it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from multimodal.library.records import QueryItem, SearchRequest
from multimodal.retrieval.types import Found, Hit, Search, Segment, SegmentPart, Vector
from multimodal.types import (
    Chunk,
    Deferred,
    DocumentFeatures,
    FileReference,
    MediaKind,
    MediaSource,
    PageFeatures,
    RequestContext,
    StageEvent,
    TranscriptPart,
)
from tests.fakes import FakeStages

TENANT = "local"


@dataclass
class Graph(FakeStages):
    """Searches are answered in order; the last answer is repeated."""

    answers: Sequence[Found] = (Found(hits=(), more=False),)
    searches: list[Search] = field(default_factory=list)
    stored: dict[str, Sequence[Segment]] = field(default_factory=dict)
    """By file id."""

    def search(self, ctx: RequestContext, search: Search) -> Deferred[Found]:
        self.searches.append(search)
        answer = self.answers[min(len(self.searches), len(self.answers)) - 1]

        async def find() -> Found:
            return answer

        return self._start("search", find)

    def segments_of(
        self, ctx: RequestContext, file_id: str, with_vectors: bool
    ) -> Deferred[Sequence[Segment]]:
        async def find() -> Sequence[Segment]:
            found = self.stored.get(file_id, ())
            return found if with_vectors else [replace(one, picture=None, words=None) for one in found]

        return self._start(f"segments_of {file_id}", find)


def context(seconds: float = 30.0) -> RequestContext:
    return RequestContext(request_id="r", tenant=TENANT, deadline_s=time.time() + seconds)


def ignore(event: StageEvent | TranscriptPart) -> None:
    pass


def part(query: str | MediaSource | FileReference, weight: float = 1.0, index: int = 0) -> QueryItem:
    return QueryItem(query=query, param=f"query.{index}", weight=weight)


def asked(*queries: str | MediaSource | FileReference, weights: Sequence[float] = ()) -> SearchRequest:
    """A search for these parts, with the weights, or 1 each."""
    weights = weights or [1.0] * len(queries)
    return SearchRequest(
        queries=tuple(
            part(query, weight, index)
            for index, (query, weight) in enumerate(zip(queries, weights, strict=True))
        )
    )


def source(kind: MediaKind, index: int = 0, data: bytes = b"cat") -> MediaSource:
    return MediaSource(kind=kind, data=data, param=f"query.{index}")


def reference(file_id: str, index: int = 0) -> FileReference:
    return FileReference(file_id=file_id, param=f"query.{index}")


def segment(
    file_id: str,
    ordinal: int = 0,
    *,
    picture: Vector | None = None,
    words: Vector | None = None,
    text: str = "",
    frames_s: tuple[float, ...] = (),
) -> Segment:
    return Segment(
        id=f"{file_id}/{ordinal}",
        tenant=TENANT,
        file_id=file_id,
        sha256="0" * 64,
        kind=MediaKind.IMAGE,
        part=SegmentPart.PICTURE,
        ordinal=ordinal,
        text=text,
        frames_s=frames_s,
        picture=picture,
        words=words,
    )


def hit(file_id: str, ordinal: int = 0, duplicates: tuple[str, ...] = ()) -> Hit:
    return Hit(segment=segment(file_id, ordinal), score=1.0, similarity=0.5, duplicates=duplicates)


def document(*chunks: str) -> DocumentFeatures:
    """One page for each chunk."""
    pages = (
        PageFeatures(number=number, chunks=(Chunk(text=text, box=None),), image=None)
        for number, text in enumerate(chunks, start=1)
    )
    return DocumentFeatures(sha256="0" * 64, title="", pages=tuple(pages), page_count=len(chunks))
