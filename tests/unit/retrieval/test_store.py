"""What every store does, by example. `test_same_answers` compares them with brute force."""

from __future__ import annotations

import numpy as np
import pytest

from multimodal.retrieval import lexical
from multimodal.retrieval.store import SegmentStore
from multimodal.retrieval.types import Range, Segment, SegmentFilter, SegmentPart, VectorName
from multimodal.types import MediaKind
from tests.unit.retrieval.segments import POOL, segment, segment_id, unit

EVERYTHING = SegmentFilter()
ALMOST_THIRD = 0.1 + 0.2


def full_segment() -> Segment:
    """One with every field set."""
    return segment(
        3,
        kind=MediaKind.VIDEO,
        text="Umsätze 2024: 1,5 Mio. €",
        start_s=ALMOST_THIRD,
        end_s=1e9 / 3,
        frames_s=(0.1, 0.7),
        page=2,
        box=(0.1, 0.2, 0.30000000000000004, 1.0),
        width=640,
        height=480,
        logit_scale=14.285714285714286,
        perceptual_hash=2**64 - 2,
        thumbnail=True,
        created_s=1_764_000_000,
        duration_s=ALMOST_THIRD,
        metadata={"a.b": 1, "c": 1.0, "d": True, "e": "1", "": 2**80, 'q"': -0.1},
        picture=POOL[0],
        words=POOL[1],
    )


def assert_same(found: Segment, stored: Segment) -> None:
    for name in Segment.__slots__:
        one, other = getattr(found, name), getattr(stored, name)
        if isinstance(other, np.ndarray):
            assert one.dtype == np.float32
            np.testing.assert_allclose(one, other, atol=1e-6)
        else:
            assert one == other, name
            assert type(one) is type(other), name


def test_a_segment_comes_back_as_it_was_stored(store: SegmentStore) -> None:
    stored = full_segment()
    store.upsert([stored])
    found = store.get("ann", [stored.id, segment_id(99)], with_vectors=True)
    assert list(found) == [stored.id]
    assert_same(found[stored.id], stored)
    assert {key: type(value) for key, value in found[stored.id].metadata.items()} == {
        key: type(value) for key, value in stored.metadata.items()
    }


def test_a_bare_segment_comes_back_too_and_vectors_only_where_asked_for(store: SegmentStore) -> None:
    store.upsert([segment(0), segment(1, words=POOL[0])])
    (bare,) = store.get("ann", [segment_id(0)], with_vectors=True).values()
    assert_same(bare, segment(0))
    assert store.get("ann", [segment_id(1)], with_vectors=False)[segment_id(1)].words is None


def test_storing_again_replaces(store: SegmentStore) -> None:
    store.upsert([segment(0, text="old fox", words=POOL[0], picture=POOL[0], perceptual_hash=5)])
    store.upsert([segment(0, text="new")])
    assert store.count("ann", EVERYTHING) == 1
    assert store.nearest("ann", VectorName.WORDS, POOL[0], EVERYTHING, 5) == []
    assert store.look_alikes("ann", 5, 64, 5) == []
    fox = lexical.term_id("fox")
    assert store.document_frequencies("ann", [fox]) == {fox: 0}
    assert store.lexical("ann", {fox: 1.0}, EVERYTHING, 5) == []


def test_a_file_is_listed_by_ordinal_and_gone_when_deleted(store: SegmentStore) -> None:
    store.upsert([segment(n, ordinal=9 - n, text="fox", words=POOL[0]) for n in range(5)])
    store.upsert([segment(7, file_id="file-b")])
    assert [one.ordinal for one in store.of_file("ann", "file-a", with_vectors=False)] == [5, 6, 7, 8, 9]
    store.delete_files("ann", ["file-a", "file-unknown"])
    assert store.of_file("ann", "file-a", with_vectors=False) == []
    assert store.nearest("ann", VectorName.WORDS, POOL[0], EVERYTHING, 5) == []
    assert store.get("ann", [segment_id(0)], with_vectors=False) == {}
    assert store.files() == {"ann": ["file-b"]}


def test_thousands_at_once(store: SegmentStore) -> None:
    store.upsert([segment(n, file_id=f"file-{n % 3}") for n in range(1203)])
    assert store.count("ann", EVERYTHING) == 1203
    assert len(store.of_file("ann", "file-0", with_vectors=False)) == 401
    assert len(store.get("ann", [segment_id(n) for n in range(1100)], with_vectors=False)) == 1100
    assert store.files() == {"ann": ["file-0", "file-1", "file-2"]}


