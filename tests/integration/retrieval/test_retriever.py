"""The Retriever deployment, over a real index, called as Serve calls it."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from deployments.retriever import Retriever
from multimodal.config import AppArgs, RetrieverArgs
from multimodal.errors import DeadlineExceeded, StageUnavailable
from multimodal.retrieval.edge import EdgeStore
from multimodal.retrieval.types import Search, Segment
from multimodal.types import RequestContext
from tests.unit.retrieval.segments import SIZES, segment

ARGS = AppArgs(retriever=RetrieverArgs(lock_timeout_s=0))


def context(tenant: str = "ann", seconds: float = 60.0) -> RequestContext:
    return RequestContext(request_id="r", tenant=tenant, deadline_s=time.time() + seconds)


@pytest.fixture
def retriever(tmp_path: Path) -> Iterator[Retriever]:
    """One with an empty index."""
    made = Retriever(ARGS, lambda args: EdgeStore(tmp_path, args.retriever, SIZES))
    yield made
    made.__del__()


async def test_what_is_stored_is_found_until_it_is_forgotten(retriever: Retriever) -> None:
    ctx = context()
    await retriever.store_segments(ctx, [segment(0, text="red fox", perceptual_hash=7)])
    found = await retriever.search(ctx, Search(tenant="ann", words="fox"))
    assert [hit.segment.text for hit in found.hits] == ["red fox"]
    assert [one.ordinal for one in await retriever.segments_of(ctx, "file-a", True)] == [0]
    (alike, different) = await retriever.look_alikes(ctx, [5, 2**64 - 1])
    assert [bits for _, bits in alike] == [1]
    assert different == []
    assert await retriever.indexed_files(ctx) == {"ann": ["file-a"]}
    await retriever.forget_files(ctx, ["file-a"])
    assert await retriever.segments_of(ctx, "file-a", False) == []
    await retriever.check_health()


class Stuck(EdgeStore):
    """Writes wait until they may go on."""

    def __init__(self, folder: Path, args: RetrieverArgs) -> None:
        super().__init__(folder, args, SIZES)
        self.may_go_on = threading.Event()

    def upsert(self, segments: Sequence[Segment]) -> None:
        self.may_go_on.wait()
        super().upsert(segments)


async def test_searches_and_the_health_check_go_on_while_many_writes_wait(tmp_path: Path) -> None:
    store = Stuck(tmp_path, ARGS.retriever)
    busy, ctx = Retriever(ARGS, lambda args: store), context()
    writes = [asyncio.ensure_future(busy.store_segments(ctx, [segment(n, text="fox")])) for n in range(20)]
    try:
        await busy.check_health()
        assert (await busy.search(ctx, Search(tenant="ann", words="fox"))).hits == ()
        assert not any(write.done() for write in writes)
    finally:
        store.may_go_on.set()
    await asyncio.gather(*writes)
    assert len(await busy.segments_of(ctx, "file-a", False)) == 20
    busy.__del__()


async def test_calls_for_another_tenant_are_refused(retriever: Retriever) -> None:
    with pytest.raises(ValueError, match="another"):
        await retriever.store_segments(context("bob"), [segment(0)])
    with pytest.raises(ValueError, match="another"):
        await retriever.search(context("bob"), Search(tenant="ann"))
    assert await retriever.indexed_files(context()) == {}


async def test_calls_that_come_too_late_are_refused(retriever: Retriever) -> None:
    late = context(seconds=-1)
    for call in (
        retriever.store_segments(late, [segment(0)]),
        retriever.forget_files(late, ["file-a"]),
        retriever.search(late, Search(tenant="ann")),
        retriever.segments_of(late, "file-a", False),
        retriever.look_alikes(late, [0]),
        retriever.indexed_files(late),
    ):
        with pytest.raises(DeadlineExceeded):
            await call


async def test_a_replica_that_ends_lets_the_next_one_have_the_index(tmp_path: Path) -> None:
    first = Retriever(ARGS, lambda args: EdgeStore(tmp_path, args.retriever, SIZES))
    await first.store_segments(context(), [segment(0)])
    first.__del__()
    with pytest.raises(StageUnavailable):
        await first.check_health()
    second = Retriever(ARGS, lambda args: EdgeStore(tmp_path, args.retriever, SIZES))
    assert await second.indexed_files(context()) == {"ann": ["file-a"]}
    second.__del__()


def test_a_replica_without_an_index_says_why(tmp_path: Path) -> None:
    owner = EdgeStore(tmp_path, ARGS.retriever, SIZES)
    with pytest.raises(StageUnavailable, match="Another process"):
        Retriever(ARGS, lambda args: EdgeStore(tmp_path, args.retriever, SIZES))
    owner.close()
