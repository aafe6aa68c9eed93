"""The events of a service as a stream of server-sent events.

When the status line goes out: with the first event that the client is told of, or the first GenerationStep,
so that everything that can go wrong before gets its own status. Errors after that are the last event.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from typing import Generic, TypeVar

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from multimodal.api.disconnect import AbortOnDisconnect
from multimodal.api.errors import ClientDisconnected, as_error
from multimodal.api.exchange import Exchange
from multimodal.api.sse import error_event
from multimodal.errors import MultimodalError
from multimodal.types import GenerationStep

E = TypeVar("E")


class EventStream(Response, Generic[E]):
    """Consumes the events in the task of the request, and closes them whatever happens."""

    media_type = "text/event-stream"

    def __init__(self, events: AsyncGenerator[E, None], exchange: Exchange) -> None:
        self.status_code = 200
        self.background = None
        self.init_headers({"cache-control": "no-cache", "x-accel-buffering": "no"})
        self._events = events
        self._exchange = exchange
        self._started = False

    @abstractmethod
    def _format(self, event: E) -> bytes:
        """What the client is told of an event; nothing where it is told nothing. Called once for each."""

    @abstractmethod
    def _ending(self) -> Iterator[bytes]:
        """What the client is told at the end. Raises MultimodalError where something is missing."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Raises errors only before the status line; later ones go to the client and into the exchange."""
        try:
            async with AbortOnDisconnect(receive), aclosing(self._events):
                await self._stream(send)
        except ClientDisconnected as error:
            if not self._started:
                raise
            self._exchange.error = error

    async def _stream(self, send: Send) -> None:
        try:
            async for event in self._events:
                data = self._format(event)
                if data or isinstance(event, GenerationStep):
                    await self._send(send, data)
            if not self._started:
                raise MultimodalError("The generator ended without an answer. Try again.")
            await self._send(send, b"".join(self._ending()), more=False)
        except ClientDisconnected:
            raise
        except Exception as error:
            if not self._started:
                raise
            self._exchange.error = as_error(error, self._exchange.request_id)
            await self._send(send, error_event(self._exchange.error), more=False)

    async def _send(self, send: Send, data: bytes, *, more: bool = True) -> None:
        """One write; the status line before the first."""
        try:
            if not self._started:
                self._started = True
                await send(
                    {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
                )
            if data or not more:
                await send({"type": "http.response.body", "body": data, "more_body": more})
        except OSError:
            raise ClientDisconnected("The client closed the connection.") from None
