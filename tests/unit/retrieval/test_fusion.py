"""Duplicates fold as if every segment were compared with every other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multimodal.retrieval import fusion
from multimodal.retrieval.fusion import are_duplicates, fold
from multimodal.retrieval.types import Segment, SegmentPart
from tests.unit.retrieval.segments import FILES, segment, segment_id


def folded_one_by_one(
    ranked: Iterable[str], segments: Mapping[str, Segment], bits: int
) -> dict[str, tuple[str, ...]]:
    """By definition: each goes into the first before it that it is a duplicate of."""
    kept: dict[str, dict[str, None]] = {}
    for one in ranked:
        if one not in segments:
            continue
        same = (other for other in kept if are_duplicates(segments[other], segments[one], bits))
        first = next(same, None)
        if first is None:
            kept[one] = {}
        elif segments[one].file_id != segments[first].file_id:
            kept[first][segments[one].file_id] = None
    return {one: tuple(files) for one, files in kept.items()}


def flipped(bits: Iterable[int]) -> int:
    return sum(1 << bit for bit in set(bits))


hashes = st.one_of(
    st.integers(0, 2**64 - 1),
    st.lists(st.integers(0, 63), max_size=12).map(flipped),
    st.lists(st.integers(0, 63), max_size=12).map(lambda bits: 2**64 - 1 ^ flipped(bits)),
)
stored: st.SearchStrategy[list[dict[str, object]]] = st.lists(
    st.builds(
        dict,
        file_id=st.sampled_from(FILES),
        sha256=st.sampled_from(("aa", "bb")),
        ordinal=st.integers(0, 5),
        part=st.sampled_from((SegmentPart.PICTURE, SegmentPart.TEXT)),
        perceptual_hash=st.none() | hashes,
        text=st.sampled_from(("", "", "", "red fox")),
    ),
    max_size=30,
)


@given(stored, st.sampled_from((0, 1, 2, 6, 10, 32)), st.data())
def test_it_is_what_comparing_all_gives(
    fields: list[dict[str, object]], bits: int, data: st.DataObject
) -> None:
    segments = {segment_id(n): segment(n, **one) for n, one in enumerate(fields)}
    ranked = data.draw(st.permutations([*segments, "gone"]))
    folded = fold(ranked, segments, bits)
    assert list(folded.items()) == list(folded_one_by_one(ranked, segments, bits).items())


@given(st.integers(0, 2**64 - 1), st.integers(0, 32), st.data())
def test_hashes_that_are_just_near_enough_fold(looks: int, bits: int, data: st.DataObject) -> None:
    places = data.draw(st.lists(st.integers(0, 63), min_size=bits, max_size=bits, unique=True))
    other = looks ^ flipped(places)
    segments = {
        "a": segment(0, id="a", perceptual_hash=looks),
        "b": segment(1, id="b", perceptual_hash=other),
    }
    assert list(fold(["a", "b"], segments, bits)) == ["a"]
    if bits:
        assert list(fold(["a", "b"], segments, bits - 1)) == ["a", "b"]


def test_few_of_many_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = []

    def counting(one: Segment, other: Segment, bits: int) -> bool:
        compared.append(1)
        return are_duplicates(one, other, bits)

    monkeypatch.setattr(fusion, "are_duplicates", counting)
    segments = {
        segment_id(n): segment(n, perceptual_hash=n * 0x9E3779B97F4A7C15 % 2**64) for n in range(1, 1001)
    }
    assert len(fold(segments, segments, 6)) == 1000
    assert len(compared) < 1000 * 1000 / 2 / 20