def test_which_of_many_equals_are_found_does_not_depend_on_the_engine(store: SegmentStore) -> None:
    ids = sorted(segment_id(n) for n in range(90))
    store.upsert([segment(n, words=POOL[0], perceptual_hash=9) for n in range(90)])
    found = store.nearest("ann", VectorName.WORDS, POOL[0], EVERYTHING, 10)
    assert [one for one, _ in found] == ids[:10]
    assert [one.id for one, _ in store.look_alikes("ann", 9, 0, 10)] == ids[:10]


def test_look_alikes_differ_in_exactly_the_bits_that_are_said(store: SegmentStore) -> None:
    store.upsert([segment(bits, perceptual_hash=(1 << bits) - 1) for bits in range(65)])
    found = store.look_alikes("ann", 0, 6, 100)
    assert [bits for _, bits in found] == [0, 1, 2, 3, 4, 5, 6]
    assert [one.ordinal for one, _ in found] == [0, 1, 2, 3, 4, 5, 6]
    assert len(store.look_alikes("ann", 0, 64, 100)) == 65


@pytest.mark.parametrize(
    ("stored", "asked", "equal"),
    [
        (1, 1.0, True),
        (1.0, 1, True),
        (1, True, False),
        (True, 1, False),
        (1, "1", False),
        ("1", 1, False),
        (True, "true", False),
        (2**53 + 1, 2**53 + 1, True),
        (2**53 + 1, 2**53, False),
        (2**53, float(2**53), True),
        ("x", "X", False),
        ("", "", True),
        (0.1, 0.1, True),
    ],
)
def test_types_count_in_equality(
    store: SegmentStore, stored: str | float, asked: str | float, equal: bool
) -> None:
    store.upsert([segment(0, metadata={"key": stored})])
    assert store.count("ann", SegmentFilter(equal=(("key", (asked,)),))) == equal
    assert store.count("ann", SegmentFilter(equal=(("other", (asked,)),))) == 0


def test_keys_and_values_cannot_be_taken_for_each_other(store: SegmentStore) -> None:
    store.upsert([segment(0, metadata={'a", "text", "b': "c", "x=s:y": "z"})])
    assert store.count("ann", SegmentFilter(equal=(("a", ('b", "text", "c',)),))) == 0
    assert store.count("ann", SegmentFilter(equal=(("x", ("y=s:z",)),))) == 0


@pytest.mark.parametrize(
    ("bounds", "count"),
    [
        (Range(gte=10), 2),
        (Range(gt=10), 1),
        (Range(lt=10.5), 1),
        (Range(gte=10.5, lte=10.5), 0),
        (Range(), 2),
    ],
)
def test_ranges_hold_numbers_only(store: SegmentStore, bounds: Range, count: int) -> None:
    values: list[str | float] = [10, 11, "10", True]
    store.upsert([segment(n, metadata={"a.b": value}) for n, value in enumerate(values)])
    store.upsert([segment(n, created_s=n) for n in (10, 11)])
    assert store.count("ann", SegmentFilter(ranges=(("a.b", bounds),))) == count
    assert store.count("ann", SegmentFilter(ranges=(("b", bounds),))) == 0


def test_numbers_beyond_floats_can_be_stored_and_lie_beyond_all_bounds(store: SegmentStore) -> None:
    store.upsert([segment(0, metadata={"n": 10**400})])
    assert store.count("ann", SegmentFilter(ranges=(("n", Range(gt=1e300)),))) == 1


def test_a_vector_of_another_size_is_refused(store: SegmentStore) -> None:
    with pytest.raises(ValueError, match="shape"):
        store.upsert([segment(0, words=unit(1, 2, 3))])
    assert store.count("ann", EVERYTHING) == 0
    with pytest.raises(ValueError, match="shape"):
        store.nearest("ann", VectorName.WORDS, unit(1, 2, 3), EVERYTHING, 5)


def test_nothing_is_found_in_nothing(store: SegmentStore) -> None:
    assert store.nearest("ann", VectorName.WORDS, POOL[0], EVERYTHING, 5) == []
    assert store.cosines("ann", VectorName.WORDS, POOL[0], [segment_id(0)]) == {}
    assert store.cosines("ann", VectorName.WORDS, POOL[0], []) == {}
    assert store.get("ann", [], with_vectors=True) == {}
    assert store.files() == {}
    store.upsert([])
    store.delete_files("ann", [])
    store.check_health()


def test_parts_and_kinds_are_alternatives(store: SegmentStore) -> None:
    parts = list(SegmentPart)
    store.upsert([segment(n, part=part) for n, part in enumerate(parts)])
    assert store.count("ann", SegmentFilter(parts=(SegmentPart.PAGE, SegmentPart.TEXT))) == 2
    assert store.count("ann", SegmentFilter(file_ids=())) == 0
    assert store.count("ann", SegmentFilter(equal=(("key", ()),))) == 0
