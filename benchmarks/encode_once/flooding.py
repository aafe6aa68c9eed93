"""A process that floods a server with requests about new pictures."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import TypedDict, cast

import psutil

from benchmarks.common import median
from benchmarks.encode_once.media import FreshMedia
from benchmarks.encode_once.sender import chat_body, chat_url, client_session, post, together

QUESTION = "What is in the picture?"
_END_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Flood:
    """What is sent."""

    url: str
    model: str
    clients: int
    """Each sends the next picture when it has the answer about the last one: one token."""
    side_px: int
    pictures: int
    """Made beforehand; those that are needed beyond cost the process time."""


class Flooded(TypedDict):
    """What came of it."""

    answers: int
    per_s: float
    """From the first request until it was told to stop; answers that came later do not count."""
    p50_ms: float | None
    """None: there was no answer in time."""


class Flooder:
    """That process. Its turns: `prepare`, `start`, `stop`."""

    def __init__(self, connection: Connection, process: psutil.Process) -> None:
        self._connection = connection
        self.process = process

    def prepare(self, flood: Flood) -> None:
        """Make the pictures: some seconds."""
        self._connection.send(flood)
        self._connection.recv()

    def start(self) -> None:
        """From now on."""
        self._connection.send(None)

    def stop(self) -> Flooded:
        """No more requests; those under way are waited for. Raises RuntimeError where one failed."""
        self._connection.send(None)
        result = self._connection.recv()
        if isinstance(result, RuntimeError):
            raise result
        return cast("Flooded", result)


@contextmanager
def flooder() -> Iterator[Flooder]:
    """It lives until the block is left."""
    context = multiprocessing.get_context("spawn")
    connection, theirs = context.Pipe()
    process = context.Process(target=_main, args=(theirs,), name="flood", daemon=True)
    process.start()
    theirs.close()
    try:
        yield Flooder(connection, psutil.Process(process.pid))
    finally:
        connection.close()
        process.join(_END_S)
        if process.is_alive():
            process.kill()
            process.join()


def _main(connection: Connection) -> None:
    fresh = FreshMedia()
    with suppress(EOFError, BrokenPipeError):
        while True:
            flood: Flood = connection.recv()
            bodies = deque(_body(flood, fresh) for _ in range(flood.pictures))
            connection.send(None)
            connection.recv()

            def next_body(bodies: deque[bytes] = bodies, flood: Flood = flood) -> bytes:
                return bodies.popleft() if bodies else _body(flood, fresh)

            connection.send(asyncio.run(_flood(connection, flood, next_body)))


def _body(flood: Flood, fresh: FreshMedia) -> bytes:
    part = fresh.photo(flood.side_px, flood.side_px).part()
    return json.dumps(chat_body(flood.model, part, QUESTION)).encode()


async def _flood(
    connection: Connection, flood: Flood, next_body: Callable[[], bytes]
) -> Flooded | RuntimeError:
    """Until the other end says something."""
    stopped = asyncio.ensure_future(asyncio.to_thread(connection.recv))
    times_ms: list[float] = []
    started_s = time.perf_counter()
    async with client_session() as session:

        async def work() -> None:
            while not stopped.done():
                ms = await post(session, chat_url(flood.url), next_body())
                if not stopped.done():
                    times_ms.append(ms)

        async def seconds() -> float:
            await stopped
            return time.perf_counter() - started_s

        try:
            duration_s, _ = await asyncio.gather(seconds(), together([work() for _ in range(flood.clients)]))
        except RuntimeError as error:
            return error
    p50_ms = median(times_ms) if times_ms else None
    return Flooded(answers=len(times_ms), per_s=len(times_ms) / duration_s, p50_ms=p50_ms)
