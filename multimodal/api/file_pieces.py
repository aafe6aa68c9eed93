"""Large downloads through a proxy that does not wait for slow clients.

Ray Serve takes what a replica sends as fast as it comes, and keeps it in memory until the client has it. So a
download is asked for in pieces, the next one when the last has been written to the client: like nginx's slice
module. This runs in the proxy; the answer of the Gateway to the first piece has the headers of the whole.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

PIECE_HEADER = "x-multimodal-piece-bytes"
"""How much of the body the proxy wants. Set by the proxy only: it overwrites what a client sends."""

PIECE_BYTES = 4 * 1024 * 1024
"""What is on its way of one download at most: a few copies of it, in the replica and in the proxy."""

_CONTENT = re.compile(r"/v1/files/[^/]+/content")
_RANGE = re.compile(r"bytes (\d+)-\d+/\d+")


class PiecewiseDownloads:
    """Asks the app for files piece by piece, and gives the client the whole."""

    def __init__(self, app: ASGIApp, *, piece_bytes: int = PIECE_BYTES) -> None:
        self._app = app
        self._piece_bytes = piece_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "GET" or not _CONTENT.fullmatch(scope["path"]):
            await self._app(scope, receive, send)
            return
        scope = _copied(scope)
        MutableHeaders(scope=scope)[PIECE_HEADER] = str(self._piece_bytes)
        download = _Download(send, self._piece_bytes)
        await self._app(scope, receive, download.take)
        while download.goes_on:
            await self._app(download.next_request(scope), _without_body(receive), download.take)


@dataclass(slots=True)
class _Download:
    """One answer that comes in pieces."""

    send: Send
    piece_bytes: int
    place: int = 0
    """How far in the file the client is."""
    piece_end: int = 0
    """How far it is to come with the piece that is on its way."""
    end: int = 0
    """How far it is to come at all."""
    etag: str | None = None
    """None before the first piece."""
    refused: bool = False
    """The last piece was not what was asked for: nothing follows, and the server cuts the connection."""

    @property
    def goes_on(self) -> bool:
        """Whether the last piece was whole, and another one is to come."""
        return not self.refused and self.place == self.piece_end < self.end

    def next_request(self, scope: Scope) -> Scope:
        """The request for the next piece."""
        self.piece_end = min(self.place + self.piece_bytes, self.end)
        scope = _copied(scope)
        headers = MutableHeaders(scope=scope)
        for name in (PIECE_HEADER, "if-none-match"):
            del headers[name]
        headers["range"] = f"bytes={self.place}-{self.piece_end - 1}"
        headers["if-range"] = self.etag or ""
        return scope

    async def take(self, message: Message) -> None:
        """Stands in the place of the server's `send`."""
        if message["type"] == "http.response.start":
            await self._start(message)
        elif not self.refused:
            self.place += len(message.get("body", b""))
            more = message.get("more_body", False) or self.place < self.end
            await self.send({**message, "more_body": more})

    async def _start(self, message: Message) -> None:
        headers = Headers(raw=message["headers"])
        if self.etag is not None:
            self.refused = message["status"] != 206 or headers.get("etag") != self.etag
            return
        self.etag = headers.get("etag", "")
        if message["status"] in (200, 206):
            found = _RANGE.fullmatch(headers.get("content-range", ""))
            self.place = int(found[1]) if found else 0
            self.end = self.place + int(headers.get("content-length", "0"))
            self.piece_end = min(self.place + self.piece_bytes, self.end)
        await self.send(message)


def _copied(scope: Scope) -> Scope:
    """What is added to it, or to its headers, stays in it."""
    return {**scope, "headers": list(scope["headers"])}


def _without_body(receive: Receive) -> Receive:
    """Of a request whose body was read: an empty one, then whatever comes."""
    asked = False

    async def receive_next() -> Message:
        nonlocal asked
        if asked:
            return await receive()
        asked = True
        return {"type": "http.request", "body": b"", "more_body": False}

    return receive_next
