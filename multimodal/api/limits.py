"""No body over the limit is ever held in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from multimodal.api.errors import ClientDisconnected
from multimodal.errors import BodyTooLarge, InvalidRequest

DRAIN_FACTOR = 2
"""A refused body is read and dropped up to this multiple of the limit: most clients write all before they
read the answer, and would see a broken connection instead of it."""

DRAIN_TIMEOUT_S = 3.0
"""So that the answer comes soon even to a client that writes slowly."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BodyLimit:
    """How large a body may be, and what is said of a larger one."""

    limit_bytes: int
    too_large: Callable[[], InvalidRequest]


Endpoint = tuple[str, str]
"""Method and path."""


class BodyLimitMiddleware:
    """Refuse bodies over `limit_bytes` by their Content-Length, or as soon as that many bytes came.

    Endpoints that stream their bodies have limits of their `own`.
    """

    def __init__(
        self, app: ASGIApp, *, limit_bytes: int, own: Mapping[Endpoint, BodyLimit] | None = None
    ) -> None:
        self._app = app
        self._usual = BodyLimit(
            limit_bytes=limit_bytes,
            too_large=lambda: BodyTooLarge(
                f"The request body is over {limit_bytes} bytes. Send fewer or smaller media."
            ),
        )
        self._own = own or {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limit = self._own.get((scope["method"], scope["path"]), self._usual)
        headers = Headers(scope=scope)
        length = headers.get("content-length", "")
        if length.isdecimal() and int(length) > limit.limit_bytes:
            if "expect" not in headers:  # a client that asks first has not begun to write
                await _drain(receive, limit)
            raise limit.too_large()
        await self._app(scope, _counted(receive, limit), send)


def _counted(receive: Receive, limit: BodyLimit) -> Receive:
    left_bytes = limit.limit_bytes

    async def counted() -> Message:
        nonlocal left_bytes
        message = await receive()
        left_bytes -= len(message.get("body", b""))
        if left_bytes < 0:
            if message.get("more_body", False):
                await _drain(receive, limit)
            raise limit.too_large()
        return message

    return counted


async def _drain(receive: Receive, limit: BodyLimit) -> None:
    budget_bytes = DRAIN_FACTOR * limit.limit_bytes
    with suppress(TimeoutError):
        async with asyncio.timeout(DRAIN_TIMEOUT_S):
            while budget_bytes > 0:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ClientDisconnected("The client closed the connection.")
                budget_bytes -= len(message.get("body", b""))
                if not message.get("more_body", False):
                    return
