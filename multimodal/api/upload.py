"""Uploads: multipart/form-data with one file, streamed to disk as it comes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from tempfile import SpooledTemporaryFile
from typing import TypeVar

from pydantic import BaseModel, ValidationError
from python_multipart.multipart import parse_options_header
from starlette.requests import Request

from multimodal.api.errors import from_validation
from multimodal.api.form import FILE, Form
from multimodal.api.limits import DRAIN_TIMEOUT_S
from multimodal.errors import BodyTooLarge, InvalidMedia, InvalidRequest

M = TypeVar("M", bound=BaseModel)
R = TypeVar("R")

SPOOL_BYTES = 1024 * 1024
"""Smaller files never touch the disk."""

WRITE_BYTES = 256 * 1024
"""How much of a file is gathered before it is written, in a thread."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Uploaded:
    """The file of a form."""

    data: bytes = field(repr=False)
    declared_type: str | None
    """Its Content-Type, lower case and without parameters; never trusted."""


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
    chunks = request.stream()
    with SpooledTemporaryFile(max_size=SPOOL_BYTES) as spool:
        try:
            form = Form(_boundary(request), frozenset(model.model_fields), limit_bytes)
            await _receive(form, chunks, spool)
        except InvalidRequest:
            await _drain(chunks)
            raise

        def finish() -> R:
            spool.writelines(form.take())
            spool.seek(0)
            body = _validated(model, form.values())
            return convert(body, _uploaded(spool.read(), form))

        return await _in_thread(finish)


def require_file(uploaded: Uploaded | None) -> Uploaded:
    """Raises InvalidRequest where a form came without its file."""
    if uploaded is None:
        raise InvalidRequest(f"{FILE} is required: send it as a file part of the form.", param=FILE)
    return uploaded


async def _receive(form: Form, chunks: AsyncIterator[bytes], spool: SpooledTemporaryFile[bytes]) -> None:
    """Everything but what the form still holds of the file, which may be all of it."""
    async for chunk in chunks:
        form.feed(chunk)
        if form.gathered_bytes >= WRITE_BYTES:
            await _in_thread(partial(spool.writelines, form.take()))
    form.require_whole()


def _uploaded(data: bytes, form: Form) -> Uploaded | None:
    if form.has_file and not data:
        raise InvalidMedia(f"{FILE} holds no data.", param=FILE)
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
    with suppress(TimeoutError, BodyTooLarge):
        async with asyncio.timeout(DRAIN_TIMEOUT_S):
            async for _ in chunks:
                pass
