"""No body over the limit is ever held in memory."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from multimodal.api.errors import ClientDisconnected
from multimodal.errors import BodyTooLarge

DRAIN_FACTOR = 2
"""A refused body is read and dropped up to this multiple of the limit: most clients write all before they
read the answer, and would see a broken connection instead of it."""

DRAIN_TIMEOUT_S = 3.0
"""So that the answer comes soon even to a client that writes slowly."""


class BodyLimitMiddleware:
    """Refuse bodies over `limit_bytes` by their Content-Length, or as soon as that many bytes came."""

    def __init__(self, app: ASGIApp, *, limit_bytes: int) -> None:
        self._app = app
        self._limit_bytes = limit_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        length = headers.get("content-length", "")
        if length.isdecimal() and int(length) > self._limit_bytes:
            if "expect" not in headers:  # a client that asks first has not begun to write
                await self._drain(receive)
            raise self._too_large()
        await self._app(scope, self._counted(receive), send)

    def _counted(self, receive: Receive) -> Receive:
        left_bytes = self._limit_bytes

        async def counted() -> Message:
            nonlocal left_bytes
            message = await receive()
            left_bytes -= len(message.get("body", b""))
            if left_bytes < 0:
                if message.get("more_body", False):
                    await self._drain(receive)
                raise self._too_large()
            return message

        return counted

    async def _drain(self, receive: Receive) -> None:
        budget_bytes = DRAIN_FACTOR * self._limit_bytes
        with suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_TIMEOUT_S):
                while budget_bytes > 0:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise ClientDisconnected("The client closed the connection.")
                    budget_bytes -= len(message.get("body", b""))
                    if not message.get("more_body", False):
                        return

    def _too_large(self) -> BodyTooLarge:
        return BodyTooLarge(
            f"The request body is over {self._limit_bytes} bytes. Send fewer or smaller media."
        )
