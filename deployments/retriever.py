"""Retriever: the index of segments. One replica, or any number where a Qdrant server keeps the index."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence

from deployments.replica import ReportsMetrics, refuse_if_late
from multimodal.config import AppArgs
from multimodal.retrieval.engine import SearchEngine
from multimodal.retrieval.store import SegmentStore
from multimodal.retrieval.types import Found, Search, Segment
from multimodal.types import RequestContext


class Retriever(ReportsMetrics):
    """Stores and finds, each call in a thread of its own."""

    def __init__(self, args: AppArgs, make: Callable[[AppArgs], SegmentStore]) -> None:
        self._store = make(args)
        self._engine = SearchEngine(self._store, args.retriever)
        self._duplicate_bits, self._look_alikes = args.retriever.duplicate_bits, args.retriever.candidates

    async def store_segments(self, ctx: RequestContext, segments: Sequence[Segment]) -> None:
        """Put segments of the context's tenant into the index: durable when this returns."""
        refuse_if_late(ctx)
        for segment in segments:
            _check_tenant(ctx, segment.tenant)
        await asyncio.to_thread(self._store.upsert, segments)

    async def forget_files(self, ctx: RequestContext, file_ids: Collection[str]) -> None:
        """Take all segments of these files of the context's tenant out of the index, durably."""
        refuse_if_late(ctx)
        await asyncio.to_thread(self._store.delete_files, ctx.tenant, file_ids)

    async def search(self, ctx: RequestContext, search: Search) -> Found:
        """Find segments of the context's tenant."""
        refuse_if_late(ctx)
        _check_tenant(ctx, search.tenant)
        return await asyncio.to_thread(self._engine.search, search)

    async def segments_of(self, ctx: RequestContext, file_id: str, with_vectors: bool) -> Sequence[Segment]:
        """All segments of one file of the context's tenant, in order."""
        refuse_if_late(ctx)
        return await asyncio.to_thread(self._store.of_file, ctx.tenant, file_id, with_vectors=with_vectors)

    async def look_alikes(
        self, ctx: RequestContext, perceptual_hashes: Sequence[int]
    ) -> Sequence[Sequence[tuple[Segment, int]]]:
        """For each hash, segments of the context's tenant that look alike, and in how many bits they
        differ."""
        refuse_if_late(ctx)
        return await asyncio.to_thread(self._all_look_alikes, ctx.tenant, perceptual_hashes)

    async def indexed_files(self, ctx: RequestContext) -> Mapping[str, Sequence[str]]:
        """Ids of all files that have segments, by tenant."""
        refuse_if_late(ctx)
        return await asyncio.to_thread(self._store.files)

    async def check_health(self) -> None:
        """Called by Serve, which replaces the replica when this raises."""
        await asyncio.to_thread(self._store.check_health)

    def _all_look_alikes(self, tenant: str, hashes: Sequence[int]) -> list[Sequence[tuple[Segment, int]]]:
        return [
            self._store.look_alikes(tenant, one, self._duplicate_bits, self._look_alikes) for one in hashes
        ]

    def __del__(self) -> None:
        """Called by Serve when the replica ends: the next one waits for the index."""
        if hasattr(self, "_store"):  # else it could not be opened
            self._store.close()


def _check_tenant(ctx: RequestContext, tenant: str) -> None:
    if tenant != ctx.tenant:
        raise ValueError("a call for one tenant has something of another")
