"""Fixtures of the index."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from multimodal.retrieval.store import SegmentStore
from tests.unit.retrieval.stores import empty, make_edge, make_server


@pytest.fixture(scope="session")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, SegmentStore]]:
    """All stores; made once, since it takes a second to make one on disk."""
    made: dict[str, SegmentStore] = {
        "edge": make_edge(tmp_path_factory.mktemp("edge")),
        "server": make_server(),
    }
    yield made
    for one in made.values():
        one.close()


@pytest.fixture(params=["edge", "server"])
def store(request: pytest.FixtureRequest, stores: dict[str, SegmentStore]) -> SegmentStore:
    """Every store, empty."""
    chosen = stores[request.param]
    empty(chosen)
    return chosen
