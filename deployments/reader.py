"""Reader: the text in pictures."""

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
from multimodal.stages import ReaderBackend
from multimodal.types import Image, ImageText, MediaKind, RequestContext


class Reader(ReportsMetrics):
    """Reads the pictures of all requests together."""

    def __init__(self, args: AppArgs, make: Callable[[AppArgs], ReaderBackend]) -> None:
        give_way_to_text(args)
        self._backend = make(args)
        self._lane = Lane()
        self._shared = Shared(args.cache)
        self._read = batched(self._read_batch, size=args.reader.batch_items, wait_s=args.reader.batch_wait_s)

    async def read(self, ctx: RequestContext, image: Image, key: FeatureKey | None = None) -> ImageText:
        """The lines of text in one picture."""
        refuse_if_late(ctx)
        return await self._shared(ctx, key, ImageText, partial(self._read_one, ctx, image))

    async def _read_one(self, ctx: RequestContext, image: Image) -> ImageText:
        async with self._lane(ctx):
            return await self._read(image)

    async def _read_batch(self, batch: list[Image]) -> list[ImageText]:
        count_batch(self, MediaKind.IMAGE, len(batch))
        return await asyncio.to_thread(self._backend.read, batch)
