"""What both Qdrant stores have in common: segments to points, searches to queries, ties, pages.

`edge` and `server` add how points get into and out of their engine (`PointReader`, `PointWriter`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from itertools import islice
from typing import Protocol, TypeVar

from multimodal.retrieval import points
from multimodal.retrieval.filters import (
    FILE_ID,
    META_EQUAL,
    TENANT,
    TERMS,
    AnyOf,
    HasId,
    Where,
    can_match,
    where,
)
from multimodal.retrieval.points import LOOK, PointData, StoredPoint
from multimodal.retrieval.store import Scored
from multimodal.retrieval.types import Segment, SegmentFilter, Vector, VectorName

T = TypeVar("T")

WRITE_BATCH = 100
"""Points of one write. In the replica it holds the interpreter for about 10 ms, on the way to a server it
takes about 2 MB."""
READ_BATCH = 500
"""Points of one page of a list."""
SIMILARITY_DIGITS, LEXICAL_DIGITS = 6, 5
"""Decimals of scores that count. Engines compute in float32: what lies beyond is noise, which would order
segments with the same vector at random."""
_TIES = 16
"""Further results that are asked for, to see whether those at the limit share their score with others."""
_MOST_TIED = 512
"""Where more share a score than this, which of them are found is up to the engine."""

INDEXED_KEYWORDS = (TENANT, FILE_ID, "kind", "part", META_EQUAL)
INDEXED_FLOATS = ("created_s", "duration_s")
INDEXED_INTEGERS = (TERMS,)
"""Fields of payloads that have an index. Numbers with ranges are indexed as floats, as their bounds are."""


class PointWriter(Protocol):
    """One collection of points, to change."""

    def put(self, batch: Sequence[PointData]) -> None:
        """Store, durably."""
        ...

    def drop(self, which: Where) -> None:
        """Delete, durably."""
        ...


class PointReader(Protocol):
    """One collection of points, to ask."""

    def nearest(
        self, name: str, vector: list[float], which: Where, limit: int, *, exact: bool, at_least: float | None
    ) -> list[tuple[str, float]]:
        """Ids of points with their cosines, the largest first."""
        ...

    def products(self, weights: Mapping[int, float], which: Where, limit: int) -> list[tuple[str, float]]:
        """Ids of points with their sparse products, the largest first; those without any term left out."""
        ...

    def count(self, which: Where) -> int:
        """Exact."""
        ...

    def page(
        self, which: Where, after: str | None, limit: int, *, with_vectors: bool
    ) -> tuple[list[StoredPoint], str | None]:
        """Points in the order of their ids, beginning with `after`; and where the next page begins."""
        ...

    def values(self, key: str, which: Where | None) -> list[str]:
        """All values of an indexed field."""
        ...


EXACT_UP_TO = 50_000
"""Segments that pass a filter and are compared one by one. The graph is one of all segments of a tenant: a
walk that may use only some of them loses its way. Of 200,000 segments with 9,000 to 36,000 matches it found
0.66 to 0.81 of the ten nearest (`python -m benchmarks.retrieval`); comparing 36,000 took 13 to 20 ms."""


class QdrantSegments(ABC):
    """A SegmentStore over a PointReader and a PointWriter."""

    def __init__(self, sizes: Mapping[VectorName, int]) -> None:
        self._sizes = sizes

    @abstractmethod
    def _reading(self) -> AbstractContextManager[PointReader]:
        """An engine to read from; any number of threads at a time."""

    @abstractmethod
    def _writing(self) -> AbstractContextManager[PointWriter]:
        """An engine to write to."""

    def upsert(self, segments: Sequence[Segment]) -> None:
        """See SegmentStore. Raises ValueError for a vector that the index has no place for; then nothing of
        its batch is stored."""
        for batch in batches(segments, WRITE_BATCH):
            encoded = [points.encode(segment, self._sizes) for segment in batch]
            with self._writing() as engine:
                engine.put(encoded)

    def delete_files(self, tenant: str, file_ids: Collection[str]) -> None:
        """See SegmentStore."""
        if file_ids:
            with self._writing() as engine:
                engine.drop(where(tenant, None, AnyOf(FILE_ID, tuple(sorted(file_ids)))))

    def nearest(
        self, tenant: str, name: VectorName, vector: Vector, wanted: SegmentFilter, limit: int
    ) -> Scored:
        """See SegmentStore. Approximate where an HNSW graph covers the tenant."""
        if name not in self._sizes or not can_match(wanted):
            return []
        exact = self._few_match(tenant, wanted)
        query, which = self._query(name, vector), where(tenant, wanted)
        with self._reading() as engine:
            return best(
                lambda many: _named(
                    tenant,
                    engine.nearest(name, query, which, many, exact=exact, at_least=None),
                    SIMILARITY_DIGITS,
                ),
                limit,
            )

    def _few_match(self, tenant: str, wanted: SegmentFilter) -> bool:
        """Whether conditions beside the tenant leave so few segments that all of them are compared."""
        everything = SegmentFilter()
        if wanted == everything:
            return False
        return self.count(tenant, everything) <= EXACT_UP_TO or self.count(tenant, wanted) <= EXACT_UP_TO

    def cosines(
        self, tenant: str, name: VectorName, vector: Vector, ids: Collection[str]
    ) -> Mapping[str, float]:
        """See SegmentStore."""
        if name not in self._sizes or not ids:
            return {}
        query, which = self._query(name, vector), _these(tenant, ids)
        with self._reading() as engine:
            found = engine.nearest(name, query, which, len(ids), exact=True, at_least=None)
        return dict(_named(tenant, found, SIMILARITY_DIGITS))

    def lexical(self, tenant: str, weights: Mapping[int, float], wanted: SegmentFilter, limit: int) -> Scored:
        """See SegmentStore."""
        if not weights or not can_match(wanted):
            return []
        which = where(tenant, wanted)
        with self._reading() as engine:
            return best(
                lambda many: _named(tenant, engine.products(weights, which, many), LEXICAL_DIGITS), limit
            )

    def products(
        self, tenant: str, weights: Mapping[int, float], ids: Collection[str]
    ) -> Mapping[str, float]:
        """See SegmentStore."""
        if not weights or not ids:
            return {}
        with self._reading() as engine:
            found = engine.products(weights, _these(tenant, ids), len(ids))
        return dict(_named(tenant, found, LEXICAL_DIGITS))

    def document_frequencies(self, tenant: str, terms: Collection[int]) -> Mapping[int, int]:
        """See SegmentStore."""
        return {term: self.document_frequency(tenant, term) for term in terms}

    def document_frequency(self, tenant: str, term: int) -> int:
        """In how many segments of the tenant a term occurs: exact."""
        with self._reading() as engine:
            return engine.count(where(tenant, None, AnyOf(TERMS, (term,))))

    def count(self, tenant: str, wanted: SegmentFilter) -> int:
        """See SegmentStore."""
        if not can_match(wanted):
            return 0
        with self._reading() as engine:
            return engine.count(where(tenant, wanted))

    def get(self, tenant: str, ids: Sequence[str], *, with_vectors: bool) -> Mapping[str, Segment]:
        """See SegmentStore."""
        if not ids:
            return {}
        with self._reading() as engine:
            found = list(_pages(engine, _these(tenant, ids), with_vectors=with_vectors))
        return {segment.id: segment for segment in map(points.decode, found)}

    def of_file(self, tenant: str, file_id: str, *, with_vectors: bool) -> Sequence[Segment]:
        """See SegmentStore."""
        which = where(tenant, None, AnyOf(FILE_ID, (file_id,)))
        with self._reading() as engine:
            found = list(_pages(engine, which, with_vectors=with_vectors))
        return sorted(map(points.decode, found), key=lambda segment: (segment.ordinal, segment.id))

    def look_alikes(
        self, tenant: str, perceptual_hash: int, max_bits: int, limit: int
    ) -> Sequence[tuple[Segment, int]]:
        """See SegmentStore. Never approximate: `look` has no graph."""
        query, which = points.look(perceptual_hash), where(tenant)
        least = points.least_cosine(max_bits)
        with self._reading() as engine:
            found = best(
                lambda many: _named(
                    tenant,
                    engine.nearest(LOOK, query, which, many, exact=True, at_least=least),
                    SIMILARITY_DIGITS,
                ),
                limit,
            )
        bits = {one: points.different_bits(cosine) for one, cosine in found}
        segments = self.get(tenant, list(bits), with_vectors=False)
        return [(segments[one], number) for one, number in bits.items() if one in segments]

    def files(self) -> Mapping[str, Sequence[str]]:
        """See SegmentStore."""
        with self._reading() as engine:
            return {
                tenant: sorted(engine.values(FILE_ID, where(tenant)))
                for tenant in sorted(engine.values(TENANT, None))
            }

    def _query(self, name: VectorName, vector: Vector) -> list[float]:
        if vector.shape != (self._sizes[name],):
            raise ValueError(f"a query of shape {vector.shape} for {name}, not ({self._sizes[name]},)")
        values: list[float] = vector.tolist()
        return values


def best(ask: Callable[[int], list[tuple[str, float]]], limit: int) -> list[tuple[str, float]]:
    """The `limit` largest scores, equal ones by id: engines choose at random among those that share the last
    place, so that all of them have to be asked for."""
    if limit <= 0:
        return []
    for many in (limit + _TIES, limit + _MOST_TIED):
        found = sorted(ask(many), key=lambda one: (-one[1], one[0]))
        if len(found) < many or found[-1][1] < found[limit - 1][1]:
            break
    return found[:limit]


def batches(items: Sequence[T], size: int) -> Iterator[list[T]]:
    """The items in lists of at most `size`."""
    rest = iter(items)
    while batch := list(islice(rest, size)):
        yield batch


def _named(tenant: str, found: list[tuple[str, float]], digits: int) -> list[tuple[str, float]]:
    """Ids of segments in place of ids of points; scores without their noise."""
    return [(points.segment_id(tenant, one), round(score, digits)) for one, score in found]


def _these(tenant: str, ids: Collection[str]) -> Where:
    return where(tenant, None, HasId(tuple(points.point_id(tenant, one) for one in ids)))


def _pages(engine: PointReader, which: Where, *, with_vectors: bool) -> Iterator[StoredPoint]:
    after: str | None = None
    while True:
        page, after = engine.page(which, after, READ_BATCH, with_vectors=with_vectors)
        yield from page
        if after is None:
            return
