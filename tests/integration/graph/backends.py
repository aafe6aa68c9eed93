"""Backends without weights, for the graph. The library and its index are real: see MULTIMODAL_STATE."""

from __future__ import annotations

from deployments.backends import Backends
from multimodal.config import AppArgs, state
from multimodal.media.stored import StoredLoader
from multimodal.retrieval.opening import make_store
from multimodal.retrieval.store import SegmentStore
from multimodal.retrieval.types import VectorName
from multimodal.stages import LoaderBackend
from multimodal.storage import ContentStore
from tests.encoder_fakes import (
    DIMENSIONS,
    FakeAudioEncoder,
    FakeImageEncoder,
    FakeReader,
    FakeTextEncoder,
    FakeVision,
)
from tests.fakes import FakeGenerator, FakeLoader


def small_index(args: AppArgs) -> SegmentStore:
    """Qdrant's engine, for the vectors of the fakes."""
    return make_store(args, state(), dict.fromkeys(VectorName, DIMENSIONS))


def loader_of_files(args: AppArgs) -> LoaderBackend:
    """Bytes of uploaded files are read, and handed through as all others are."""
    return StoredLoader(FakeLoader(), ContentStore(args.library.storage_url, state()).read_all)


FAKES = Backends(
    store=small_index,
    loader=loader_of_files,
    text=lambda args: FakeTextEncoder(),
    image=lambda args: FakeImageEncoder(),
    audio=lambda args: FakeAudioEncoder(),
    reader=lambda args: FakeReader(),
    vision=lambda args: FakeVision(),
    generator=lambda args: FakeGenerator(),
)
