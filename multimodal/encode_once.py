"""What is made of media, made once: identity, recipes and the cache put together."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, TypeVar
from uuid import uuid4

from multimodal.cache.beside import BesideContent
from multimodal.cache.features import Beside, FeatureCache, Origin, Outcome, Value
from multimodal.cache.opening import open_cache
from multimodal.config import AppArgs
from multimodal.identity import (
    ContentIdentity,
    Feature,
    FeatureKey,
    Identities,
    server_secret,
    sha256_of,
)
from multimodal.recipes import Recipes
from multimodal.storage import ContentStore
from multimodal.types import MediaKind, MediaSource, RequestContext, SpeechHints, StoredContent, Transcript

V = TypeVar("V", bound=Value)

LARGE_BYTES = 256 * 1024
"""From here on, bytes are hashed on a thread: 0.2 ms of the event loop, 1 ms without SHA instructions."""


class Contents(Protocol):
    """Where what is kept with uploaded files lies."""

    def __call__(self, content: StoredContent) -> Beside:
        """That of one content."""
        ...


class EncodeOnce:
    """One for each process that has things made of media."""

    def __init__(
        self,
        identities: Identities,
        recipes: Recipes,
        cache: FeatureCache,
        contents: Contents | None = None,
    ) -> None:
        self.identities = identities
        self.recipes = recipes
        self._cache = cache
        self._contents = contents

    async def content(self, ctx: RequestContext, source: MediaSource) -> Content:
        """A medium of the context's tenant, hashed."""
        source = await hashed(source)
        sha256 = source.stored.sha256 if source.stored else source.sha256
        if sha256 is None:
            raise TypeError("a medium that was hashed has a hash")
        beside = self._contents(source.stored) if self._contents and source.stored else None
        identity = self.identities.content(ctx.tenant, sha256, source.kind)
        return Content(self._cache, self.recipes, ctx, source, identity, beside)

    async def speech(
        self,
        ctx: RequestContext,
        sha256: str,
        hints: SpeechHints,
        make: Callable[[FeatureKey], Awaitable[Transcript]],
    ) -> Transcript:
        """What is said in a video, whose sound was decoded with it. Raises what `make` raises."""
        identity = self.identities.content(ctx.tenant, sha256, MediaKind.VIDEO)
        key = identity.key(Feature.TRANSCRIPT, self.recipes.transcript(hints))
        if hints.temperature > 0:
            return await make(alone(key))  # words are drawn: each time others
        return (await self._cache.get(ctx, key, Transcript, lambda: make(key))).value

    async def settled(self) -> None:
        """Wait until all that was made is kept."""
        await self._cache.settled()


@dataclass(frozen=True, slots=True)
class Content:
    """What can be made of one medium, for one request."""

    _cache: FeatureCache
    _recipes: Recipes
    _ctx: RequestContext
    source: MediaSource
    """With its hash."""
    identity: ContentIdentity
    _beside: Beside | None

    def key(
        self, feature: Feature, hints: SpeechHints | None = None, moments_s: Sequence[float] = ()
    ) -> FeatureKey:
        """What the feature is stored under."""
        return self.identity.key(feature, self._recipes.feature(feature, self.source, hints, moments_s))

    def is_known(self, key: FeatureKey) -> bool:
        """Whether it is in the memory of this process."""
        return self._cache.holds(key)

    async def get(
        self, key: FeatureKey, kind: type[V], make: Callable[[FeatureKey], Awaitable[V]]
    ) -> Outcome[V]:
        """The feature: kept, or made. Raises what `make` raises."""
        return await self._cache.get(self._ctx, key, kind, lambda: make(key), self._beside)


def open_once(args: AppArgs, state: Path, home: Path, *, keeps_beside: bool = False) -> EncodeOnce:
    """What this process knows of media, as the configuration says.

    Args:
        args: of the app.
        state: the folder MULTIMODAL_STATE.
        home: the folder MULTIMODAL_HOME.
        keeps_beside: what is made of uploaded files is kept with them.

    Raises ConfigError.
    """
    contents = ContentStore(args.library.storage_url, state)

    def beside(content: StoredContent) -> Beside:
        return BesideContent(args.cache, contents, content)

    cache = open_cache(args, state, keeps_beside=keeps_beside)
    return EncodeOnce(Identities(server_secret(state)), Recipes(args, home), cache, beside)


KEPT = frozenset({Origin.MEMORY, Origin.REDIS, Origin.LIBRARY})
"""Nothing was encoded, and nobody was waited for."""


def alone(key: FeatureKey) -> FeatureKey:
    """A key of the same affinity that nobody else has: encoders share work by key, too."""
    return replace(key, digest=f"{key.digest} {uuid4().hex}")


async def hashed(source: MediaSource) -> MediaSource:
    """With the hash of its bytes."""
    if source.stored is not None or source.sha256 is not None:
        return source
    if len(source.data) < LARGE_BYTES:
        return replace(source, sha256=sha256_of(source.data))
    return replace(source, sha256=await asyncio.to_thread(sha256_of, source.data))
