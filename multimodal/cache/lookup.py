"""One lookup in Redis: see `multimodal.cache.remote`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from enum import Enum, auto

from redis.exceptions import InvalidResponse, ResponseError

from multimodal.cache.breaker import Attempt
from multimodal.cache.counts import Tier, count_error
from multimodal.cache.wire import Line, Wire, reason_of
from multimodal.config import CacheArgs

FIRST_BYTES = 64 * 1024
"""What the first round trip brings of a value."""
PIECE_BYTES = 1024 * 1024
"""What others bring. Redis serves nobody else while it copies one: a fraction of a millisecond."""

PATIENCE_S = 1.0
"""How much longer than anybody waits a lookup goes on for a small value, or for none, seconds."""


class _Stage(Enum):
    QUEUED = auto()
    """All connections are in use."""
    CONNECTING = auto()
    ASKED = auto()
    READING = auto()
    """There is a large value."""


class Lookup:
    """A lookup under way. `result` waits for it, as long as it may; `task` ends later, perhaps.

    Args:
        args: limits of time and size.
        name: the key in Redis.
        attempt: gets its verdict here.
        gate: limits how many have a connection.
        now: seconds, monotonic.
    """

    def __init__(
        self,
        args: CacheArgs,
        name: str,
        attempt: Attempt,
        wire: Wire,
        gate: asyncio.Semaphore,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._args = args
        self._name = name
        self._attempt = attempt
        self._wire = wire
        self._gate = gate
        self._now = now
        self._stage = _Stage.QUEUED
        self._awaited = True
        self._asked_s = 0.0
        self._size: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.task = asyncio.ensure_future(self._run())
        self.task.add_done_callback(lambda _: attempt.abandon())

    async def result(self) -> bytes | None:
        """The value. None: there is none, or it did not come in time."""
        try:
            until_s = self._now() + self._args.redis_wait_s
            await self._wait_until(until_s)
            if self._size.done() and not self.task.done():
                rest_s = self._size.result() / self._args.redis_bytes_per_s
                until_s = max(until_s, self._now()) + rest_s
                await self._wait_until(until_s)
            if self.task.done() and not self.task.cancelled():
                return self.task.result()
            self._give_up(self._now() - until_s)
            return None
        finally:
            self._leave()

    async def _wait_until(self, until_s: float) -> None:
        """What the socket holds by then is in time, however late a busy loop comes to look at it.

        For both asyncio and uvloop read from sockets before they see whose time is up.
        """
        awaited: set[asyncio.Future[bytes | None] | asyncio.Future[int]] = {self.task}
        if not self._size.done():
            awaited.add(self._size)
        left_s = max(0.0, until_s - self._now())
        await asyncio.wait(awaited, timeout=left_s, return_when=asyncio.FIRST_COMPLETED)

    def _give_up(self, late_s: float) -> None:
        """Redis is to blame where it was silent for half of the wait and the event loop was on time."""
        count_error(Tier.REDIS, "timeout")
        enough_s = self._args.redis_wait_s / 2
        silent = self._stage is _Stage.ASKED and self._now() - self._asked_s >= enough_s
        slow = self._stage is _Stage.READING and late_s < enough_s
        if silent or slow:
            self._attempt.fail("timeout")

    def _leave(self) -> None:
        """Nobody waits any more. A connection that is made, and a short reply, are waited for by the task."""
        self._awaited = False
        if self._stage in (_Stage.QUEUED, _Stage.READING):
            self.task.cancel()

    async def _run(self) -> bytes | None:
        try:
            async with self._gate:
                self._stage = _Stage.CONNECTING
                patience_s = PATIENCE_S + self._args.redis_wait_s
                async with asyncio.timeout(patience_s) as limit, self._wire.line() as line:
                    data = await self._read(line, limit)
            if self._awaited or self._now() - self._asked_s <= self._args.redis_wait_s:
                self._attempt.succeed()
            return data
        except Exception as error:  # whatever it is, it is a miss
            self._failed(reason_of(error))
            return None

    async def _read(self, line: Line, limit: asyncio.Timeout) -> bytes | None:
        size_bytes, first = await self._ask(line)
        if size_bytes > self._args.value_bytes:
            count_error(Tier.REDIS, "too_large")
        elif size_bytes == len(first):
            return first if first else None
        elif self._awaited:
            limit.reschedule(None)  # whoever waits ends it
            return await self._read_rest(line, size_bytes, first)
        return None

    async def _ask(self, line: Line) -> tuple[int, bytes]:
        """How large the value is, and its beginning. Another value may have come in between."""
        await line.send(("STRLEN", self._name), ("GETRANGE", self._name, 0, FIRST_BYTES - 1))
        self._stage, self._asked_s = _Stage.ASKED, self._now()
        size_bytes, first = await line.receive(), await line.receive()
        for reply in (size_bytes, first):
            if isinstance(reply, ResponseError):
                raise reply
        if not isinstance(size_bytes, int) or not isinstance(first, bytes):
            raise InvalidResponse("replies of other kinds")
        return size_bytes, first

    async def _read_rest(self, line: Line, size_bytes: int, first: bytes) -> bytes | None:
        self._stage = _Stage.READING
        self._size.set_result(size_bytes)
        pieces = [first]
        for start in range(len(first), size_bytes, PIECE_BYTES):
            end = min(start + PIECE_BYTES, size_bytes)
            await line.send(("GETRANGE", self._name, start, end - 1))
            piece = await line.receive()
            if not isinstance(piece, bytes) or len(piece) != end - start:
                return None  # it expired, or another one took its place
            pieces.append(piece)
        return b"".join(pieces)

    def _failed(self, reason: str) -> None:
        if self._awaited or reason != "timeout":  # that was counted when nobody wanted to wait longer
            count_error(Tier.REDIS, reason)
        self._attempt.fail(reason)
