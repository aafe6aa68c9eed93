"""The truth, by brute force: a store that looks at every segment, and a search over it. In float64."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np

from multimodal.config import RetrieverArgs
from multimodal.library.similar import same_words
from multimodal.retrieval import lexical
from multimodal.retrieval.store import Scored
from multimodal.retrieval.types import (
    Fusion,
    Range,
    Scalar,
    Search,
    Segment,
    SegmentFilter,
    Vector,
    VectorName,
)


@dataclass
class OracleStore:
    """Implements SegmentStore."""

    segments: dict[tuple[str, str], Segment] = field(default_factory=dict)

    def upsert(self, segments: Sequence[Segment]) -> None:
        self.segments |= {(one.tenant, one.id): one for one in segments}

    def delete_files(self, tenant: str, file_ids: Collection[str]) -> None:
        gone = [key for key, one in self.segments.items() if key[0] == tenant and one.file_id in file_ids]
        for key in gone:
            del self.segments[key]

    def of(self, tenant: str, wanted: SegmentFilter | None = None) -> list[Segment]:
        """The tenant's segments that pass."""
        return [
            one
            for (owner, _), one in self.segments.items()
            if owner == tenant and passes(one, wanted or SegmentFilter())
        ]

    def nearest(
        self, tenant: str, name: VectorName, vector: Vector, wanted: SegmentFilter, limit: int
    ) -> Scored:
        return ranked(self._cosines(self.of(tenant, wanted), name, vector), limit)

    def cosines(
        self, tenant: str, name: VectorName, vector: Vector, ids: Collection[str]
    ) -> Mapping[str, float]:
        return self._cosines([one for one in self.of(tenant) if one.id in ids], name, vector)

    def _cosines(self, segments: Iterable[Segment], name: VectorName, vector: Vector) -> dict[str, float]:
        query = vector.astype(np.float64)
        return {
            one.id: round(float(stored.astype(np.float64) @ query), 6)
            for one in segments
            if (stored := one.picture if name is VectorName.PICTURE else one.words) is not None
        }

    def lexical(self, tenant: str, weights: Mapping[int, float], wanted: SegmentFilter, limit: int) -> Scored:
        return ranked(self._products(self.of(tenant, wanted), weights), limit)

    def products(
        self, tenant: str, weights: Mapping[int, float], ids: Collection[str]
    ) -> Mapping[str, float]:
        return self._products([one for one in self.of(tenant) if one.id in ids], weights)

    def _products(self, segments: Iterable[Segment], weights: Mapping[int, float]) -> dict[str, float]:
        found = {}
        for one in segments:
            stored = lexical.document_weights(one.text)
            if shared := stored.keys() & weights.keys():
                found[one.id] = round(sum(stored[term] * weights[term] for term in sorted(shared)), 5)
        return found

    def document_frequencies(self, tenant: str, terms: Collection[int]) -> Mapping[int, int]:
        stored = [lexical.document_weights(one.text) for one in self.of(tenant)]
        return {term: sum(term in weights for weights in stored) for term in terms}

    def count(self, tenant: str, wanted: SegmentFilter) -> int:
        return len(self.of(tenant, wanted))

    def get(self, tenant: str, ids: Sequence[str], *, with_vectors: bool) -> Mapping[str, Segment]:
        return {one.id: seen(one, with_vectors) for one in self.of(tenant) if one.id in ids}

    def of_file(self, tenant: str, file_id: str, *, with_vectors: bool) -> Sequence[Segment]:
        found = self.of(tenant, SegmentFilter(file_ids=(file_id,)))
        return [seen(one, with_vectors) for one in sorted(found, key=lambda one: (one.ordinal, one.id))]

    def look_alikes(
        self, tenant: str, perceptual_hash: int, max_bits: int, limit: int
    ) -> Sequence[tuple[Segment, int]]:
        found = [
            (seen(one, False), (one.perceptual_hash ^ perceptual_hash).bit_count())
            for one in self.of(tenant)
            if one.perceptual_hash is not None
        ]
        near = [(one, bits) for one, bits in found if bits <= max_bits]
        return sorted(near, key=lambda pair: (pair[1], pair[0].id))[:limit]

    def files(self) -> Mapping[str, Sequence[str]]:
        tenants = sorted({tenant for tenant, _ in self.segments})
        return {tenant: sorted({one.file_id for one in self.of(tenant)}) for tenant in tenants}

    def check_health(self) -> None:
        pass

    def close(self) -> None:
        pass


def seen(one: Segment, with_vectors: bool) -> Segment:
    return one if with_vectors else replace(one, picture=None, words=None)


def ranked(scores: Mapping[str, float], limit: int) -> list[tuple[str, float]]:
    return sorted(scores.items(), key=lambda pair: (-pair[1], pair[0]))[:limit]


