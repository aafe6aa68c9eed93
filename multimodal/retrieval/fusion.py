"""Several ranked lists become one. Pure functions."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from multimodal.library.similar import same_words
from multimodal.retrieval.types import Segment


@dataclass(frozen=True, slots=True)
class RankedList:
    """What one part of a query says of the segments."""

    ranking: Sequence[str]
    """Ids, the best first: what the list itself found."""
    scores: Mapping[str, float]
    """Of those, and of segments that other lists found, where they could be scored."""
    weight: float


def reciprocal_ranks(lists: Iterable[RankedList], k: int) -> dict[str, float]:
    """Reciprocal rank fusion (Cormack, Clarke and Buettcher 2009): for each segment, the sum of
    weight / (k + rank) over the lists that found it, ranks from 1."""
    fused: dict[str, float] = {}
    for one in lists:
        for rank, found in enumerate(one.ranking, start=1):
            fused[found] = fused.get(found, 0.0) + one.weight / (k + rank)
    return fused


def weighted_scores(lists: Iterable[RankedList], ids: Iterable[str]) -> dict[str, float]:
    """For each segment, the sum of weight * score; a list that cannot score it adds nothing."""
    summed = list(lists)
    return {one: sum(listed.weight * listed.scores.get(one, 0.0) for listed in summed) for one in ids}


def shares_of_best(scores: Mapping[str, float]) -> dict[str, float]:
    """Scores as shares of the largest, which is positive."""
    largest = max(scores.values(), default=1.0)
    return {one: score / largest for one, score in scores.items()}


def best_first(scores: Mapping[str, float]) -> list[str]:
    """Ids by score, equal scores by id."""
    return sorted(scores, key=lambda one: (-scores[one], one))


def fold(
    ranked: Iterable[str], segments: Mapping[str, Segment], duplicate_bits: int
) -> dict[str, tuple[str, ...]]:
    """Of segments that are duplicates of each other, the best one, with the ids of the others' files.

    Args:
        ranked: ids, the best first.
        segments: by id; what is not among them is left out.
        duplicate_bits: bits in which perceptual hashes of near-duplicates differ at most.
    """
    kept: dict[str, tuple[Segment, dict[str, None]]] = {}
    for one in ranked:
        segment = segments.get(one)
        if segment is None:
            continue
        first = _first_duplicate(segment, kept.values(), duplicate_bits)
        if first is None:
            kept[one] = segment, {}
        elif segment.file_id != first[0].file_id:
            first[1][segment.file_id] = None
    return {one: tuple(files) for one, (_, files) in kept.items()}


def _first_duplicate(
    segment: Segment, kept: Collection[tuple[Segment, dict[str, None]]], bits: int
) -> tuple[Segment, dict[str, None]] | None:
    return next((one for one in kept if are_duplicates(one[0], segment, bits)), None)


def are_duplicates(one: Segment, other: Segment, bits: int) -> bool:
    """Whether two segments are the same part of the same bytes, or look (nearly) alike."""
    if one.part is not other.part:
        return False
    if one.sha256 == other.sha256 and one.ordinal == other.ordinal:
        return True
    if one.perceptual_hash is None or other.perceptual_hash is None:
        return False
    near = (one.perceptual_hash ^ other.perceptual_hash).bit_count() <= bits
    return near and same_words(one.text, other.text)
