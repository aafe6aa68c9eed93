"""For tests of the cache in Redis: keys, tiers that are closed again, metrics, servers that misbehave."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass

from prometheus_client import REGISTRY

from multimodal.cache.remote import RedisTier
from multimodal.config import CacheArgs
from multimodal.identity import ContentIdentity, Feature, FeatureKey
from multimodal.types import MediaKind

PATIENT_S = 60.0
"""A wait that no healthy server exceeds on any machine."""


@dataclass
class Clock:
    """Goes on by itself, and can be moved."""

    ahead_s: float = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.ahead_s


def key(name: str) -> FeatureKey:
    """The key of a picture's text."""
    return ContentIdentity(b"secret", name, MediaKind.IMAGE).key(Feature.OCR, {"model": "fake"})


@asynccontextmanager
async def opened(
    args: CacheArgs, password: str | None = None, clock: Clock | None = None
) -> AsyncIterator[RedisTier]:
    """A tier that is closed afterwards."""
    tier = RedisTier(args, password, clock or Clock())
    try:
        yield tier
    finally:
        await tier.close()


def patient(url: str) -> CacheArgs:
    """Nothing is late."""
    return CacheArgs(redis_url=url, redis_wait_s=PATIENT_S)


def errors(reason: str) -> float:
    """How many calls failed for this reason."""
    labels = {"tier": "redis", "reason": reason}
    return REGISTRY.get_sample_value("multimodal_cache_errors_total", labels) or 0.0


def left_alone() -> bool:
    """What the gauge says of the breaker."""
    return REGISTRY.get_sample_value("multimodal_cache_breaker_open") == 1.0


@contextmanager
def black_hole() -> Iterator[str]:
    """The URL of a port that answers no attempt to connect: its queue of connections is full."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        yield f"redis://127.0.0.1:{listener.getsockname()[1]}/0"


@asynccontextmanager
async def scripted(*replies: bytes, closes: bool = False) -> AsyncIterator[str]:
    """The URL of a server that says these things, one for each thing that it is told."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for reply in replies:
            if await reader.read(2**16):
                writer.write(reply)
        if not closes:
            await reader.read()
        writer.close()

    async with await asyncio.start_server(talk, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        yield f"redis://127.0.0.1:{port}/0"
