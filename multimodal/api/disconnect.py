"""Work for a client that went away is aborted."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from types import TracebackType

from starlette.types import Receive

from multimodal.api.errors import ClientDisconnected


class AbortOnDisconnect:
    """Cancel the body of this context when the client goes away, and raise ClientDisconnected from it.

    Works like `asyncio.timeout`: the body stays in the task that it runs in. That matters for generators
    that hold timeouts or task groups across a yield: they must be resumed and closed in one task. Enter it
    once the body of the request has been read.
    """

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._gone = False

    async def __aenter__(self) -> None:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("AbortOnDisconnect needs a running task")
        self._task = task
        self._cancelling = task.cancelling()
        self._watcher = asyncio.create_task(self._watch())

    async def _watch(self) -> None:
        with suppress(Exception):  # a transport that fails is a client that is gone
            while (await self._receive())["type"] != "http.disconnect":
                pass
        self._gone = True
        self._task.cancel()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._watcher.cancel()
        if not self._gone:
            return
        cancelled_by_others = self._task.uncancel() > self._cancelling
        if not cancelled_by_others and (kind is None or issubclass(kind, asyncio.CancelledError)):
            raise ClientDisconnected("The client closed the connection.")
