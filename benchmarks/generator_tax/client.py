"""Streams over HTTP that are only recorded while they come, and read when all have ended.

The client shares two cores with what it measures, so whatever can wait until after the turn does.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar, cast
from urllib.parse import urlsplit

import httptools
import uvloop

from benchmarks.load import Answer, SseReader, Streams

T = TypeVar("T")

TIMEOUT_S = 300.0
"""For one answer: longer than any turn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """One response as it came. Times are seconds on this process's clock."""

    sent_s: float
    """The connection was there already."""
    pieces: Sequence[tuple[float, bytes]]
    """What was read from the socket at once, and when."""


class Client:
    """Posts JSON to one URL; each request has a connection of its own."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "127.0.0.1", parts.port or 80
        self._head = (
            f"POST {parts.path} HTTP/1.1\r\nHost: {self._host}:{self._port}\r\n"
            "Content-Type: application/json\r\nAccept: text/event-stream\r\nConnection: close\r\n"
        )

    def turn(self, streams: Sequence[Sequence[bytes]]) -> list[Recorded]:
        """All streams at once, each sending its bodies one after the other; blocks until all have ended.

        Raises OSError when the server cannot be reached, TimeoutError after TIMEOUT_S.
        """
        return run(self._turn(streams))

    async def _turn(self, streams: Sequence[Sequence[bytes]]) -> list[Recorded]:
        async def stream(bodies: Sequence[bytes]) -> list[Recorded]:
            return [await self.post(body) for body in bodies]

        found = await asyncio.gather(*(stream(bodies) for bodies in streams))
        return [one for recorded in found for one in recorded]

    async def post(self, body: bytes) -> Recorded:
        """The whole answer: until the server closes the connection."""
        connection = await self.open(body)
        async with asyncio.timeout(TIMEOUT_S):
            await connection.ended
        return connection.recorded()

    async def open(self, body: bytes) -> Connection:
        """An answer that is only beginning."""
        request = f"{self._head}Content-Length: {len(body)}\r\n\r\n".encode() + body
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(
            lambda: Connection(request, loop.create_future()), self._host, self._port
        )
        return connection


def run(work: Coroutine[None, None, T]) -> T:
    """On the fastest event loop there is."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)


class Connection(asyncio.Protocol):
    """Sends one request and keeps what comes."""

    def __init__(self, request: bytes, ended: asyncio.Future[None]) -> None:
        self._request = request
        self._sent_s = 0.0
        self._transport: asyncio.Transport | None = None
        self.ended = ended
        self.pieces: list[tuple[float, bytes]] = []
        """So far, as in Recorded."""

    def recorded(self) -> Recorded:
        """What there is of it."""
        return Recorded(sent_s=self._sent_s, pieces=self.pieces)

    def abort(self) -> None:
        """Hang up."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._sent_s = time.perf_counter()
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self.pieces.append((time.perf_counter(), data))

    def connection_lost(self, error: Exception | None) -> None:
        if self.ended.done():
            return
        if error is None:
            self.ended.set_result(None)
        else:
            self.ended.set_exception(error)


class _Body:
    """What httptools found in the bytes that it was fed."""

    def __init__(self) -> None:
        self.data = b""
        self.complete = False

    def on_body(self, data: bytes) -> None:
        self.data += data

    def on_message_complete(self) -> None:
        self.complete = True


def payloads(recorded: Recorded, *, whole: bool = True) -> Iterator[tuple[float, bytes]]:
    """The body without HTTP's framing, and when each part of it came.

    Raises RuntimeError for another status than 200 and, where it should be `whole`, for an incomplete body.
    """
    body = _Body()
    parser = httptools.HttpResponseParser(body)
    for at_s, data in recorded.pieces:
        parser.feed_data(data)
        if body.data:
            if parser.get_status_code() != 200:
                raise RuntimeError(f"The server answered {parser.get_status_code()}: {body.data[:500]!r}")
            yield at_s, body.data
            body.data = b""
    if whole and not body.complete:
        raise RuntimeError("The answer ended early.")


def answer(recorded: Recorded) -> Answer:
    """A streamed completion. Raises RuntimeError for anything but a complete one."""
    reader = SseReader()
    for at_s, data in payloads(recorded):
        reader.feed(data, at_s)
    return reader.answer(recorded.sent_s)


def answers(client: Client, streams: Streams, body: Callable[[str], bytes]) -> list[Answer]:
    """One turn: `body` makes a request of a prompt."""
    found = client.turn([[body(prompt) for prompt in prompts] for prompts in streams])
    return [answer(one) for one in found]
