"""The Ingestor works with the deployments that serve requests, and Serve notices when it stops."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from prometheus_client import REGISTRY
from ray import serve
from ray.serve.handle import DeploymentHandle

from deployments.image_encoder import ImageEncoder
from deployments.ingestor import Ingestor, count_file
from deployments.media_loader import MediaLoader
from deployments.reader import Reader
from deployments.retriever import Retriever
from deployments.text_encoder import TextEncoder
from multimodal.config import AppArgs, LibraryArgs
from multimodal.errors import MultimodalError
from multimodal.library.ingest import Ended, Outcome
from multimodal.library.processing import Shelf
from multimodal.library.records import Duplicate, FileStatus
from multimodal.retrieval.opening import make_store
from multimodal.retrieval.types import VectorName
from multimodal.types import MediaKind
from tests.encoder_fakes import DIMENSIONS, FakeImageEncoder, FakeReader, FakeTextEncoder
from tests.fakes import FakeLoader, remembering
from tests.library_fakes import FakeShelf, a_file

SIZES = dict.fromkeys(VectorName, DIMENSIONS)

ARGS = AppArgs(library=LibraryArgs(poll_s=60.0))


@dataclass
class WatchedShelf(FakeShelf):
    """Tells another thread that a file is finished."""

    finished: threading.Event = field(default_factory=threading.Event)

    async def finish(
        self,
        owner: str,
        file_id: str,
        *,
        segments: int,
        duration_s: float | None,
        pages: int | None,
        duplicates: Sequence[Duplicate],
    ) -> bool:
        done = await super().finish(
            owner, file_id, segments=segments, duration_s=duration_s, pages=pages, duplicates=duplicates
        )
        self.finished.set()
        return done


class Caller:
    """Makes the Ingestor one of several deployments, as Gateway does."""

    def __init__(self, ingestor: DeploymentHandle[Ingestor]) -> None:
        self._ingestor = ingestor

    async def metrics(self) -> str:
        return str((await self._ingestor.metrics.remote())[1])


def deployed(cls: type) -> serve.Deployment:
    return serve.deployment(name=cls.__name__)(cls)


SHELF = WatchedShelf()


def make_shelf(args: AppArgs) -> Shelf:
    """The one that the test looks at: Serve pickles what a deployment is made of."""
    return SHELF


async def test_a_file_is_processed_by_the_graph(tmp_path: Path) -> None:
    file = SHELF.put(a_file(1, MediaKind.IMAGE))
    image = deployed(ImageEncoder).bind(ARGS, lambda args: FakeImageEncoder())
    ingestor = deployed(Ingestor).bind(
        ARGS,
        make_shelf,
        lambda args: remembering(2**20),
        media_loader=deployed(MediaLoader).bind(ARGS, lambda args: FakeLoader()),
        text_encoder=deployed(TextEncoder).bind(ARGS, lambda args: FakeTextEncoder()),
        image_encoder=image,
        audio_encoder=image,
        video_encoder=image,
        document_encoder=image,
        reader=deployed(Reader).bind(ARGS, lambda args: FakeReader()),
        retriever=deployed(Retriever).bind(ARGS, lambda args: make_store(args, tmp_path, SIZES)),
    )
    handle = serve.run(deployed(Caller).bind(ingestor), name="ingest", _local_testing_mode=True)
    assert await asyncio.to_thread(SHELF.finished.wait, 60)
    record = SHELF.files[file.id]
    assert (record.status, record.segments) == (FileStatus.PROCESSED, 1)
    assert "multimodal_ingested_segments_total" in await handle.metrics.remote()


async def test_an_ingestor_that_stopped_is_not_well() -> None:
    work = asyncio.create_task(asyncio.sleep(0))
    # Not a real one: Python would call its `__del__`, which is Serve's to call.
    ingestor = cast(Ingestor, SimpleNamespace(_work=work))
    Ingestor.check_health(ingestor)
    await work
    with pytest.raises(MultimodalError):
        Ingestor.check_health(ingestor)


async def test_files_are_counted_by_kind_and_outcome() -> None:
    labels = {"kind": "image", "status": "error"}
    before = REGISTRY.get_sample_value("multimodal_ingested_files_total", labels) or 0.0
    count_file(Ended(file=a_file(1, MediaKind.IMAGE), outcome=Outcome.ERROR, seconds=2.0))
    assert REGISTRY.get_sample_value("multimodal_ingested_files_total", labels) == before + 1
