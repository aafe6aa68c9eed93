"""Fixtures of the index."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from multimodal.retrieval.edge import EdgeStore
from multimodal.retrieval.store import SegmentStore
from tests.unit.retrieval.stores import empty, make_edge, make_server


@pytest.fixture(scope="session")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EdgeStore]:
    """Made once: that takes a second, on disk."""
    made = make_edge(tmp_path_factory.mktemp("edge"))
    yield made
    made.close()


@pytest.fixture
def stores(edge: EdgeStore) -> Iterator[dict[str, SegmentStore]]:
    """All stores, empty. The imitation of a server never forgets deleted points, and gets slow: a new one."""
    empty(edge)
    made: dict[str, SegmentStore] = {"edge": edge, "server": make_server()}
    yield made
    made["server"].close()


@pytest.fixture(params=["edge", "server"])
def store(request: pytest.FixtureRequest, stores: dict[str, SegmentStore]) -> SegmentStore:
    """Every store, empty."""
    return stores[request.param]
