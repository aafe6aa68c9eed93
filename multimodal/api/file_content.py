"""The bytes of a file as an answer: whole, a range, or the next piece of one."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from urllib.parse import quote

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from multimodal.api.disconnect import AbortOnDisconnect
from multimodal.api.errors import ClientDisconnected, as_error, error_response
from multimodal.api.exchange import exchange_of
from multimodal.api.file_pieces import PIECE_HEADER
from multimodal.api.file_range import RangeNotSatisfiable, Span, is_known, span_of
from multimodal.errors import MultimodalError
from multimodal.filenames import clean_filename
from multimodal.library.files import FileLibrary
from multimodal.library.records import FileRecord

IMMUTABLE = "private, max-age=31536000, immutable"
"""For what never changes: a year, the most that is asked for."""

REVALIDATED = "private, no-cache"
"""Asked for again every time, so that a deleted file is gone at once; the ETag saves sending it."""


def content_response(request: Request, files: FileLibrary, record: FileRecord) -> Response:
    """The answer to a GET or HEAD of a file's bytes."""
    etag, size_bytes = f'"{record.content.sha256}"', record.content.size_bytes
    headers = {**_headers(record), "etag": etag}
    if is_known(request.headers, etag):
        return Response(None, 304, headers)
    if request.method == "HEAD":
        return Response(None, 200, {**headers, "content-length": str(size_bytes)})
    try:
        span = span_of(request.headers, etag, size_bytes)
    except RangeNotSatisfiable as error:
        return _unsatisfiable(request, error, size_bytes)
    whole = Span(start=0, end=size_bytes)
    if span is not None:
        headers["content-range"] = f"bytes {span.start}-{span.end - 1}/{size_bytes}"
    headers["content-length"] = str((span or whole).size_bytes)
    sent = _first_piece(request.headers, span or whole)
    return ContentResponse(files, record, sent, 200 if span is None else 206, headers)


def thumbnail_response(jpeg: bytes) -> Response:
    """The answer to a GET of a small picture."""
    return Response(jpeg, 200, {**_SAFE, "cache-control": IMMUTABLE}, media_type="image/jpeg")


_SAFE: Mapping[str, str] = {"x-content-type-options": "nosniff", "content-security-policy": "sandbox"}
"""What was uploaded is shown as nothing but what it is, and runs nothing."""


def _headers(record: FileRecord) -> dict[str, str]:
    return {
        **_SAFE,
        "content-type": record.media_type,
        "content-disposition": _attachment(record.filename),
        "accept-ranges": "bytes",
        "cache-control": REVALIDATED,
    }


def _attachment(filename: str) -> str:
    """RFC 6266: the name in ASCII, and in full as RFC 8187 has it."""
    name = clean_filename(filename)
    plain = name.encode("ascii", "replace").decode().replace("?", "_").replace("%", "_")
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"


def _first_piece(headers: Headers, span: Span) -> Span:
    """What is sent now: all, unless the proxy asks for pieces (see `file_pieces`)."""
    limit = headers.get(PIECE_HEADER, "")
    if not (limit.isascii() and limit.isdecimal() and len(limit) < 19):
        return span
    return Span(start=span.start, end=min(span.end, span.start + int(limit)))


def _unsatisfiable(request: Request, error: RangeNotSatisfiable, size_bytes: int) -> Response:
    exchange_of(request.scope).error = error
    response = error_response(error)
    response.headers["content-range"] = f"bytes */{size_bytes}"
    return response


class ContentResponse(Response):
    """Sends as it reads. What goes wrong before the first piece has its own status; after that the answer is
    left unfinished: the server cuts the connection, and the client sees that something is missing."""

    def __init__(
        self, files: FileLibrary, record: FileRecord, span: Span, status: int, headers: Mapping[str, str]
    ) -> None:
        self.status_code = status
        self.background = None
        self.init_headers(headers)
        self._span = span
        self._pieces = _closing(files.read(record, span.start, span.end))
        self._started = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Raises what the library raises, before the status line only."""
        exchange = exchange_of(scope)
        try:
            async with AbortOnDisconnect(receive), aclosing(self._pieces) as pieces:
                await self._send(pieces, send)
        except Exception as error:
            if not self._started:
                raise
            exchange.error = as_error(error, exchange.request_id)

    async def _send(self, pieces: AsyncIterator[bytes], send: Send) -> None:
        left_bytes = self._span.size_bytes
        piece = await anext(pieces, b"")
        self._started = True
        await _write(
            send, {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
        )
        while piece:
            left_bytes -= len(piece)
            await _write(send, {"type": "http.response.body", "body": piece, "more_body": True})
            piece = await anext(pieces, b"")
        if left_bytes:
            raise MultimodalError("The file's bytes could not be read to the end. Try again.")
        await _write(send, {"type": "http.response.body", "body": b"", "more_body": False})


async def _write(send: Send, message: dict[str, object]) -> None:
    try:
        await send(message)
    except OSError:
        raise ClientDisconnected("The client closed the connection.") from None


async def _closing(pieces: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    """The same, closed when this is."""
    try:
        async for piece in pieces:
            if piece:
                yield piece
    finally:
        if isinstance(pieces, AsyncGenerator):
            await pieces.aclose()
