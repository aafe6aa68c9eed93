"""Works through uploaded files in the background, and repairs what crashes left.

A file is claimed for a time (its lease). Whoever works on it renews the lease; where that ends, by a crash,
the file is claimed again and its segments, which always have the same ids, are stored again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias
from uuid import uuid4

from multimodal.config import AppArgs
from multimodal.errors import MultimodalError
from multimodal.library.incidents import report_unexpected
from multimodal.library.jobs import Job, NotOurs
from multimodal.library.processing import TRANSIENT, Done, Processor, Shelf, context
from multimodal.library.records import FileRecord
from multimodal.library.retries import Retries, pause_s
from multimodal.library.sweep import Sweep
from multimodal.stages import Stages
from multimodal.types import RequestContext

SWEEP_AGAIN_S = 60.0
"""After a sweep that failed: at the start of a server, stages may not be there yet."""


class Outcome(StrEnum):
    """How the work on a file ended."""

    PROCESSED = "processed"
    COPIED = "copied"
    """From a file of the same bytes."""
    ERROR = "error"
    INTERRUPTED = "interrupted"
    """To be tried again later."""
    GONE = "gone"
    """It was deleted, or another Ingestor has it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """The work on one file is over, for now."""

    file: FileRecord
    outcome: Outcome
    seconds: float
    segments: int = 0
    """That were stored."""


OnEnd: TypeAlias = Callable[[Ended], None]


def _ignore(ended: Ended) -> None:
    """Nobody asked."""


class Ingest:
    """The Ingestor. `on_end` is told of each file that was worked on."""

    def __init__(
        self,
        stages: Stages,
        shelf: Shelf,
        args: AppArgs,
        *,
        on_end: OnEnd = _ignore,
        now: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._shelf = shelf
        self._args = args
        self._processor = Processor(stages, shelf, args)
        self._sweep = Sweep(stages, shelf, now)
        self._retries = Retries()
        self._on_end = on_end
        self._now = now
        self._sleep = sleep

    async def run(self) -> None:
        """Work until cancelled; files that are being worked on are then given back."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._sweep_forever())
            for _ in range(self._args.library.concurrency):
                group.create_task(self._work_forever())

    async def turn(self) -> Outcome | None:
        """Work on one file. None: there is none that waits."""
        owner = uuid4().hex  # of this turn: a lease that ran out is not taken for one that was renewed
        file = await self._shelf.claim(owner)
        if file is None:
            return None
        began_s = self._now()
        job = Job(self._shelf, owner, file, self._args.library.lease_s)
        outcome, done = await self._take(job)
        if outcome is not Outcome.INTERRUPTED:
            self._retries.forget(file.id)
        seconds = self._now() - began_s
        self._on_end(Ended(file=file, outcome=outcome, seconds=seconds, segments=done.segments))
        return outcome

    async def _work_forever(self) -> None:
        interrupted = 0
        while True:
            outcome = await self._turn_or_report()
            interrupted = interrupted + 1 if outcome is Outcome.INTERRUPTED else 0
            if interrupted:
                await self._sleep(pause_s(interrupted))
            elif outcome is None:
                await self._sleep(self._args.library.poll_s)

    async def _turn_or_report(self) -> Outcome | None:
        try:
            return await self.turn()
        except Exception as error:
            # The database cannot be reached, say. A file that was claimed goes on when its lease has run out.
            report_unexpected(error, "ingest_interrupted")
            return Outcome.INTERRUPTED

    async def _sweep_forever(self) -> None:
        while True:
            complete = await self._sweep.once()
            sweep_s = self._args.library.sweep_s
            await self._sleep(sweep_s if complete else min(sweep_s, SWEEP_AGAIN_S))

    async def _take(self, job: Job) -> tuple[Outcome, Done]:
        ctx = context(job.file, self._args, self._now())
        try:
            done = await job.hold(self._processor.process(ctx, job))
        except asyncio.CancelledError:
            await self._give_back(job)
            raise
        except NotOurs:
            await self._clear_up(job)
            return Outcome.GONE, Done()
        except MultimodalError as error:
            return await self._failed(ctx, job, error), Done()
        except Exception as error:
            report_unexpected(error, "ingest_failed", job.file.id)
            return await self._give_up(job, MultimodalError.code, _INTERNAL), Done()
        return (Outcome.COPIED if done.copied else Outcome.PROCESSED), done

    async def _failed(self, ctx: RequestContext, job: Job, error: MultimodalError) -> Outcome:
        if not isinstance(error, TRANSIENT):
            return await self._give_up(job, error.code, error.message)
        if ctx.deadline_s <= self._now():
            return await self._give_up(job, error.code, _too_long(self._args.library.file_timeout_s))
        delay_s = self._retries.delay_s(job.file.id, error)
        if delay_s is None:
            return await self._give_up(job, error.code, f"{_TOO_OFTEN} The last time: {error.message}")
        await self._shelf.release(job.owner, job.file.id, delay_s)
        return Outcome.INTERRUPTED

    async def _give_up(self, job: Job, code: str, message: str) -> Outcome:
        """A file in which something is wrong has no segments, not even of its first pages."""
        if not await self._shelf.fail(job.owner, job.file.id, code, message):
            await self._clear_up(job)
            return Outcome.GONE
        try:
            await self._processor.forget(context(job.file, self._args, self._now()), job.file)
        except MultimodalError as error:
            report_unexpected(error, "segments_left_to_the_sweep", job.file.id)
        return Outcome.ERROR

    async def _give_back(self, job: Job) -> None:
        """On the way out: where this fails, the lease runs out, that is all."""
        try:
            await self._shelf.release(job.owner, job.file.id, 0.0)
        except Exception as error:
            report_unexpected(error, "file_not_given_back", job.file.id)

    async def _clear_up(self, job: Job) -> None:
        """After a file was deleted. What another Ingestor has is left to it: both store the same segments."""
        if not await self._processor.exists(job.file):
            await self._processor.forget(context(job.file, self._args, self._now()), job.file)


_INTERNAL = "The server failed on this file. Its operator finds the file's id in the log."

_TOO_OFTEN = "A stage of the server was not available each time that this file was tried. Retry it later."


def _too_long(seconds: float) -> str:
    return (
        f"The work on this file took longer than {seconds:g} s. Split it into shorter files, or have the "
        "operator raise library.file_timeout_s."
    )
