"""Work that requests share in one replica of an encoder, where `deployments.affinity` lets them meet."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from typing import TypeVar

from multimodal.cache.codec import Codec
from multimodal.cache.counts import Tier
from multimodal.cache.features import FeatureCache, Value
from multimodal.cache.memory import MemoryTier
from multimodal.config import CacheArgs
from multimodal.identity import FeatureKey
from multimodal.types import RequestContext

V = TypeVar("V", bound=Value)


class Shared:
    """What a replica has made lately, and is making now. In memory alone: callers ask Redis themselves."""

    def __init__(self, args: CacheArgs) -> None:
        seal_key = secrets.token_bytes(32)  # nothing leaves this process
        self._cache = FeatureCache(
            args, Codec(seal_key), MemoryTier(args.memory_bytes), memory_is=Tier.ENCODER
        )

    async def __call__(
        self, ctx: RequestContext, key: FeatureKey | None, kind: type[V], work: Callable[[], Awaitable[V]]
    ) -> V:
        """The result of the work, done once for all who ask for this key. Raises what the work raises."""
        if key is None:
            return await work()
        return (await self._cache.get(ctx, key, kind, work)).value
