"""One file that an Ingestor works on: whether it is still its own, and what is shown of it."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import TypeVar

from multimodal.errors import MultimodalError
from multimodal.library.files import IngestQueue
from multimodal.library.incidents import report_unexpected
from multimodal.library.records import FileRecord

T = TypeVar("T")

LOAD, ENCODE, EMBED, STORE = "load", "encode", "embed", "store"
"""Stages that are shown."""


class NotOurs(MultimodalError):
    """The file was deleted, or given to another Ingestor because this one was silent for too long."""

    code = "not_ours"


@dataclass(frozen=True, slots=True)
class _Shown:
    stage: str
    progress: float


class Job:
    """A claimed file: `hold` keeps the lease while work goes on, and tells the queue what `show` is told."""

    def __init__(self, queue: IngestQueue, owner: str, file: FileRecord, lease_s: float) -> None:
        self.file = file
        self.owner = owner
        self._queue = queue
        self._renew_s = lease_s / 3
        self._shown = _Shown(LOAD, 0.0)
        self._news = asyncio.Event()
        self._settled = False

    def show(self, stage: str, progress: float) -> None:
        """Say how far it is, in [0, 1]. Never goes back: a medium that was lost is loaded a second time."""
        self._shown = _Shown(stage, max(self._shown.progress, min(1.0, progress)))
        self._news.set()

    def settle(self) -> None:
        """Its status is about to be written: the lease is of no importance any more."""
        self._settled = True

    async def hold(self, work: Coroutine[object, object, T]) -> T:
        """The result of the work, which is ended when the file is not ours any more. Raises NotOurs."""
        working = asyncio.ensure_future(work)
        keeping = asyncio.ensure_future(self._keep())
        try:
            await asyncio.wait([working, keeping], return_when=asyncio.FIRST_COMPLETED)
            if not working.done() and not self._settled:
                keeping.result()
                raise NotOurs("The file was deleted, or another Ingestor has it.")
            return await working
        finally:
            await _end(working, keeping)

    async def _keep(self) -> None:
        """Returns when the file is not ours any more."""
        while not self._settled:
            self._news.clear()
            if not await self._renewed():
                return
            await self._wait_for_news()

    async def _renewed(self) -> bool:
        shown = self._shown
        try:
            return await self._queue.report(self.owner, self.file.id, shown.stage, shown.progress)
        except Exception as error:
            # The database may be back before the lease runs out, and says then whose the file is.
            report_unexpected(error, "lease_not_renewed", self.file.id)
            return True

    async def _wait_for_news(self) -> None:
        waiting = asyncio.ensure_future(self._news.wait())
        try:
            await asyncio.wait([waiting], timeout=self._renew_s)
        finally:
            waiting.cancel()


async def _end(*work: asyncio.Future[T] | asyncio.Future[None]) -> None:
    """Cancel what still runs, and wait until it has ended."""
    for one in work:
        one.cancel()
    await asyncio.wait(work)
    for one in work:
        if not one.cancelled():
            one.exception()  # seen: it is raised by who waits for it
