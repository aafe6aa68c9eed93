"""Opens the cache of features that the configuration asks for."""

from __future__ import annotations

import os
from pathlib import Path

from multimodal.cache.codec import Codec
from multimodal.cache.features import FeatureCache, RemoteTier
from multimodal.cache.memory import MemoryTier
from multimodal.config import AppArgs, CacheArgs
from multimodal.identity import Identities, server_secret


def open_cache(
    args: AppArgs, state: Path, *, keeps_beside: bool = False, remote: bool = True
) -> FeatureCache:
    """The cache of a process. Nothing is connected yet: Redis may come and go.

    Args:
        args: of the app.
        state: the folder MULTIMODAL_STATE.
        keeps_beside: whether what is made of uploaded files is kept with them.
        remote: whether it has part in what replicas share in Redis, where there is one.

    Raises ConfigError for a URL that cannot be used, and for a secret that is too short to be one.
    """
    return FeatureCache(
        args.cache,
        Codec(Identities(server_secret(state)).seal_key()),
        MemoryTier(args.cache.memory_bytes),
        _remote(args.cache) if remote else None,
        keeps_beside=keeps_beside,
    )


def _remote(args: CacheArgs) -> RemoteTier | None:
    if args.redis_url is None:
        return None
    from multimodal.cache.remote import RedisTier

    return RedisTier(args, os.environ.get(args.redis_password_env))
