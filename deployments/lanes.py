"""Live requests go first: what one replica works on, in two lanes.

A lane is held around the work of a model only, never while another deployment is called: so nobody who holds
one waits for another.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext

from multimodal.types import RequestContext

PATIENCE_S = 2.0
"""How long work in the background gives way to live requests, seconds; then it is done once."""
AT_ONCE = 1
"""Calls in the background that a replica works on at the same time."""
ON_THE_WAY = 2
"""Calls in the background that one call has with another deployment: one in work, one ready to follow."""


class Lane:
    """Live calls enter at once. Those in the background enter one at a time, in order, while there are none.

    A replica that never is without live calls still does some work in the background: a call waits for
    `patience_s` at most once it is its turn.
    """

    def __init__(self, *, at_once: int = AT_ONCE, patience_s: float = PATIENCE_S) -> None:
        self._live = 0
        self._quiet = asyncio.Event()
        self._quiet.set()
        self._places = asyncio.Semaphore(at_once)
        self._patience_s = patience_s

    def __call__(self, ctx: RequestContext) -> AbstractAsyncContextManager[None]:
        """The lane of a request, from its priority: `async with lane(ctx): ...`."""
        return self._background() if in_background(ctx) else self._first()

    @asynccontextmanager
    async def _first(self) -> AsyncIterator[None]:
        self._live += 1
        self._quiet.clear()
        try:
            yield
        finally:
            self._live -= 1
            if self._live == 0:
                self._quiet.set()

    @asynccontextmanager
    async def _background(self) -> AsyncIterator[None]:
        async with self._places:
            await self._give_way()
            yield

    async def _give_way(self) -> None:
        try:
            async with asyncio.timeout(self._patience_s):
                while self._live:
                    await self._quiet.wait()
        except TimeoutError:
            return  # it has waited long enough


class Few:
    """For deployments that call others: what goes on in the background has few calls on the way at a time,
    so that it never fills the queue of another replica, nor waits there for longer than a call may take."""

    def __init__(self, at_once: int = ON_THE_WAY) -> None:
        self._places = asyncio.Semaphore(at_once)

    def __call__(self, ctx: RequestContext) -> AbstractAsyncContextManager[None]:
        """`async with few(ctx): ...` around each call; live requests are not held up."""
        return self._place() if in_background(ctx) else nullcontext()

    @asynccontextmanager
    async def _place(self) -> AsyncIterator[None]:
        async with self._places:
            yield


def in_background(ctx: RequestContext) -> bool:
    """Whether nobody waits for it: smaller priorities are served first, and live requests have 0."""
    return ctx.priority > 0
