"""Searches by example: what is fused, folded and dropped. `test_same_answers` draws them at random."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from multimodal.config import RetrieverArgs
from multimodal.retrieval.engine import SearchEngine
from multimodal.retrieval.types import (
    Found,
    Fusion,
    Search,
    Segment,
    SegmentFilter,
    SegmentPart,
    SpaceQuery,
    VectorName,
)
from tests.unit.retrieval.oracle import OracleStore
from tests.unit.retrieval.segments import segment, segment_id, unit

EAST, NORTH, NORTH_EAST = unit(1, 0, 0, 0), unit(0, 1, 0, 0), unit(1, 1, 0, 0)
BOTH = (VectorName.PICTURE, VectorName.WORDS)


def search(stored: list[Segment], args: RetrieverArgs | None = None, **options: object) -> Found:
    store = OracleStore()
    store.upsert(stored)
    asked = Search(tenant="ann", **options)  # type: ignore[arg-type]
    return SearchEngine(store, args or RetrieverArgs()).search(asked)


def found_numbers(found: Found) -> list[int]:
    return [hit.segment.ordinal for hit in found.hits]


def east(names: tuple[VectorName, ...] = BOTH, weight: float = 1.0) -> SpaceQuery:
    return SpaceQuery(vector=EAST, names=names, weight=weight)


def test_the_best_of_the_named_vectors_counts() -> None:
    stored = [
        segment(0, picture=NORTH, words=EAST),
        segment(1, picture=NORTH_EAST, words=NORTH),
        segment(2, words=NORTH),
    ]
    found = search(stored, spaces=(east(),))
    assert found_numbers(found) == [0, 1, 2]
    assert [hit.similarity for hit in found.hits] == pytest.approx([1.0, 0.5**0.5, 0.0], abs=1e-6)
    only_picture = search(stored, spaces=(east((VectorName.PICTURE,)),))
    assert found_numbers(only_picture) == [1, 0]


def test_what_only_the_words_find_has_its_similarity_too() -> None:
    stored = [segment(n, words=EAST) for n in range(3)]
    stored.append(segment(9, words=NORTH_EAST, text="invoice INV-7"))
    args = RetrieverArgs(candidates=2)
    found = search(stored, args, spaces=(east(),), words="inv-7", words_weight=2.0, limit=1)
    assert found_numbers(found) == [9]
    assert found.hits[0].similarity == pytest.approx(0.5**0.5, abs=1e-6)


class Vanishing(OracleStore):
    """Its first two segments are deleted when a search has found them, and would read them."""

    def get(self, tenant: str, ids: Sequence[str], *, with_vectors: bool) -> Mapping[str, Segment]:
        self.delete_files(tenant, ["file-gone"])
        return super().get(tenant, ids, with_vectors=with_vectors)


def test_a_page_is_full_where_some_of_it_was_deleted_meanwhile() -> None:
    store = Vanishing()
    store.upsert([segment(n, words=EAST, file_id="file-gone") for n in range(2)])
    store.upsert([segment(n, words=NORTH_EAST, file_id="file-kept") for n in range(2, 6)])
    engine = SearchEngine(store, RetrieverArgs())
    asked = Search(tenant="ann", spaces=(east(),), limit=3, fold_duplicates=False)
    found = engine.search(asked)
    assert (len(found.hits), found.more) == (3, True)
    assert {hit.segment.file_id for hit in found.hits} == {"file-kept"}


def test_words_alone_find_without_a_similarity() -> None:
    found = search([segment(0, text="red fox"), segment(1, text="blue")], words="fox")
    assert [(hit.segment.ordinal, hit.similarity, found.more) for hit in found.hits] == [(0, None, False)]
    assert (found.hits[0].lexical or 0) > 0


def test_a_least_similarity_drops_what_the_words_found_too() -> None:
    stored = [segment(0, words=EAST), segment(1, words=NORTH, text="fox"), segment(2, text="fox")]
    assert found_numbers(search(stored, spaces=(east(),), words="fox", min_similarity=0.5)) == [0]
    assert sorted(found_numbers(search(stored, spaces=(east(),), words="fox"))) == [0, 1, 2]


def test_reciprocal_ranks_are_summed() -> None:
    stored = [segment(0, words=EAST), segment(1, words=NORTH_EAST, text="fox")]
    found = search(stored, RetrieverArgs(rrf_k=60), spaces=(east(weight=2.0),), words="fox", words_weight=3.0)
    assert found_numbers(found) == [1, 0]
    assert [hit.score for hit in found.hits] == pytest.approx([2 / 62 + 3 / 61, 2 / 61])


def test_weighted_similarities_are_summed() -> None:
    stored = [segment(0, words=EAST), segment(1, words=NORTH_EAST, text="fox")]
    found = search(stored, spaces=(east(weight=2.0),), words="fox", words_weight=0.5, fusion=Fusion.WEIGHTED)
    assert found_numbers(found) == [0, 1]
    assert [hit.score for hit in found.hits] == pytest.approx([2.0, 2 * 0.5**0.5 + 0.5], abs=1e-5)


def test_words_of_no_weight_find_nothing() -> None:
    assert search([segment(0, text="fox")], words="fox", words_weight=0.0).hits == ()


def test_duplicates_are_folded_into_the_best() -> None:
    stored = [
        segment(0, file_id="file-a", words=EAST, perceptual_hash=0),
        segment(1, file_id="file-b", words=NORTH_EAST, perceptual_hash=0b111),
        segment(2, file_id="file-c", words=NORTH_EAST, perceptual_hash=2**64 - 1, sha256="c"),
        segment(3, file_id="file-a", words=NORTH, perceptual_hash=0b1),
    ]
    found = search(stored, spaces=(east(),), fold_duplicates=True)
    assert [(hit.segment.ordinal, hit.duplicates) for hit in found.hits] == [(0, ("file-b",)), (2, ())]


def test_the_same_part_of_the_same_bytes_is_folded_and_other_parts_are_not() -> None:
    same = {"sha256": "a", "words": EAST, "ordinal": 4, "part": SegmentPart.SPEECH}
    stored = [
        segment(0, file_id="file-a", **same),
        segment(1, file_id="file-b", **same),
        segment(2, file_id="file-b", **{**same, "ordinal": 5}),
        segment(3, file_id="file-b", **{**same, "part": SegmentPart.TEXT}),
    ]
    found = search(stored, spaces=(east(),), fold_duplicates=True)
    assert sorted(hit.segment.id for hit in found.hits) == sorted(
        [min(segment_id(0), segment_id(1)), segment_id(2), segment_id(3)]
    )


def test_a_page_is_full_even_where_many_hits_are_folded() -> None:
    copies = [segment(n, file_id=f"file-{n}", words=EAST, perceptual_hash=0) for n in range(30)]
    others = [segment(n, words=NORTH_EAST, perceptual_hash=2**n - 1 << 20) for n in range(37, 44)]
    args = RetrieverArgs(candidates=10, duplicate_bits=0)
    found = search(copies + others, args, spaces=(east(),), fold_duplicates=True, limit=4)
    assert len(found.hits) == 4
    assert found.more


def test_filters_hold_for_words_too() -> None:
    stored = [segment(0, text="fox", file_id="file-a"), segment(1, text="fox", file_id="file-b")]
    found = search(stored, words="fox", filter=SegmentFilter(not_file_ids=("file-a",)))
    assert found_numbers(found) == [1]


def test_equal_scores_come_in_the_order_of_their_ids() -> None:
    found = search([segment(n, words=EAST) for n in range(9)], spaces=(east(),), limit=5)
    assert [hit.segment.id for hit in found.hits] == sorted(segment_id(n) for n in range(9))[:5]
    assert found.more
