"""Both stores and brute force give the same answers, whatever is stored and whatever is asked."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from multimodal.retrieval import lexical
from multimodal.retrieval.engine import SearchEngine
from multimodal.retrieval.store import Scored, SegmentStore
from multimodal.retrieval.types import Search, Segment, SegmentFilter, SpaceQuery, Vector, VectorName
from tests.unit.retrieval import segments as draw
from tests.unit.retrieval.oracle import OracleStore, expected_hits, lexical_scores, seen, well_apart
from tests.unit.retrieval.segments import ARGS, FILES, HASHES, TENANTS, TEXTS
from tests.unit.retrieval.stores import empty

Stores = dict[str, SegmentStore]

# The stores are emptied for every example.
same_answers = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


def filled(stores: Stores, stored: list[Segment]) -> OracleStore:
    oracle = OracleStore()
    for one in (*stores.values(), oracle):
        empty(one)
        one.upsert(stored)
    return oracle


def assert_scored(found: Scored, truth: Scored) -> None:
    """The same ids with the same scores; where scores are equal but for rounding, in any order."""
    assert [score for _, score in found] == pytest.approx([score for _, score in truth], abs=3e-5)
    assert list(found) == sorted(found, key=lambda pair: (-pair[1], pair[0]))
    known = dict(truth)
    for one, score in found:
        if one in known:
            assert score == pytest.approx(known[one], abs=3e-5)
        else:
            assert score == pytest.approx(truth[-1][1], abs=3e-5), "only the last place can be shared"


def plain(one: Segment) -> dict[str, object]:
    """A segment, so that it can be compared: vectors rounded."""
    fields = {name: getattr(one, name) for name in Segment.__slots__}
    return {
        name: np.round(value, 5).tolist() if isinstance(value, np.ndarray) else value
        for name, value in fields.items()
    }


@same_answers
@given(
    stored=draw.segments(),
    tenant=st.sampled_from(TENANTS),
    vector=draw.vectors(),
    name=st.sampled_from(VectorName),
    wanted=draw.filters(),
    limit=st.integers(1, 12),
)
def test_nearest_count_and_cosines(
    stores: Stores,
    stored: list[Segment],
    tenant: str,
    vector: Vector,
    name: VectorName,
    wanted: SegmentFilter,
    limit: int,
) -> None:
    oracle = filled(stores, stored)
    ids = [one.id for one in stored]
    for store in stores.values():
        assert store.count(tenant, wanted) == oracle.count(tenant, wanted)
        found = store.nearest(tenant, name, vector, wanted, limit)
        assert_scored(found, oracle.nearest(tenant, name, vector, wanted, limit))
        cosines = store.cosines(tenant, name, vector, ids)
        assert cosines == pytest.approx(oracle.cosines(tenant, name, vector, ids), abs=3e-6)


@same_answers
@given(
    stored=draw.segments(),
    tenant=st.sampled_from(TENANTS),
    words=st.sampled_from(TEXTS),
    wanted=draw.filters(),
    limit=st.integers(1, 12),
)
def test_words(
    stores: Stores, stored: list[Segment], tenant: str, words: str, wanted: SegmentFilter, limit: int
) -> None:
    oracle = filled(stores, stored)
    terms = lexical.query_terms(words)
    frequencies = oracle.document_frequencies(tenant, terms)
    weights = lexical.query_weights(terms, frequencies, oracle.count(tenant, SegmentFilter()))
    ids = [one.id for one in stored]
    for store in stores.values():
        assert store.document_frequencies(tenant, terms) == frequencies
        found = store.lexical(tenant, weights, wanted, limit)
        assert_scored(found, oracle.lexical(tenant, weights, wanted, limit))
        products = store.products(tenant, weights, ids)
        assert products == pytest.approx(oracle.products(tenant, weights, ids), abs=3e-5)


@same_answers
@given(
    stored=draw.segments(),
    deleted=st.lists(st.tuples(st.sampled_from(TENANTS), st.sampled_from(FILES)), max_size=2),
    again=draw.segments(),
    looks=st.sampled_from(HASHES),
    bits=st.integers(0, 64),
    limit=st.integers(1, 12),
)
def test_what_is_there_after_deleting_and_storing_again(
    stores: Stores,
    stored: list[Segment],
    deleted: list[tuple[str, str]],
    again: list[Segment],
    looks: int,
    bits: int,
    limit: int,
) -> None:
    oracle = filled(stores, stored)
    for store in (*stores.values(), oracle):
        for tenant, file_id in deleted:
            store.delete_files(tenant, [file_id])
        store.upsert(again)
    for store in stores.values():
        assert store.files() == oracle.files()
        for tenant in TENANTS:
            assert_same_contents(store, oracle, tenant)
            found = [(one.id, number) for one, number in store.look_alikes(tenant, looks, bits, limit)]
            truth = oracle.look_alikes(tenant, looks, bits, limit)
            assert found == [(one.id, number) for one, number in truth]


def assert_same_contents(store: SegmentStore, oracle: OracleStore, tenant: str) -> None:
    for file_id in FILES:
        found = store.of_file(tenant, file_id, with_vectors=True)
        truth = oracle.of_file(tenant, file_id, with_vectors=True)
        assert [plain(one) for one in found] == [plain(one) for one in truth]
    ids = [one.id for one in oracle.of(tenant)]
    assert by_id(store.get(tenant, ids, with_vectors=False)) == {
        one.id: plain(seen(one, False)) for one in oracle.of(tenant)
    }


def by_id(found: Mapping[str, Segment]) -> dict[str, object]:
    return {one: plain(segment) for one, segment in found.items()}


@same_answers
@given(stored=draw.segments(), search=draw.searches())
def test_searches(stores: Stores, stored: list[Segment], search: Search) -> None:
    oracle = filled(stores, stored)
    texts = {one.id: one.text for one in oracle.of(search.tenant)}
    assume(well_apart(lexical_scores(oracle, search), texts))
    truth = expected_hits(oracle, search, ARGS)
    page = truth[search.offset : search.offset + search.limit]
    for store in (*stores.values(), oracle):
        found = SearchEngine(store, ARGS).search(search)
        assert [hit.segment.id for hit in found.hits] == [one.id for one in page]
        assert found.more == (len(truth) > search.offset + search.limit)
        for hit, one in zip(found.hits, page, strict=True):
            assert hit.score == pytest.approx(one.score, abs=1e-4)
            assert hit.similarity == (one.similarity and pytest.approx(one.similarity, abs=1e-5))
            assert hit.lexical == (one.lexical and pytest.approx(one.lexical, abs=1e-4))
            assert hit.duplicates == one.duplicates
            known = oracle.segments[search.tenant, one.id]
            assert plain(hit.segment) == plain(seen(known, search.with_vectors))


def test_pages_of_a_search_follow_each_other(stores: Stores) -> None:
    oracle = filled(stores, [draw.segment(n, words=draw.POOL[n % 7]) for n in range(40)])
    search = Search(
        tenant="ann",
        spaces=(SpaceQuery(vector=draw.POOL[0], names=(VectorName.WORDS,)),),
        limit=7,
    )
    for store in (*stores.values(), oracle):
        engine = SearchEngine(store, ARGS)
        whole = engine.search(dataclasses.replace(search, limit=40))
        pages = [engine.search(dataclasses.replace(search, offset=at)) for at in range(0, 40, 7)]
        assert [hit.segment.id for page in pages for hit in page.hits] == [
            hit.segment.id for hit in whole.hits
        ]
        assert [page.more for page in pages] == [True] * 5 + [False]
