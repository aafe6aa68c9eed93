"""No tenant sees, counts, changes or deletes what belongs to another, even where ids are the same."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from multimodal.retrieval import lexical
from multimodal.retrieval.engine import SearchEngine
from multimodal.retrieval.store import SegmentStore
from multimodal.retrieval.types import Search, Segment, SegmentFilter, Vector, VectorName
from tests.unit.retrieval import segments as draw
from tests.unit.retrieval.segments import ARGS, FILES, segment_id
from tests.unit.retrieval.stores import empty

Answers = list[object]
ALL_IDS = [segment_id(number) for number in range(9)]


def everything_that_ann_can_learn(
    store: SegmentStore, vector: Vector, wanted: SegmentFilter, search: Search
) -> Answers:
    terms = [term for text in draw.TEXTS for term in lexical.query_terms(text)]
    weights = dict.fromkeys(terms, 1.0)
    by_name = [
        (store.nearest("ann", name, vector, wanted, 20), store.cosines("ann", name, vector, ALL_IDS))
        for name in VectorName
    ]
    got = store.get("ann", ALL_IDS, with_vectors=False)
    by_file = [store.of_file("ann", file_id, with_vectors=False) for file_id in FILES]
    looks = store.look_alikes("ann", 0, 64, 20)
    found = SearchEngine(store, ARGS).search(search)
    segments = [*got.values(), *(one for listed in by_file for one in listed), *(one for one, _ in looks)]
    assert all(one.tenant == "ann" for one in [*segments, *(hit.segment for hit in found.hits)])
    return [
        by_name,
        store.lexical("ann", weights, wanted, 20),
        store.products("ann", weights, ALL_IDS),
        store.document_frequencies("ann", terms),
        store.count("ann", wanted),
        got,
        by_file,
        looks,
        store.files().get("ann"),
        [(hit.segment.id, hit.score, hit.similarity, hit.lexical, hit.duplicates) for hit in found.hits],
        found.more,
    ]


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    hers=draw.segments(tenants=("ann",)),
    his=draw.segments(tenants=("bob",)),
    deleted=st.lists(st.sampled_from(FILES), max_size=2),
    vector=draw.vectors(),
    wanted=draw.filters(),
    search=draw.searches(),
)
def test_what_one_tenant_does_changes_nothing_for_another(
    stores: dict[str, SegmentStore],
    hers: list[Segment],
    his: list[Segment],
    deleted: list[str],
    vector: Vector,
    wanted: SegmentFilter,
    search: Search,
) -> None:
    asked = Search(
        tenant="ann",
        spaces=search.spaces,
        words=search.words,
        filter=search.filter,
        fold_duplicates=search.fold_duplicates,
    )
    for store in stores.values():
        empty(store)
        store.upsert(hers)
        alone = everything_that_ann_can_learn(store, vector, wanted, asked)
        store.upsert(his)
        assert everything_that_ann_can_learn(store, vector, wanted, asked) == alone
        store.delete_files("bob", deleted)
        assert everything_that_ann_can_learn(store, vector, wanted, asked) == alone
