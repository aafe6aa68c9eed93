"""Messages of retrieval: segments, filters, searches and hits. Imports only `multimodal.types`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from multimodal.types import Box, MediaKind

Scalar: TypeAlias = str | int | float | bool
"""A value of user metadata."""

Vector: TypeAlias = NDArray[np.float32]
"""(dimensions,), unit length."""


class SegmentPart(StrEnum):
    """What of a file a segment is."""

    PICTURE = "picture"
    """A picture, or a scene of a video: what is to be seen, and the text on it."""
    SPEECH = "speech"
    """A segment of a transcript."""
    PAGE = "page"
    """A page of a document as it looks."""
    TEXT = "text"
    """A chunk of a document."""


class VectorName(StrEnum):
    """The named vectors of a point. In a unified space PICTURE and WORDS can be compared with each other."""

    PICTURE = "picture"
    """How it looks: ImageEncoder's space."""
    WORDS = "words"
    """What its text says: TextEncoder's space."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """The unit that is found: a picture, a scene, a sentence that was said, a page, a chunk of text."""

    id: str
    """A UUID that follows from the file and the ordinal: storing a segment again replaces it."""
    tenant: str
    file_id: str
    sha256: str
    """Of the file's bytes."""
    kind: MediaKind
    """Of the file."""
    part: SegmentPart
    ordinal: int
    """Place in its file, from 0."""
    text: str = ""
    """Words that stand on it or are said in it; what lexical search sees."""
    start_s: float | None = None
    end_s: float | None = None
    frames_s: tuple[float, ...] = ()
    """Times of the sampled frames of a scene."""
    page: int | None = None
    """From 1."""
    box: Box | None = None
    width: int | None = None
    height: int | None = None
    """Size in pixels of what PICTURE is the vector of."""
    logit_scale: float | None = None
    """Of the image tower that made PICTURE."""
    perceptual_hash: int | None = None
    """64 bits of how it looks (`multimodal.library.similar`), for near-duplicates."""
    thumbnail: bool = False
    """Whether the content store has a small picture of it."""
    created_s: int = 0
    """Unix seconds: when the file was uploaded."""
    duration_s: float | None = None
    """Of the whole file, where it plays."""
    metadata: Mapping[str, Scalar] = field(default_factory=dict)
    """The user's, of the file."""
    picture: Vector | None = field(default=None, repr=False)
    words: Vector | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """Bounds of a number; None: none. Inclusive, unless the name says otherwise."""

    gte: float | None = None
    lte: float | None = None
    gt: float | None = None
    lt: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentFilter:
    """All conditions hold together. The tenant is no condition: every search names it beside the filter."""

    kinds: tuple[MediaKind, ...] = ()
    """Any of these; empty: all."""
    parts: tuple[SegmentPart, ...] = ()
    file_ids: tuple[str, ...] | None = None
    """Any of these; None: all; empty: none."""
    not_file_ids: tuple[str, ...] = ()
    created_s: Range | None = None
    """Unix seconds."""
    duration_s: Range | None = None
    equal: tuple[tuple[str, tuple[Scalar, ...]], ...] = ()
    """User metadata: the value of the key is one of these. Types count: 1, 1.0 and true are different from
    "1"; 1 and 1.0 are the same number; true is no number."""
    ranges: tuple[tuple[str, Range], ...] = ()
    """User metadata: the value of the key is a number within."""


class Fusion(StrEnum):
    """How ranked lists become one."""

    RRF = "rrf"
    """Reciprocal rank fusion (Cormack et al. 2009): sum of weight / (k + rank)."""
    WEIGHTED = "weighted"
    """Weighted sum of similarities; lexical scores as shares of the best one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpaceQuery:
    """A query vector, and the named vectors that it can be compared with: the best of them counts."""

    vector: Vector = field(repr=False)
    names: tuple[VectorName, ...]
    gains: tuple[float, ...] = ()
    """Of each name: what its cosines are multiplied with, so that they can be held against those of the
    others. Empty: 1 each."""
    weight: float = 1.0

    def gain(self, name: VectorName) -> float:
        """Of one of the names."""
        return self.gains[self.names.index(name)] if self.gains else 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """One search of one tenant's segments."""

    tenant: str
    spaces: tuple[SpaceQuery, ...] = ()
    words: str = ""
    """For lexical search; empty: none."""
    words_weight: float = 1.0
    filter: SegmentFilter = SegmentFilter()
    limit: int = 10
    offset: int = 0
    min_similarity: float | None = None
    """Hits whose best similarity is below are dropped, those of lexical search too."""
    fusion: Fusion = Fusion.RRF
    fold_duplicates: bool = False
    """Of segments that look alike, or are the same part of the same bytes, only the best is a hit."""
    with_vectors: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """A segment that was found."""

    segment: Segment
    """With vectors where the search asked for them."""
    score: float
    """What hits are ordered by; comparable within one answer only."""
    similarity: float | None
    """Largest cosine, times its gain, of its vectors with those of the query; None where no vector could be
    compared."""
    lexical: float | None = None
    """BM25 score of its words; None where none of the query's words is in it."""
    duplicates: tuple[str, ...] = ()
    """File ids of segments that were folded into this one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The answer to a search."""

    hits: tuple[Hit, ...]
    more: bool
    """Whether hits follow after offset + limit."""
