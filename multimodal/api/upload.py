"""Uploads: multipart/form-data with one file, streamed to disk, or elsewhere, as it comes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from tempfile import SpooledTemporaryFile
from typing import Protocol, TypeVar

from pydantic import BaseModel, ValidationError
from python_multipart.multipart import parse_options_header
from starlette.requests import Request

from multimodal.api.errors import from_validation
from multimodal.api.form import FILE, Form
from multimodal.api.limits import DRAIN_TIMEOUT_S
from multimodal.errors import InvalidMedia, InvalidRequest

M = TypeVar("M", bound=BaseModel)
R = TypeVar("R")

SPOOL_BYTES = 1024 * 1024
"""Smaller files never touch the disk."""

WRITE_BYTES = 256 * 1024
"""How much of a file is gathered before it is written, in a thread."""


STREAM_BYTES = 1024 * 1024
"""The same, of a file that may be large."""


class Sink(Protocol):
    """Takes the bytes of a file as they come: in threads, one call at a time."""

    def write(self, data: bytes, /) -> object:
        """Append. May block, and may raise InvalidRequest."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Uploaded:
    """The file of a form."""

    data: bytes = field(repr=False)
    declared_type: str | None
    """Its Content-Type, lower case and without parameters; never trusted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Streamed:
    """The file of a form whose bytes went elsewhere."""

    filename: str | None
    """As the client gave it; never trusted."""
    size_bytes: int


def is_form(request: Request) -> bool:
    """Whether the body says that it is multipart/form-data."""
    kind, _ = parse_options_header(request.headers.get("content-type"))
    return kind == b"multipart/form-data"


async def read_form(
    request: Request, model: type[M], convert: Callable[[M, Uploaded | None], R], *, limit_bytes: int
) -> R:
    """Read, parse and convert a form. The file is in the field `file`; without one `convert` gets None.

    `name[]` makes a list, `name[key]` an object; empty fields count as left out, unknown ones are ignored.
    Validation, `convert` and the reading of the file happen in a thread; nothing stays on disk afterwards.

    Raises:
        InvalidRequest: no form, a damaged one, wrong values, a second or an empty file, too many fields.
        MediaTooLarge: the file has more than `limit_bytes`. The rest of it is not kept.
        ClientDisconnect: the client went away. And whatever `convert` raises.
    """
    with SpooledTemporaryFile(max_size=SPOOL_BYTES) as spool:
        form = await _received(request, model, spool, limit_bytes=limit_bytes, write_bytes=WRITE_BYTES)

        def finish() -> R:
            _write(form, spool)
            spool.seek(0)
            body = _validated(model, form.values())
            return convert(body, _uploaded(spool.read(), form))

        return await _in_thread(finish)


async def stream_form(
    request: Request, model: type[M], sink: Sink, *, limit_bytes: int
) -> tuple[M, Streamed | None]:
    """Read and parse a form whose file goes into a sink while it comes, about `STREAM_BYTES` at a time.

    Raises what `read_form` raises, and whatever the sink raises; the sink may have got a part of the file.
    """
    form = await _received(request, model, sink, limit_bytes=limit_bytes, write_bytes=STREAM_BYTES)

    def finish() -> M:
        _write(form, sink)
        return _validated(model, form.values())

    body = await _in_thread(finish)
    if not form.has_file:
        return body, None
    if not form.file_bytes:
        raise _empty()
    return body, Streamed(filename=form.filename, size_bytes=form.file_bytes)


F = TypeVar("F", Uploaded, Streamed)


def require_file(uploaded: F | None) -> F:
    """Raises InvalidRequest where a form came without its file."""
    if uploaded is None:
        raise InvalidRequest(f"{FILE} is required: send it as a file part of the form.", param=FILE)
    return uploaded


async def _received(
    request: Request, model: type[BaseModel], sink: Sink, *, limit_bytes: int, write_bytes: int
) -> Form:
    """The whole form, and in the sink all but what the form still holds of the file."""
    chunks = request.stream()
    try:
        form = Form(_boundary(request), frozenset(model.model_fields), limit_bytes)
        async for chunk in chunks:
            form.feed(chunk)
            if form.gathered_bytes >= write_bytes:
                await _in_thread(partial(_write, form, sink))
        form.require_whole()
    except InvalidRequest:
        await _drain(chunks)
        raise
    return form


def _write(form: Form, sink: Sink) -> None:
    data = b"".join(form.take())
    if data:
        sink.write(data)


def _empty() -> InvalidMedia:
    return InvalidMedia(f"{FILE} holds no data.", param=FILE)


def _uploaded(data: bytes, form: Form) -> Uploaded | None:
    if form.has_file and not data:
        raise _empty()
    return Uploaded(data=data, declared_type=form.declared_type) if form.has_file else None


def _boundary(request: Request) -> bytes:
    _, options = parse_options_header(request.headers.get("content-type"))
    if not is_form(request):
        raise InvalidRequest("Send the body as multipart/form-data.")
    if not options.get(b"boundary"):
        raise InvalidRequest("The Content-Type multipart/form-data must name the boundary of the parts.")
    return options[b"boundary"]


def _validated(model: type[M], values: dict[str, object]) -> M:
    try:
        return model.model_validate(values, strict=False)  # "0.2" is a number here, "true" a truth value
    except ValidationError as error:
        raise from_validation(error.errors(include_url=False, include_input=False)) from None


async def _in_thread(work: Callable[[], R]) -> R:
    """Like `asyncio.to_thread`, but never ends before the thread does: it uses a file that is closed next."""
    running = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        return await asyncio.shield(running)
    finally:
        if not running.done():
            await asyncio.wait([running])


async def _drain(chunks: AsyncIterator[bytes]) -> None:
    """Read on for a while: most clients write all before they read the answer. See `limits`."""
    with suppress(TimeoutError, InvalidRequest):
        async with asyncio.timeout(DRAIN_TIMEOUT_S):
            async for _ in chunks:
                pass
