"""The cache of features: looks in memory, in Redis and beside uploaded files, and has the rest made once.

A value is encoded to bytes once it is made (`codec`), and what is kept in memory is made of those bytes
again: its arrays are views of them, so that nothing from Ray's object store stays pinned, and its size is
known.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, Protocol, TypeAlias, TypeVar

from multimodal.cache.codec import Codec
from multimodal.cache.counts import Tier, count, count_shared
from multimodal.cache.flights import Flights
from multimodal.cache.memory import MemoryTier
from multimodal.config import CacheArgs
from multimodal.errors import MultimodalError
from multimodal.identity import FeatureKey
from multimodal.types import (
    DocumentFeatures,
    GeneratorEmbedding,
    ImageFeatures,
    ImageText,
    MediaKind,
    RequestContext,
    Transcript,
    VideoFeatures,
)

logger = logging.getLogger(__name__)

Value: TypeAlias = (
    ImageFeatures | ImageText | Transcript | VideoFeatures | DocumentFeatures | GeneratorEmbedding
)
"""What can be kept."""

T = TypeVar("T")
V = TypeVar("V", bound=Value)


class Origin(StrEnum):
    """Where a value came from."""

    MEMORY = "memory"
    REDIS = "redis"
    LIBRARY = "library"
    """It was kept beside an uploaded file."""
    SHARED = "shared"
    """Another request was having it made."""
    MADE = "made"


@dataclass(frozen=True, slots=True)
class Outcome(Generic[V]):
    """A value, and where it came from."""

    value: V
    origin: Origin


class RemoteTier(Protocol):
    """Bytes that all replicas share. Neither method raises or takes long: see `multimodal.cache.remote`."""

    async def get(self, key: FeatureKey) -> bytes | None:
        """None: it has none, or cannot be asked now."""
        ...

    async def put(self, key: FeatureKey, data: bytes, ttl_s: float) -> None:
        """Keep for so long, if possible."""
        ...


class Beside(Protocol):
    """What is kept with one uploaded file, as long as the file is there. Raises StageUnavailable."""

    async def read(self, name: str) -> bytes | None:
        """None: there is none."""
        ...

    async def write(self, name: str, data: bytes) -> None:
        """Keep it, replacing what has this name."""
        ...


class FeatureCache:
    """One for each process that asks for features. Of one event loop."""

    def __init__(
        self,
        args: CacheArgs,
        codec: Codec,
        memory: MemoryTier,
        remote: RemoteTier | None = None,
        *,
        memory_is: Tier = Tier.MEMORY,
        keeps_beside: bool = False,
    ) -> None:
        """`memory_is`: what the memory of this process is counted as. `keeps_beside`: what is made of
        uploaded files is kept with them; it is looked for anyway."""
        self._args = args
        self._codec = codec
        self._memory = memory
        self._remote = remote
        self._keeps_beside = keeps_beside
        self._memory_is = memory_is
        self._flights = Flights()
        self._writes: set[asyncio.Task[None]] = set()

    def recall(self, key: FeatureKey, kind: type[V]) -> V | None:
        """What this process has in memory. Counts a hit only: whoever misses asks `get` next."""
        found = self._memory.get(key.digest)
        if isinstance(found, kind):
            count(key, self._memory_is, hit=True)
            return found
        return None

    def holds(self, key: FeatureKey) -> bool:
        """Whether this process has it in memory. Counts nothing."""
        return self._memory.get(key.digest) is not None

    async def get(
        self,
        ctx: RequestContext,
        key: FeatureKey,
        kind: type[V],
        make: Callable[[], Awaitable[V]],
        beside: Beside | None = None,
    ) -> Outcome[V]:
        """The value of this key: kept, or made by one of those who ask for it at the same time.

        Raises what `make` raises.
        """
        if (known := self.recall(key, kind)) is not None:
            self._keep_beside(key, known, beside)
            return Outcome(known, Origin.MEMORY)
        count(key, self._memory_is, hit=False)
        leads = False

        async def work() -> Outcome[V]:
            nonlocal leads
            leads = True
            return await self._find(key, kind, beside) or await self._make(key, make, beside)

        outcome = await self._flights.join(ctx, key, work)
        if outcome.origin is Origin.REDIS or not leads:
            self._keep_beside(key, outcome.value, beside)
        if leads:
            return outcome
        count_shared(key)
        return Outcome(outcome.value, Origin.SHARED)

    async def settled(self) -> None:
        """Wait until all that was made is kept."""
        while self._writes:
            await asyncio.wait(set(self._writes))

    async def _find(self, key: FeatureKey, kind: type[V], beside: Beside | None) -> Outcome[V] | None:
        if self._remote is not None:
            found = await self._remembered(key, kind, await self._remote.get(key))
            count(key, Tier.REDIS, hit=found is not None)
            if found is not None:
                return Outcome(found, Origin.REDIS)
        if beside is not None:
            found = await self._remembered(key, kind, await _read(beside, key))
            count(key, Tier.LIBRARY, hit=found is not None)
            if found is not None:
                return Outcome(found, Origin.LIBRARY)
        return None

    async def _remembered(self, key: FeatureKey, kind: type[V], data: bytes | None) -> V | None:
        """Anything malformed is a miss."""
        if data is None:
            return None
        value = await _beside_loop(len(data), lambda: self._codec.decode(key, data, kind))
        if value is not None:
            # What it has cost is not known any more; it was worth keeping.
            self._memory.put(key.digest, value, len(data), cost_s=1.0, ttl_s=self._ttl_s(key, 0.0))
        return value

    async def _make(
        self, key: FeatureKey, make: Callable[[], Awaitable[V]], beside: Beside | None
    ) -> Outcome[V]:
        begun_s = time.perf_counter()
        value = await make()
        cost_s = time.perf_counter() - begun_s
        kept = await _beside_loop(_size_bytes(value), lambda: self._settle(key, value))
        if kept is None:
            return Outcome(value, Origin.MADE)
        value, data = kept
        ttl_s = self._ttl_s(key, cost_s)
        self._memory.put(key.digest, value, len(data), cost_s=cost_s, ttl_s=ttl_s)
        if self._remote is not None:
            self._later(self._remote.put(key, data, ttl_s))
        if beside is not None and self._keeps_beside and len(data) <= self._args.stored_bytes:
            self._later(_write(beside, key, data))
        return Outcome(value, Origin.MADE)

    def _keep_beside(self, key: FeatureKey, value: V, beside: Beside | None) -> None:
        """What was made for the same bytes elsewhere: inline, or in a file that is gone since."""
        if beside is not None and self._keeps_beside:
            self._later(self._write_missing(key, value, beside))

    async def _write_missing(self, key: FeatureKey, value: V, beside: Beside) -> None:
        if await _read(beside, key) is not None:
            return
        kept = await _beside_loop(_size_bytes(value), lambda: self._settle(key, value))
        if kept is not None and len(kept[1]) <= self._args.stored_bytes:
            await _write(beside, key, kept[1])

    def _settle(self, key: FeatureKey, value: V) -> tuple[V, bytes] | None:
        """The value on bytes of its own, and those bytes. None: it is too large to be kept, or it cannot be
        (text that is no Unicode, from a broken document)."""
        try:
            data = self._codec.encode(key, value)
        except ValueError as error:
            logger.warning("%s could not be kept: %s", key.feature, error)
            return None
        if len(data) > self._args.value_bytes:
            return None
        kept = self._codec.decode(key, data, type(value))
        if kept is None:
            logger.warning("%s could not be kept: it is not what its type says", key.feature)
            return None
        return kept, data

    def _ttl_s(self, key: FeatureKey, cost_s: float) -> float:
        base_s = {
            MediaKind.IMAGE: self._args.image_ttl_s,
            MediaKind.AUDIO: self._args.audio_ttl_s,
            MediaKind.VIDEO: self._args.video_ttl_s,
            MediaKind.DOCUMENT: self._args.document_ttl_s,
        }[key.modality]
        return min(self._args.max_ttl_s, base_s + cost_s * self._args.ttl_s_per_cost_s)

    def _later(self, write: Awaitable[None]) -> None:
        """Nobody waits for it."""
        task = asyncio.ensure_future(_awaited(write))
        self._writes.add(task)
        task.add_done_callback(self._writes.discard)


LARGE_BYTES = 1024 * 1024
"""From here on, checksums are made on a thread: a millisecond of the event loop."""


def _size_bytes(value: Value) -> int:
    """About; only what the generator looks at is ever large."""
    return value.rows.nbytes if isinstance(value, GeneratorEmbedding) else 0


async def _beside_loop(size_bytes: int, work: Callable[[], T]) -> T:
    return await asyncio.to_thread(work) if size_bytes > LARGE_BYTES else work()


async def _awaited(write: Awaitable[None]) -> None:
    await write


async def _read(beside: Beside, key: FeatureKey) -> bytes | None:
    try:
        return await beside.read(key.digest)
    except MultimodalError as error:
        logger.warning("features of a file could not be read: %s", error.message)
        return None


async def _write(beside: Beside, key: FeatureKey, data: bytes) -> None:
    try:
        await beside.write(key.digest, data)
    except MultimodalError as error:
        logger.warning("features of a file could not be kept: %s", error.message)
