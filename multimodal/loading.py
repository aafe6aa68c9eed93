"""One attempt at the work on a medium: it is loaded when it is first wanted, and its stages are timed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from multimodal.cache.features import Origin
from multimodal.encode_once import KEPT, Content
from multimodal.identity import Feature
from multimodal.stages import Stages
from multimodal.types import Deferred, Media, RequestContext, StageEvent

LOAD, ENCODE = "load", "encode"
"""Stages of a medium, as events and metrics name them."""


class Attempt:
    """One attempt at the work on a medium."""

    def __init__(self, stages: Stages, ctx: RequestContext, content: Content, clock: StageClock) -> None:
        self.content = content
        self.clock = clock
        self.origins: list[Origin] = []
        """Of the features that there are so far."""
        self.loading = Loading(stages, ctx, content, self._watch)
        self._stages = stages
        self._arrivals: list[asyncio.Future[None]] = []
        self._closed = False

    @property
    def was_known(self) -> bool:
        """Nothing was encoded, and nobody was waited for."""
        return bool(self.origins) and KEPT.issuperset(self.origins)

    async def close(self) -> None:
        """Whoever shares what is being made of the medium goes on; nobody else needs it any more."""
        self._closed = True
        self.clock.close()
        self.loading.close()
        await _end(*self._arrivals)

    def _watch(self, media: Deferred[Media]) -> None:
        if self._closed:  # it is loaded for others
            return
        self.clock.enter(LOAD)
        self._arrivals.append(asyncio.ensure_future(self._arrival(media)))

    async def _arrival(self, media: Deferred[Media]) -> None:
        await self._stages.arrival(media)
        self.clock.enter(ENCODE)


class Loading:
    """A medium that is loaded when it is first wanted, and given up when nobody wants it any more."""

    def __init__(
        self,
        stages: Stages,
        ctx: RequestContext,
        content: Content,
        on_begin: Callable[[Deferred[Media]], None],
    ) -> None:
        self._stages = stages
        self._ctx = ctx
        self._content = content
        self._on_begin = on_begin
        self._media: Deferred[Media] | None = None
        self._users = 1
        """The attempt itself is one."""

    def begun(self) -> Deferred[Media]:
        """Begins it where nobody has yet."""
        if self._media is None:
            key = self._content.key(Feature.DECODED)
            self._media = self._stages.load(self._ctx, self._content.source, key)
            self._on_begin(self._media)
        return self._media

    @asynccontextmanager
    async def use(self) -> AsyncIterator[Deferred[Media]]:
        """It is not given up as long as somebody uses it."""
        self._users += 1
        try:
            yield self.begun()
        finally:
            self.close()

    def close(self) -> None:
        """One user less."""
        self._users -= 1
        if self._users == 0 and self._media is not None:
            # Ray goes on with calls that nobody waits for, unless it is told.
            self._stages.abandon(self._media)
            self._media = None


class StageClock:
    """Says which stage a medium enters, and how long it was in the one before."""

    def __init__(self, emit: Callable[[StageEvent], None], param: str) -> None:
        self._emit = emit
        self._param = param
        self._stage: str | None = None
        self._entered_s = time.perf_counter()
        self._ended = False

    def enter(self, stage: str) -> None:
        if not self._ended:
            self.leave()
            self._begin(stage, time.perf_counter())

    def leave(self, *, cached: bool = False) -> None:
        if self._stage is not None:
            seconds = time.perf_counter() - self._entered_s
            self._emit(StageEvent(stage=self._stage, param=self._param, seconds=seconds, cached=cached))
            self._stage = None

    def end(self, *, cached: bool) -> None:
        """A medium that this request has not loaded itself was being encoded all the time."""
        if self._stage is None:
            self._begin(ENCODE, self._entered_s)
        elif self._stage == LOAD:
            self.enter(ENCODE)
        self.leave(cached=cached)

    def close(self) -> None:
        """What goes on for others is no stage of this request."""
        self.leave()
        self._ended = True

    def _begin(self, stage: str, entered_s: float) -> None:
        self._stage, self._entered_s = stage, entered_s
        self._emit(StageEvent(stage=stage, param=self._param))


async def _end(*work: asyncio.Future[None]) -> None:
    """Cancel what still runs, and wait until it has ended."""
    for one in work:
        one.cancel()
    if work:
        await asyncio.wait(work)
    for one in work:
        if not one.cancelled():
            one.exception()  # seen: it is raised by who waits for it
