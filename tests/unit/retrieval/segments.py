"""Segments for tests: by hand, and drawn at random from small pools, so that they meet each other."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from hypothesis import strategies as st

from multimodal.config import RetrieverArgs
from multimodal.retrieval.types import (
    Fusion,
    Range,
    Scalar,
    Search,
    Segment,
    SegmentFilter,
    SegmentPart,
    SpaceQuery,
    Vector,
    VectorName,
)
from multimodal.types import MediaKind

SIZES = {VectorName.PICTURE: 4, VectorName.WORDS: 4}
ARGS = RetrieverArgs(optimize_s=3600, lock_timeout_s=10)
TENANTS = ("ann", "bob")
HASHES = (0, 1, 3, 0xFF, 2**64 - 1, 2**63)
TEXTS = ("", "red fox", "the red car", "blue whale INV-2024-001", "whale whale whale fox", "日本語の本")
KEYS = ("colour", "a.b", 'q"[]', "n")
SCALARS: tuple[Scalar, ...] = (1, 1.0, True, "1", False, 0, 0.5, -3, "blue", 'b"=[', "", 2**60)
FILES = ("file-a", "file-b", "file-c")

T = TypeVar("T")

_random = np.random.default_rng(7)


def unit(*values: float) -> Vector:
    """A vector of that direction."""
    vector = np.asarray(values, dtype=np.float32)
    return vector / np.float32(np.linalg.norm(vector))


POOL: tuple[Vector, ...] = tuple(unit(*_random.normal(size=4)) for _ in range(7))


def segment_id(number: int) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_OID, str(number)))


def segment(number: int = 0, **fields: object) -> Segment:
    """A segment; what the test does not say is nothing special."""
    known: dict[str, object] = {
        "id": segment_id(number),
        "tenant": "ann",
        "file_id": "file-a",
        "sha256": "ab" * 32,
        "kind": MediaKind.IMAGE,
        "part": SegmentPart.PICTURE,
        "ordinal": number,
    }
    return Segment(**{**known, **fields})  # type: ignore[arg-type]


def vectors() -> st.SearchStrategy[Vector]:
    return st.sampled_from(POOL)


@st.composite
def segments(draw: st.DrawFn, tenants: tuple[str, ...] = TENANTS) -> list[Segment]:
    """Up to 12 segments, some of them of the same id in two tenants."""
    numbers = draw(st.lists(st.tuples(st.sampled_from(tenants), st.integers(0, 8)), max_size=12, unique=True))
    return [draw(_segments_of(tenant, number)) for tenant, number in numbers]


def _segments_of(tenant: str, number: int) -> st.SearchStrategy[Segment]:
    maybe_vector = st.none() | vectors()
    return st.builds(
        segment,
        st.just(number),
        tenant=st.just(tenant),
        file_id=st.sampled_from(FILES),
        sha256=st.sampled_from(("aa", "bb")),
        kind=st.sampled_from(MediaKind),
        part=st.sampled_from(SegmentPart),
        ordinal=st.integers(0, 2),
        text=st.sampled_from(TEXTS),
        created_s=st.integers(0, 3),
        duration_s=st.sampled_from((None, 0.5, 1.0, 2.0)),
        perceptual_hash=st.none() | st.sampled_from(HASHES),
        metadata=st.dictionaries(st.sampled_from(KEYS), st.sampled_from(SCALARS), max_size=2),
        picture=maybe_vector,
        words=maybe_vector,
    )


def _ranges() -> st.SearchStrategy[Range]:
    bound = st.none() | st.sampled_from((-3.0, 0.0, 0.5, 1.0, 1.5, 2.0, float(2**60)))
    return st.builds(Range, gte=bound, lte=bound, gt=bound, lt=bound)


def _some(values: Sequence[T]) -> st.SearchStrategy[tuple[T, ...]]:
    return st.lists(st.sampled_from(values), max_size=2).map(tuple)


def filters() -> st.SearchStrategy[SegmentFilter]:
    keyed_scalars = st.tuples(st.sampled_from(KEYS), _some(SCALARS))
    keyed_ranges = st.tuples(st.sampled_from(KEYS), _ranges())
    return st.builds(
        SegmentFilter,
        kinds=_some(tuple(MediaKind)),
        parts=_some(tuple(SegmentPart)),
        file_ids=st.none() | _some(FILES),
        not_file_ids=_some(FILES),
        created_s=st.none() | _ranges(),
        duration_s=st.none() | _ranges(),
        equal=st.lists(keyed_scalars, max_size=1).map(tuple),
        ranges=st.lists(keyed_ranges, max_size=1).map(tuple),
    ) | st.just(SegmentFilter())


def _space(vector: Vector, names: tuple[VectorName, ...], weight: float, gain: float) -> SpaceQuery:
    """The last of the names with this gain."""
    gains = (1.0,) * (len(names) - 1) + (gain,)
    return SpaceQuery(vector=vector, names=names, gains=gains, weight=weight)


def searches() -> st.SearchStrategy[Search]:
    names = st.sampled_from(
        ((VectorName.PICTURE,), (VectorName.WORDS,), (VectorName.PICTURE, VectorName.WORDS))
    )
    weight = st.sampled_from((0.5, 1.0, 3.0))
    spaces = st.lists(
        st.builds(
            _space, vector=vectors(), names=names, weight=weight, gain=st.sampled_from((0.5, 1.0, 1.7))
        ),
        max_size=2,
    )
    return st.builds(
        Search,
        tenant=st.sampled_from(TENANTS),
        spaces=spaces.map(tuple),
        words=st.sampled_from(("", "fox", "the red whale", "2024", "inv-2024-001", "日本", "nothing")),
        words_weight=weight,
        filter=filters(),
        limit=st.integers(1, 5),
        offset=st.integers(0, 3),
        min_similarity=st.none() | st.sampled_from((-0.5, 0.0, 0.4)),
        fusion=st.sampled_from(Fusion),
        fold_duplicates=st.booleans(),
        with_vectors=st.booleans(),
    )
