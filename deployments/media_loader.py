"""MediaLoader: encoded bytes in, decoded arrays out."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from deployments.pictures import LargeOnes, is_small
from deployments.replica import ReportsMetrics
from multimodal.cache.flights import Flights
from multimodal.config import AppArgs
from multimodal.identity import FeatureKey
from multimodal.stages import LoaderBackend
from multimodal.types import Media, MediaSource, RequestContext


class MediaLoader(ReportsMetrics):
    """Decodes in processes that are killed at their deadline."""

    def __init__(self, args: AppArgs, make: Callable[[AppArgs], LoaderBackend]) -> None:
        self._backend = make(args)
        self._flights = Flights()
        self._large = LargeOnes()
        # On the thread of the event loop, which stays: decoders end with the thread that started them.
        self._backend.start()

    async def load(self, ctx: RequestContext, source: MediaSource, key: FeatureKey | None = None) -> Media:
        """Decode one medium. The result stays in the object store until its request is over."""
        if key is None:
            return await self._backend.load(ctx, source)
        if (media := self._large.take(key)) is not None:
            return media
        return await self._flights.join(ctx, key, partial(self._backend.load, ctx, source))

    async def load_small(self, ctx: RequestContext, source: MediaSource, key: FeatureKey) -> Media | None:
        """The same of what may be small, by value; None: it is large. It is kept then, for `load`."""
        media = await self.load(ctx, source, key)
        if is_small(media):
            return media
        self._large.put(key, media)
        return None

    def check_health(self) -> None:
        """Called by Serve, which replaces the replica when this raises."""
        self._backend.check_health()

    async def __del__(self) -> None:
        await self._backend.close()