def passes(one: Segment, wanted: SegmentFilter) -> bool:
    """Whether a segment satisfies a filter, by the words of the filter's docstring."""
    return (
        (not wanted.kinds or one.kind in wanted.kinds)
        and (not wanted.parts or one.part in wanted.parts)
        and (wanted.file_ids is None or one.file_id in wanted.file_ids)
        and one.file_id not in wanted.not_file_ids
        and within(one.created_s, wanted.created_s)
        and within(one.duration_s, wanted.duration_s)
        and all(
            key in one.metadata and any(same(one.metadata[key], value) for value in values)
            for key, values in wanted.equal
        )
        and all(
            key in one.metadata and number_within(one.metadata[key], bounds) for key, bounds in wanted.ranges
        )
    )


def same(one: Scalar, other: Scalar) -> bool:
    def sort(value: Scalar) -> str:
        return "bool" if isinstance(value, bool) else "text" if isinstance(value, str) else "number"

    return sort(one) == sort(other) and one == other


def number_within(value: Scalar, bounds: Range) -> bool:
    return not isinstance(value, bool | str) and within(value, bounds)


def within(value: float | None, bounds: Range | None) -> bool:
    if bounds is None:
        return True
    if value is None:
        return False
    checks: list[tuple[float | None, Callable[[float], bool]]] = [
        (bounds.gte, lambda bound: value >= bound),
        (bounds.lte, lambda bound: value <= bound),
        (bounds.gt, lambda bound: value > bound),
        (bounds.lt, lambda bound: value < bound),
    ]
    return all(check(bound) for bound, check in checks if bound is not None)


@dataclass(frozen=True)
class Expected:
    """One hit of a search."""

    id: str
    score: float
    similarity: float | None
    lexical: float | None
    duplicates: tuple[str, ...]


def expected_hits(store: OracleStore, search: Search, args: RetrieverArgs) -> list[Expected]:
    """All hits of a search, offset and limit aside, by looking at every segment in every way."""
    segments = {one.id: one for one in store.of(search.tenant, search.filter)}
    spaces = [
        best(
            {
                one: query.gain(name) * cosine
                for one, cosine in store._cosines(segments.values(), name, query.vector).items()
            }
            for name in query.names
        )
        for query in search.spaces
    ]
    words = lexical_scores(store, search)
    scores: dict[str, float] = {}
    for found, weight, largest in [
        *((found, query.weight, 1.0) for found, query in zip(spaces, search.spaces, strict=True)),
        (words, search.words_weight, max(words.values(), default=1.0)),
    ]:
        for rank, (one, score) in enumerate(ranked(found, len(found)), start=1):
            rrf = weight / (args.rrf_k + rank)
            gain = rrf if search.fusion is Fusion.RRF else weight * score / largest
            scores[one] = scores.get(one, 0.0) + gain
    similarities = best(spaces)
    least = search.min_similarity
    hits = [
        Expected(one, score, similarities.get(one), words.get(one), ())
        for one, score in ranked(scores, len(scores))
        if least is None or similarities.get(one, -2) >= least
    ]
    return folded(hits, segments, args.duplicate_bits) if search.fold_duplicates else hits


def lexical_scores(store: OracleStore, search: Search) -> dict[str, float]:
    terms = lexical.query_terms(search.words)
    everything = SegmentFilter()
    frequencies = store.document_frequencies(search.tenant, terms)
    weights = lexical.query_weights(terms, frequencies, store.count(search.tenant, everything))
    return store._products(store.of(search.tenant, search.filter), weights)


def best(known: Iterable[Mapping[str, float]]) -> dict[str, float]:
    found: dict[str, float] = {}
    for scores in known:
        for one, score in scores.items():
            found[one] = max(score, found.get(one, score))
    return found


def folded(hits: list[Expected], segments: Mapping[str, Segment], bits: int) -> list[Expected]:
    kept: list[Expected] = []
    for hit in hits:
        one = segments[hit.id]
        for at, other in enumerate(kept):
            if alike(one, segments[other.id], bits):
                known = (segments[other.id].file_id, *other.duplicates)
                if one.file_id not in known:
                    kept[at] = replace(other, duplicates=(*other.duplicates, one.file_id))
                break
        else:
            kept.append(hit)
    return kept


def alike(one: Segment, other: Segment, bits: int) -> bool:
    same_place = (one.sha256, one.part, one.ordinal) == (other.sha256, other.part, other.ordinal)
    looks = None not in (one.perceptual_hash, other.perceptual_hash) and one.part == other.part
    near = looks and ((one.perceptual_hash or 0) ^ (other.perceptual_hash or 0)).bit_count() <= bits
    return same_place or (near and same_words(one.text, other.text))  # slides of one layout look alike


def well_apart(scores: Mapping[str, float], texts: Mapping[str, str]) -> bool:
    """Whether rounding cannot change the order of lexical scores."""
    order = ranked(scores, len(scores))
    return all(
        texts[one] == texts[other] or abs(score - next_score) > 1e-4
        for (one, score), (other, next_score) in pairwise(order)
    )
