"""VisionTower: media as embeddings that Generator reads."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from deployments.batching import batched
from deployments.lanes import Lane
from deployments.replica import ReportsMetrics, count_batch, give_way_to_text, refuse_if_late
from deployments.sharing import Shared
from multimodal.config import AppArgs, VisionArgs
from multimodal.identity import FeatureKey
from multimodal.stages import Seen, VisionBackend
from multimodal.types import GeneratorEmbedding, RequestContext


class VisionTower(ReportsMetrics):
    """Holds the connector, or the tower and projector of the generator's own checkpoint."""

    def __init__(self, args: AppArgs, make: Callable[[AppArgs], VisionBackend]) -> None:
        give_way_to_text(args)
        vision = args.vision or VisionArgs()
        self._backend = make(args)
        self._lane = Lane()
        self._shared = Shared(args.cache)
        self._see = batched(self._see_batch, size=vision.batch_items, wait_s=vision.batch_wait_s)

    async def see(
        self, ctx: RequestContext, seen: Seen, moments_s: Sequence[float], key: FeatureKey | None = None
    ) -> GeneratorEmbedding:
        """Rows for a medium."""
        refuse_if_late(ctx)
        return await self._shared(
            ctx, key, GeneratorEmbedding, partial(self._see_one, ctx, seen, moments_s, key)
        )

    async def _see_one(
        self, ctx: RequestContext, seen: Seen, moments_s: Sequence[float], key: FeatureKey | None
    ) -> GeneratorEmbedding:
        async with self._lane(ctx):
            embedding = await self._see((seen, moments_s))
        return replace(embedding, key=key.digest if key else "")

    async def _see_batch(self, batch: list[tuple[Seen, Sequence[float]]]) -> list[GeneratorEmbedding]:
        embeddings = await asyncio.to_thread(self._backend.see, batch)
        for kind in sorted({one.kind for one in embeddings}):
            count_batch(self, kind, sum(one.kind is kind for one in embeddings))
        return embeddings
