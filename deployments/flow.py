"""Keeps large uploads out of memory.

Ray Serve 2.60 reads a request's body as fast as the client sends it, into one queue in the proxy and from
there into another in the replica, both without a bound: an upload of 2 GiB can lie in memory twice. With
these bounds the proxy stops reading from a client that is faster than the replica.

Answers are not bounded here: see `multimodal.api.file_pieces`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from types import ModuleType
from typing import TYPE_CHECKING

from ray.serve._private import proxy, replica
from ray.serve._private.direct_ingress_http_util import ASGIDIReceiveProxy
from ray.serve._private.http_util import ASGIReceiveProxy, MessageQueue

if TYPE_CHECKING:
    from ray.serve._private.common import RequestMetadata
    from starlette.types import Message, Receive, Scope

QUEUED_BYTES = 4 * 1024 * 1024
"""Of one request's body in the proxy. What is over it is the last message, which uvicorn keeps small."""


class BoundedMessageQueue(MessageQueue):
    """The proxy's queue of one request's body. Putting waits for room; the client waits with it."""

    def __init__(self, limit_bytes: int = QUEUED_BYTES) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._limit_bytes = limit_bytes
        self._queued_bytes = 0
        self._room = asyncio.Event()
        self._room.set()

    async def __call__(self, message: Message) -> None:
        """Wait until there is room, then put. Raises RuntimeError once the queue is closed."""
        await self._room.wait()
        await super().__call__(message)

    def put_nowait(self, message: Message) -> None:
        """Put without waiting."""
        super().put_nowait(message)
        self._queued_bytes += len(message.get("body", b""))
        if self._queued_bytes >= self._limit_bytes:
            self._room.clear()

    def get_messages_nowait(self) -> list[Message]:
        """Everything that is queued."""
        messages: list[Message] = super().get_messages_nowait()
        self._queued_bytes = 0
        self._room.set()
        return messages

    def close(self) -> None:
        """Nothing is put any more, and nothing waits."""
        super().close()  # type: ignore[no-untyped-call]
        self._room.set()


class BoundedReceive(ASGIReceiveProxy):
    """The replica's end: asks the proxy for more only when the app has taken what came before."""

    def __init__(
        self,
        scope: Scope,
        request_metadata: RequestMetadata,
        receive_asgi_messages: Callable[[RequestMetadata], Awaitable[bytes]],
    ) -> None:
        async def receive_when_taken(metadata: RequestMetadata) -> bytes:
            if not self.queue.empty():
                self._taken.clear()
                await self._taken.wait()
            return await receive_asgi_messages(metadata)

        super().__init__(scope, request_metadata, receive_when_taken)
        self._taken = asyncio.Event()

    async def __call__(self) -> Message:
        """The next message."""
        message: Message = await super().__call__()
        if self.queue.empty():
            self._taken.set()
        return message


class BoundedDirectReceive(ASGIDIReceiveProxy):
    """Where the replica has the client's connection itself: asks for more only when the app has taken what
    came before."""

    def __init__(self, scope: Scope, receive: Receive, user_event_loop: asyncio.AbstractEventLoop) -> None:
        async def receive_when_taken() -> Message:
            if not self.queue.empty():
                self._taken.clear()
                await self._taken.wait()
            return await receive()

        super().__init__(scope, receive_when_taken, user_event_loop)
        self._taken = asyncio.Event()

    async def __call__(self) -> Message:
        """The next message."""
        message: Message = await super().__call__()
        if self.queue.empty():
            self._taken.set()
        return message


def bound_proxy() -> None:
    """Call in the proxy's process before it takes requests."""
    _replace(proxy, "MessageQueue", BoundedMessageQueue)


def bound_replica() -> None:
    """Call in a replica that is an ingress before it takes requests: its module does, when it is imported."""
    _replace(replica, "ASGIReceiveProxy", BoundedReceive)
    _replace(replica, "ASGIDIReceiveProxy", BoundedDirectReceive)


def _replace(module: ModuleType, name: str, ours: type) -> None:
    if not hasattr(module, name):
        raise RuntimeError("This version of Ray Serve receives bodies in another way than 2.60 does.")
    setattr(module, name, ours)
