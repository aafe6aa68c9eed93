"""Request bodies: bytes -> JSON -> schema -> whatever the endpoint works with."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import from_json
from starlette.requests import Request

from multimodal.api.errors import InvalidJson, from_validation
from multimodal.errors import InvalidRequest

M = TypeVar("M", bound=BaseModel)
R = TypeVar("R")

LARGE_BYTES = 256 * 1024
"""Bodies from here on are parsed in a thread, about 1 ms of parsing and decoding."""

MAX_JSON_VALUES = 500_000
"""Upper bound for the values of one body. 64 MiB of "[[],[],..." would become gigabytes of objects. Commas
and brackets in strings count too; base64 has none, and no model reads a text with this many."""


async def read_body(request: Request, model: type[M], convert: Callable[[M], R]) -> R:
    """Read, parse and convert the body, whatever its Content-Type says.

    Large bodies are handled in a thread, and nothing keeps the raw bytes or the schema alive afterwards.
    Raises InvalidRequest (also of its subclasses) and whatever `convert` raises.
    """
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
    if len(body) < LARGE_BYTES:
        return convert(parse(model, body))
    return await asyncio.to_thread(lambda: convert(parse(model, body)))


def parse(model: type[M], body: bytearray) -> M:
    """Check the body against the schema, and empty it. Raises InvalidRequest."""
    if sum(map(body.count, (b",", b"[", b"{"))) > MAX_JSON_VALUES:
        raise InvalidRequest(f"The body has over {MAX_JSON_VALUES} JSON values. Send less.")
    try:
        value: object = from_json(body, allow_inf_nan=False, cache_strings="keys")
    except ValueError as error:
        # The parser's message tells the place, and never repeats the input.
        raise InvalidJson(f"The body is not valid JSON: {error}.") from None
    body.clear()
    if not isinstance(value, dict):
        raise InvalidRequest("The body must be a JSON object.")
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise from_validation(error.errors(include_url=False, include_input=False)) from None
