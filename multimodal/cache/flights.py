"""Work in flight, shared: requests for one key at the same time have it done once.

The work runs on a task and in a context of its own, so that it does not end with the request that began it
while another one waits for it. It is cancelled when nobody waits any more. A failure that says something of
the medium itself (it cannot be decoded) is the answer for all; any other failure may have had to do with the
request that led (its deadline, its limits, its replica), and those who follow lead themselves, one after the
other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import Context
from typing import TypeVar, cast

from multimodal.errors import DeadlineExceeded, InvalidMedia, MultimodalError, UnsupportedMedia
from multimodal.identity import FeatureKey
from multimodal.types import RequestContext

T = TypeVar("T")

MOST_FAILURES = 3
"""After so many failed leaders a follower gives up: what they met is not their own."""

OF_THE_MEDIUM = (InvalidMedia, UnsupportedMedia)
"""Limits are not: those of an upload differ. Nor is an unknown file: another one may have the same bytes."""


class Flights:
    """Of one event loop."""

    def __init__(self) -> None:
        self._flights: dict[tuple[str, bool], _Flight] = {}

    def __len__(self) -> int:
        return len(self._flights)

    async def join(self, ctx: RequestContext, key: FeatureKey, work: Callable[[], Awaitable[T]]) -> T:
        """The result of `work`, or of the work of another caller with this key.

        Live requests never wait for work in the background, which gives way to others; the other way round
        they do. `work` has to end at the deadline of its request by itself.
        Raises what the work raises, as an error of the caller's own, and DeadlineExceeded.
        """
        failures = 0
        while (flight := self._under_way(ctx, key)) is not None:
            if not await flight.landed(ctx.remaining_s()):
                raise DeadlineExceeded("What this request waited for took too long. Try again later.")
            if (error := flight.error()) is None:
                return cast(T, flight.result())
            failures += not isinstance(error, asyncio.CancelledError)
            if isinstance(error, OF_THE_MEDIUM) or failures == MOST_FAILURES:
                raise _copy(error)
        return await self._lead(ctx, key, work)

    async def _lead(self, ctx: RequestContext, key: FeatureKey, work: Callable[[], Awaitable[T]]) -> T:
        flight = _Flight((key.digest, _in_background(ctx)), work, self._leave)
        self._flights[flight.place] = flight
        await flight.landed()
        error = flight.error()
        try:
            if error is not None:
                raise error
            return cast(T, flight.result())
        finally:
            # The error knows this frame, and both lead back to it: a cycle that would keep media in memory.
            del error, flight

    def _under_way(self, ctx: RequestContext, key: FeatureKey) -> _Flight | None:
        live = self._flights.get((key.digest, False))
        return live or (self._flights.get((key.digest, True)) if _in_background(ctx) else None)

    def _leave(self, flight: _Flight) -> None:
        """Called before anybody who waits for it goes on."""
        if self._flights.get(flight.place) is flight:
            del self._flights[flight.place]


class _Flight:
    def __init__(
        self,
        place: tuple[str, bool],
        work: Callable[[], Awaitable[object]],
        on_end: Callable[[_Flight], None],
    ) -> None:
        self.place = place
        # Ray Serve keeps in the context which request a call is made for, and cancels the calls with it.
        self._task = asyncio.get_running_loop().create_task(_awaited(work), context=Context())
        self._task.add_done_callback(_see_error)
        self._task.add_done_callback(lambda _: on_end(self))
        self._waiting = 0

    async def landed(self, patience_s: float | None = None) -> bool:
        """Whether it has, within this time. Whoever is the last to go without it cancels the work."""
        self._waiting += 1
        try:
            await asyncio.wait([self._task], timeout=patience_s)
        finally:
            self._waiting -= 1
            if not self._waiting and not self._task.done():
                self._task.cancel()
        return self._task.done()

    def error(self) -> BaseException | None:
        """CancelledError says that the work was cancelled, not the wait for it."""
        return asyncio.CancelledError() if self._task.cancelled() else self._task.exception()

    def result(self) -> object:
        """Of work that has ended well."""
        return self._task.result()


def _in_background(ctx: RequestContext) -> bool:
    return ctx.priority > 0


async def _awaited(work: Callable[[], Awaitable[T]]) -> T:
    return await work()


def _see_error(task: asyncio.Task[object]) -> None:
    """Whoever waits raises it; where nobody does any more, nobody misses it."""
    if not task.cancelled():
        task.exception()


def _copy(error: BaseException) -> BaseException:
    """Each caller names its own part in it."""
    if isinstance(error, MultimodalError):
        return type(error)(error.message, retry_after_s=error.retry_after_s)
    return error
