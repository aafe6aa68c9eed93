"""Several ranked lists become one. Pure functions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from multimodal.library.similar import same_words
from multimodal.retrieval.points import HASH_BITS
from multimodal.retrieval.types import Segment, SegmentPart


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
    kept = _Kept(duplicate_bits)
    files: list[dict[str, None]] = []
    for segment in (segments[one] for one in ranked if one in segments):
        place = kept.first_duplicate(segment)
        if place is None:
            kept.add(segment)
            files.append({})
        elif segment.file_id != kept.segments[place].file_id:
            files[place][segment.file_id] = None
    return {one.id: tuple(others) for one, others in zip(kept.segments, files, strict=True)}


class _Kept:
    """Segments in order, with what their duplicates share, so that few have to be compared.

    Where hashes differ in at most `bits` bits, they agree in one of `bits + 1` bands.
    """

    def __init__(self, bits: int) -> None:
        self.segments: list[Segment] = []
        self._bits = bits
        self._same: dict[tuple[SegmentPart, str, int], int] = {}
        self._alike: dict[tuple[SegmentPart, int, int], list[int]] = {}

    def add(self, segment: Segment) -> None:
        """Append one that is a duplicate of none."""
        place = len(self.segments)
        self.segments.append(segment)
        self._same[_identity(segment)] = place
        for band in self._bands(segment):
            self._alike.setdefault(band, []).append(place)

    def first_duplicate(self, segment: Segment) -> int | None:
        """The place of the first that is a duplicate of this one."""
        same = self._same.get(_identity(segment), len(self.segments))
        alike = {place for band in self._bands(segment) for place in self._alike.get(band, ())}
        for place in sorted(place for place in alike if place < same):
            if are_duplicates(self.segments[place], segment, self._bits):
                return place
        return same if same < len(self.segments) else None

    def _bands(self, segment: Segment) -> Iterator[tuple[SegmentPart, int, int]]:
        looks, number = segment.perceptual_hash, self._bits + 1
        if looks is None:
            return
        for band in range(number):
            start, end = HASH_BITS * band // number, HASH_BITS * (band + 1) // number
            yield segment.part, band, looks >> start & (1 << end - start) - 1


def _identity(segment: Segment) -> tuple[SegmentPart, str, int]:
    return segment.part, segment.sha256, segment.ordinal


def are_duplicates(one: Segment, other: Segment, bits: int) -> bool:
    """Whether two segments are the same part of the same bytes, or look (nearly) alike."""
    if one.part is not other.part:
        return False
    if _identity(one) == _identity(other):
        return True
    if one.perceptual_hash is None or other.perceptual_hash is None:
        return False
    near = (one.perceptual_hash ^ other.perceptual_hash).bit_count() <= bits
    return near and same_words(one.text, other.text)
