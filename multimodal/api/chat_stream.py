"""A chat answer as a stream of server-sent events.

When the status line goes out: with the first GenerationStep, so that everything that can go wrong before
(media that cannot be read, a full queue, a prompt that is too long) gets its own status. With
`include_stages` it goes out with the first stage; errors after that are the stream's last event.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from multimodal.api.disconnect import AbortOnDisconnect
from multimodal.api.errors import ClientDisconnected, as_error
from multimodal.api.exchange import Exchange
from multimodal.api.record import ChatRecord, StageLabels
from multimodal.api.sse import DONE, ChunkWriter, error_event
from multimodal.errors import MultimodalError
from multimodal.types import ChatEvent, GenerationStep, StageEvent


class ChatStream(Response):
    """Consumes the events in the task of the request, and closes them whatever happens."""

    media_type = "text/event-stream"

    def __init__(
        self,
        events: AsyncGenerator[ChatEvent, None],
        writer: ChunkWriter,
        record: ChatRecord,
        exchange: Exchange,
        *,
        labels: StageLabels | None,
        include_usage: bool,
    ) -> None:
        self.status_code = 200
        self.background = None
        self.init_headers({"cache-control": "no-cache", "x-accel-buffering": "no"})
        self._events = events
        self._writer = writer
        self._record = record
        self._exchange = exchange
        self._labels = labels
        self._include_usage = include_usage
        self._started = False

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
            await self._send(send, b"".join(self._ending()))
        except ClientDisconnected:
            raise
        except Exception as error:
            if not self._started:
                raise
            self._exchange.error = as_error(error, self._exchange.request_id)
            await self._send(send, error_event(self._exchange.error))
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    def _format(self, event: ChatEvent) -> bytes:
        self._record.see(event)
        if isinstance(event, GenerationStep):
            return self._writer.deltas(event.deltas, self._record.notes) if event.deltas else b""
        if isinstance(event, StageEvent) and self._labels is not None:
            return self._writer.stage(event, self._labels.label(event))
        return b""

    def _ending(self) -> Iterator[bytes]:
        if self._labels is not None:
            yield self._writer.stages(self._record.stages())
        if self._include_usage and self._exchange.usage is not None:
            yield self._writer.usage(self._exchange.usage)
        yield DONE

    async def _send(self, send: Send, data: bytes) -> None:
        """One write; the status line before the first."""
        try:
            if not self._started:
                self._started = True
                await send(
                    {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
                )
            if data:
                await send({"type": "http.response.body", "body": data, "more_body": True})
        except OSError:
            raise ClientDisconnected("The client closed the connection.") from None
