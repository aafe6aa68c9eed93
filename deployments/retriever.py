"""Retriever: the index of segments. One replica, or any number where a Qdrant server keeps the index."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import ParamSpec, TypeVar

from deployments.replica import ReportsMetrics, refuse_if_late
from multimodal.config import AppArgs
from multimodal.errors import StageUnavailable
from multimodal.retrieval.engine import SearchEngine
from multimodal.retrieval.store import SegmentStore
from multimodal.retrieval.types import Found, Search, Segment
from multimodal.types import RequestContext

P = ParamSpec("P")
T = TypeVar("T")

READERS, WRITERS = 8, 2


class Retriever(ReportsMetrics):
    """Stores and finds, each call in a thread. Writes, which may wait for each other, and the health check
    have threads of their own: neither holds up searches, nor do searches hold up them."""

    def __init__(self, args: AppArgs, make: Callable[[AppArgs], SegmentStore]) -> None:
        self._store = make(args)
        self._engine = SearchEngine(self._store, args.retriever)
        self._writers, self._readers, self._checks = map(ThreadPoolExecutor, (WRITERS, READERS, 1))
        self._ended = False
        self._duplicate_bits, self._look_alikes = args.retriever.duplicate_bits, args.retriever.candidates

    async def store_segments(self, ctx: RequestContext, segments: Sequence[Segment]) -> None:
        """Put segments of the context's tenant into the index: durable when this returns."""
        refuse_if_late(ctx)
        for segment in segments:
            _check_tenant(ctx, segment.tenant)
        await self._run(self._writers, self._store.upsert, segments)

    async def forget_files(self, ctx: RequestContext, file_ids: Collection[str]) -> None:
        """Take all segments of these files of the context's tenant out of the index, durably."""
        refuse_if_late(ctx)
        await self._run(self._writers, self._store.delete_files, ctx.tenant, file_ids)

    async def search(self, ctx: RequestContext, search: Search) -> Found:
        """Find segments of the context's tenant."""
        refuse_if_late(ctx)
        _check_tenant(ctx, search.tenant)
        return await self._run(self._readers, self._engine.search, search)

    async def segments_of(self, ctx: RequestContext, file_id: str, with_vectors: bool) -> Sequence[Segment]:
        """All segments of one file of the context's tenant, in order."""
        refuse_if_late(ctx)
        return await self._run(
            self._readers, self._store.of_file, ctx.tenant, file_id, with_vectors=with_vectors
        )

    async def look_alikes(
        self, ctx: RequestContext, perceptual_hashes: Sequence[int]
    ) -> Sequence[Sequence[tuple[Segment, int]]]:
        """For each hash, segments of the context's tenant that look alike, and in how many bits they
        differ."""
        refuse_if_late(ctx)
        return await self._run(self._readers, self._all_look_alikes, ctx.tenant, perceptual_hashes)

    async def indexed_files(self, ctx: RequestContext) -> Mapping[str, Sequence[str]]:
        """Ids of all files that have segments, by tenant."""
        refuse_if_late(ctx)
        return await self._run(self._readers, self._store.files)

    async def check_health(self) -> None:
        """Called by Serve, which replaces the replica when this raises."""
        await self._run(self._checks, self._store.check_health)

    async def _run(
        self, threads: ThreadPoolExecutor, call: Callable[P, T], *args: P.args, **named: P.kwargs
    ) -> T:
        if self._ended:
            raise StageUnavailable.restarting("Retriever")
        return await asyncio.get_running_loop().run_in_executor(threads, partial(call, *args, **named))

    def _all_look_alikes(self, tenant: str, hashes: Sequence[int]) -> list[Sequence[tuple[Segment, int]]]:
        return [
            self._store.look_alikes(tenant, one, self._duplicate_bits, self._look_alikes) for one in hashes
        ]

    def __del__(self) -> None:
        """Called by Serve when the replica ends: the next one waits for the index."""
        if not hasattr(self, "_ended"):  # the index could not be opened
            return
        self._ended = True
        self._store.close()
        for threads in (self._writers, self._readers, self._checks):
            threads.shutdown(wait=False)


def _check_tenant(ctx: RequestContext, tenant: str) -> None:
    if tenant != ctx.tenant:
        raise ValueError("a call for one tenant has something of another")
