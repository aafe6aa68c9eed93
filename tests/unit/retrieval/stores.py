"""Both Qdrant stores, and how to empty them."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path

from qdrant_client import QdrantClient

from multimodal.config import RetrieverArgs
from multimodal.retrieval.edge import EdgeStore
from multimodal.retrieval.server import QdrantStore
from multimodal.retrieval.store import SegmentStore
from multimodal.retrieval.types import VectorName
from tests.unit.retrieval.segments import ARGS, SIZES


def make_edge(folder: Path, args: RetrieverArgs = ARGS) -> EdgeStore:
    return EdgeStore(folder / "index", args, SIZES)


def make_server() -> QdrantStore:
    """Over qdrant-client's own imitation of a server."""
    return local_store(QdrantClient(":memory:"))


def local_store(
    client: QdrantClient,
    sizes: Mapping[VectorName, int] = SIZES,
    models: Mapping[VectorName, str] | None = None,
    owner: str | None = None,
) -> QdrantStore:
    with warnings.catch_warnings():
        # It says, once, that it ignores indexes and parameters of searches, which a server does not.
        for message in ("Payload indexes have no effect", "Local mode performs exact"):
            warnings.filterwarnings("ignore", message=message, category=UserWarning)
        store = QdrantStore(client, ARGS, sizes, models, owner)
        store.look_alikes("nobody", 0, 0, 1)
    return store


def empty(store: SegmentStore) -> None:
    """Delete everything."""
    for tenant, files in store.files().items():
        store.delete_files(tenant, files)
