"""ImageEncoder: pictures to retrieval vectors (where the profile has a tower), size and colours."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

from deployments.batching import batched
from deployments.lanes import Lane
from deployments.replica import ReportsMetrics, count_batch, give_way_to_text, refuse_if_late
from deployments.sharing import Shared
from multimodal.config import AppArgs
from multimodal.identity import FeatureKey
from multimodal.stages import ImageBackend
from multimodal.types import Image, ImageFeatures, MediaKind, RequestContext


class ImageEncoder(ReportsMetrics):
    """Encodes the pictures of all requests together, batched by count: a tower's input has a fixed size."""

    def __init__(self, args: AppArgs, make: Callable[[AppArgs], ImageBackend]) -> None:
        give_way_to_text(args)
        self._backend = make(args)
        self._lane = Lane()
        self._shared = Shared(args.cache)
        self._encode = batched(
            self._encode_batch, size=args.image.batch_items, wait_s=args.image.batch_wait_s
        )

    async def encode(self, ctx: RequestContext, image: Image, key: FeatureKey | None = None) -> ImageFeatures:
        """Features of one picture."""
        refuse_if_late(ctx)
        return await self._shared(ctx, key, ImageFeatures, partial(self._encode_one, ctx, image))

    async def _encode_one(self, ctx: RequestContext, image: Image) -> ImageFeatures:
        async with self._lane(ctx):
            return await self._encode(image)

    async def _encode_batch(self, batch: list[Image]) -> list[ImageFeatures]:
        count_batch(self, MediaKind.IMAGE, len(batch))
        return await asyncio.to_thread(self._backend.encode, batch)
