"""One search: ask every space, and the words; fill in what one list knows of what another found; fuse."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Set
from dataclasses import dataclass

from multimodal.config import RetrieverArgs
from multimodal.retrieval.fusion import (
    RankedList,
    best_first,
    fold,
    reciprocal_ranks,
    shares_of_best,
    weighted_scores,
)
from multimodal.retrieval.lexical import query_terms, query_weights
from multimodal.retrieval.store import SegmentStore
from multimodal.retrieval.types import Found, Fusion, Hit, Search, SegmentFilter, SpaceQuery, VectorName

_DEEPER = 4
"""How often a search that folded many hits looks twice as deep."""


@dataclass(frozen=True, slots=True)
class _Ranked:
    """Ids of all hits, the best first, and what is known of them."""

    ids: list[str]
    scores: Mapping[str, float]
    similarities: Mapping[str, float]
    lexical: Mapping[str, float]
    complete: bool
    """No list may go on further down."""


class SearchEngine:
    """Searches a store."""

    def __init__(self, store: SegmentStore, args: RetrieverArgs) -> None:
        self._store, self._args = store, args

    def search(self, search: Search) -> Found:
        """Hits offset to offset + limit, by score, then id.

        Lists are as deep as `candidates`, or that doubled until the page fits in: pages of one search agree
        with each other as long as they end within the same depth.
        """
        wanted = search.offset + search.limit + 1
        depth = self._args.candidates
        while depth < wanted:
            depth *= 2
        ranked, kept = self._ranked(search, depth)
        for _ in range(_DEEPER):
            if not search.fold_duplicates or len(kept) >= wanted or ranked.complete:
                break
            depth *= 2
            ranked, kept = self._ranked(search, depth)
        return self._page(search, ranked, kept)

    def _ranked(self, search: Search, depth: int) -> tuple[_Ranked, Mapping[str, tuple[str, ...]]]:
        """All hits, and those that are left when duplicates are folded, with files that were."""
        ranked = self._fused(search, depth)
        if not search.fold_duplicates:
            return ranked, dict.fromkeys(ranked.ids, ())
        segments = self._store.get(search.tenant, ranked.ids, with_vectors=False)
        return ranked, fold(ranked.ids, segments, self._args.duplicate_bits)

    def _page(self, search: Search, ranked: _Ranked, kept: Mapping[str, tuple[str, ...]]) -> Found:
        ids, end = list(kept), search.offset
        hits: list[Hit] = []
        # Some may have been deleted meanwhile: those behind them take their places.
        while len(hits) < search.limit and end < len(ids):
            some = ids[end : end + search.limit - len(hits)]
            segments = self._store.get(search.tenant, some, with_vectors=search.with_vectors)
            hits += (
                Hit(
                    segment=segments[one],
                    score=ranked.scores[one],
                    similarity=ranked.similarities.get(one),
                    lexical=ranked.lexical.get(one),
                    duplicates=kept[one],
                )
                for one in some
                if one in segments
            )
            end += len(some)
        return Found(hits=tuple(hits), more=len(ids) > end)

    def _fused(self, search: Search, depth: int) -> _Ranked:
        spaces = [self._nearest(search, query, depth) for query in search.spaces]
        weights = self._term_weights(search)
        words = dict(self._store.lexical(search.tenant, weights, search.filter, depth)) if weights else {}
        nearest = [by_name for found in spaces for by_name in found.values()]
        ids = {one for found in (*nearest, words) for one in found}
        cosines = [
            self._completed(search.tenant, query, found, ids)
            for query, found in zip(search.spaces, spaces, strict=True)
        ]
        lexical = {**words, **self._products(search.tenant, weights, ids - words.keys())}
        lists = [
            RankedList(_found_first(found, known, depth), known, query.weight)
            for query, found, known in zip(search.spaces, spaces, cosines, strict=True)
        ]
        if words:
            lists.append(RankedList(best_first(words), shares_of_best(lexical), search.words_weight))
        similarities = _best(cosines)
        complete = all(len(found) < depth for found in (*nearest, words))
        scores = self._scores(search.fusion, lists, ids)
        hits = _similar(best_first(scores), similarities, search)
        return _Ranked(hits, scores, similarities, lexical, complete)

    def _scores(self, fusion: Fusion, lists: list[RankedList], ids: Collection[str]) -> dict[str, float]:
        if fusion is Fusion.RRF:
            return reciprocal_ranks(lists, self._args.rrf_k)
        return weighted_scores(lists, ids)

    def _nearest(
        self, search: Search, query: SpaceQuery, depth: int
    ) -> dict[VectorName, Mapping[str, float]]:
        """Cosines of the nearest segments, times their gains, by name."""
        return {
            name: _times(
                query.gain(name),
                dict(self._store.nearest(search.tenant, name, query.vector, search.filter, depth)),
            )
            for name in query.names
        }

    def _completed(
        self,
        tenant: str,
        query: SpaceQuery,
        found: Mapping[VectorName, Mapping[str, float]],
        ids: Set[str],
    ) -> dict[str, float]:
        """The best cosine by any of the names, of all these segments that have one: those that another list
        found, too."""
        by_name = [
            {
                **known,
                **_times(
                    query.gain(name), self._store.cosines(tenant, name, query.vector, ids - known.keys())
                ),
            }
            for name, known in found.items()
        ]
        return _best(by_name)

    def _products(self, tenant: str, weights: Mapping[int, float], ids: Set[str]) -> Mapping[str, float]:
        return self._store.products(tenant, weights, ids) if weights else {}

    def _term_weights(self, search: Search) -> Mapping[int, float]:
        """Weights of the query's words that occur at all."""
        asked = query_terms(search.words) if search.words_weight else ()
        if not asked:
            return {}
        frequencies = self._store.document_frequencies(search.tenant, asked)
        return query_weights(asked, frequencies, self._store.count(search.tenant, SegmentFilter()))


def _times(gain: float, cosines: Mapping[str, float]) -> Mapping[str, float]:
    return cosines if gain == 1 else {one: gain * cosine for one, cosine in cosines.items()}


def _best(cosines: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """The largest of what several say."""
    best: dict[str, float] = {}
    for known in cosines:
        for one, cosine in known.items():
            best[one] = max(cosine, best.get(one, cosine))
    return best


def _found_first(
    found: Mapping[VectorName, Mapping[str, float]], known: Mapping[str, float], depth: int
) -> list[str]:
    """The ranking of a space: of the segments that it found itself, by their best cosines."""
    return best_first({one: known[one] for by_name in found.values() for one in by_name})[:depth]


def _similar(ids: list[str], similarities: Mapping[str, float], search: Search) -> list[str]:
    """Those that are similar enough; what could not be compared is not."""
    least = search.min_similarity
    if least is None:
        return ids
    return [one for one in ids if one in similarities and similarities[one] >= least]
