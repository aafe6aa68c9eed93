"""What is known of an uploaded file. Imports nothing local but types."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from multimodal.retrieval.types import Fusion, Hit, Scalar, SegmentFilter
from multimodal.types import FileReference, MediaKind, MediaSource, StoredContent


class FileStatus(StrEnum):
    """Where a file is on its way into the index. OpenAI's words, and `processing`."""

    UPLOADED = "uploaded"
    """Waits for its turn."""
    PROCESSING = "processing"
    PROCESSED = "processed"
    ERROR = "error"


@dataclass(frozen=True, slots=True, kw_only=True)
class Duplicate:
    """Another file of the tenant that has the same bytes, or looks (nearly) the same."""

    file_id: str
    similarity: float
    """1: the same bytes; below: share of equal bits of the perceptual hashes."""
    exact: bool
    start_s: float | None = None
    """Videos: the scene of the other file that looks alike."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileRecord:
    """One uploaded file of one tenant."""

    id: str
    """`file-` and 32 hexadecimal digits."""
    tenant: str
    filename: str
    purpose: str
    media_type: str
    """MIME type, by its bytes."""
    kind: MediaKind | None
    """None: stored, but nothing that can be searched."""
    content: StoredContent
    created_s: int
    """Unix seconds."""
    metadata: Mapping[str, Scalar] = field(default_factory=dict)
    status: FileStatus = FileStatus.UPLOADED
    stage: str | None = None
    """While PROCESSING: "load", "encode", "embed" or "store"."""
    progress: float = 0.0
    """In [0, 1]."""
    attempts: int = 0
    """How often processing was begun."""
    segments: int = 0
    error_code: str | None = None
    error_message: str | None = None
    duration_s: float | None = None
    pages: int | None = None
    duplicates: tuple[Duplicate, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class FilePage:
    """A page of a list of files."""

    files: tuple[FileRecord, ...]
    more: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryItem:
    """One part of a query."""

    query: str | MediaSource | FileReference = field(repr=False)
    param: str
    """Where it stood in the request."""
    weight: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchRequest:
    """A search, checked and typed."""

    queries: tuple[QueryItem, ...]
    """At least one; the files among them are not found themselves."""
    filter: SegmentFilter = field(default_factory=SegmentFilter)
    top_k: int = 10
    offset: int = 0
    score_threshold: float | None = None
    fusion: Fusion = Fusion.RRF
    dense_weight: float = 1.0
    lexical_weight: float = 1.0
    dedupe: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchResult:
    """A hit, and the file that it is in."""

    hit: Hit
    file: FileRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchAnswer:
    """Hits, the best first."""

    results: tuple[SearchResult, ...]
    more: bool
    tokens: int
    """Tokens of the texts and transcripts of the query: what usage reports."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retrieval:
    """How an answer is to stand on uploaded files."""

    filter: SegmentFilter = field(default_factory=SegmentFilter)
    top_k: int | None = None
    """Segments at most; None: `SearchArgs.answer_top_k`."""
    min_similarity: float | None = None
    """None: `SearchArgs.relevance`."""
