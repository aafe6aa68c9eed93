"""What all replicas share: bytes in Redis.

Redis may be slow, full or gone, and requests go on as if it had nothing. A lookup waits `redis_wait_s` for
all there is to wait for: a free connection, a new one, the reply. One round trip tells how large a value is,
and brings a small one whole. Only a value that is there and large may take longer, by its size over
`redis_bytes_per_s`. What comes later is read to its end on a task of the lookup's own, and thrown away: so a
connection is made although nobody waits for it any more, and a slow reply costs no connection.

Failures in a row have Redis left alone for a while (`multimodal.cache.breaker`). A lookup in vain says
nothing against Redis where the time went elsewhere: the event loop was busy, or all connections were. What
Redis said is in the socket by then, and is taken from there before the wait is over.

Values are kept until their time is up. What Redis drops when it is full is up to its `maxmemory-policy`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from multimodal.cache.breaker import Breaker
from multimodal.cache.counts import Tier, breaker_open, count_error
from multimodal.cache.lookup import Lookup
from multimodal.cache.wire import Wire, reason_of
from multimodal.config import CacheArgs
from multimodal.identity import FeatureKey

logger = logging.getLogger(__name__)

PREFIX = "mm:1:"
"""Of all keys. The number changes where values would be misread; older ones expire."""

LOOKUPS = 32
"""With a connection at the same time."""
WRITES = 2
"""With a connection at the same time: large ones take long, and nobody waits for them."""
WAITING_WRITES = 32
WAITING_BYTES = 64 * 1024 * 1024
"""Of writes that are not done yet; a single one may be larger. What comes on top is dropped."""
WRITE_S = 1.0
"""Longest that a write of no size may take, seconds."""

LONGEST_TTL_S = 10 * 365 * 24 * 3600.0
"""Redis refuses times that overflow."""


class RedisTier:
    """Implements `multimodal.cache.features.RemoteTier`. Of one event loop, from its first call on.

    Args:
        args: with a redis_url.
        password: of Redis, if it has one.
        now: seconds, monotonic.

    Raises ConfigError for a URL that cannot be used.
    """

    def __init__(
        self, args: CacheArgs, password: str | None, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._args = args
        self._now = now
        self._wire = Wire(args.redis_url or "", password, args.redis_password_env)
        self._breaker = Breaker(args.breaker_failures, args.breaker_s, self._changed, now)
        self._lookups = asyncio.Semaphore(LOOKUPS)
        self._writes = asyncio.Semaphore(WRITES)
        self._waiting: list[int] = []
        self._tasks: set[asyncio.Task[bytes | None]] = set()
        self._closed = False

    async def get(self, key: FeatureKey) -> bytes | None:
        """See `RemoteTier`."""
        attempt = None if self._closed else self._breaker.begin()
        if attempt is None:
            return None
        lookup = Lookup(self._args, PREFIX + key.digest, attempt, self._wire, self._lookups, self._now)
        self._tasks.add(lookup.task)
        lookup.task.add_done_callback(self._tasks.discard)
        return await lookup.result()

    async def put(self, key: FeatureKey, data: bytes, ttl_s: float) -> None:
        """See `RemoteTier`."""
        if len(data) > self._args.value_bytes:
            count_error(Tier.REDIS, "too_large")
            return
        full = self._waiting and sum(self._waiting) + len(data) > WAITING_BYTES
        if full or len(self._waiting) >= WAITING_WRITES:
            count_error(Tier.REDIS, "dropped")
            return
        self._waiting.append(len(data))
        try:
            async with self._writes:
                await self._store(PREFIX + key.digest, data, ttl_s)
        finally:
            self._waiting.remove(len(data))

    async def close(self) -> None:
        """From now on there is nothing, and nothing is kept. Lookups under way end."""
        self._closed = True
        for task in set(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(set(self._tasks))
        await self._wire.close()

    async def _store(self, name: str, data: bytes, ttl_s: float) -> None:
        """Successes say nothing: a write may take longer than lookups wait. So writes never probe."""
        attempt = None if self._closed else self._breaker.begin(may_probe=False)
        if attempt is None:
            return
        ttl_ms = max(1, round(1000 * min(ttl_s, LONGEST_TTL_S)))
        try:
            async with asyncio.timeout(WRITE_S + len(data) / self._args.redis_bytes_per_s):
                async with self._wire.line() as line:
                    await line.send(("SET", name, data, "PX", ttl_ms))
                    reply = await line.receive()
        except Exception as error:  # whatever it is, the value is not kept
            count_error(Tier.REDIS, reason_of(error))
            attempt.fail(reason_of(error))
            return
        if isinstance(reply, Exception):  # Redis is full, perhaps, and can be read
            count_error(Tier.REDIS, reason_of(reply))

    def _changed(self, reason: str | None) -> None:
        breaker_open(reason is not None)
        if reason is None:
            logger.warning("Redis is used again")
        else:
            logger.warning("Redis is left alone for %g s: %s", self._args.breaker_s, reason)
