"""One claimed file into the index: made or copied, stored, compared with other files, finished."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol
from weakref import WeakValueDictionary

from multimodal.config import AppArgs
from multimodal.deadlines import within
from multimodal.errors import DeadlineExceeded, InvalidRequest, Overloaded, StageUnavailable
from multimodal.library.background import PRIORITY
from multimodal.library.desk import chat_source
from multimodal.library.files import IngestQueue
from multimodal.library.incidents import report_unexpected
from multimodal.library.jobs import LOAD, STORE, Job, NotOurs
from multimodal.library.making import PARAM, Made, Maker
from multimodal.library.pictures import hashed
from multimodal.library.records import Duplicate, FileRecord
from multimodal.library.segments import copied
from multimodal.library.similar import MOST_DUPLICATES, duplicates_of, same_words
from multimodal.retrieval.types import Segment
from multimodal.stages import Stages
from multimodal.types import FileReference, RequestContext, StageEvent, TranscriptPart
from multimodal.understanding import Medium

logger = logging.getLogger(__name__)

TRANSIENT = (StageUnavailable, Overloaded, DeadlineExceeded)
"""Errors that say nothing of the file: it is tried again."""

SEGMENTS_AT_ONCE = 256
"""Segments of one call to the index: with two vectors of 384 dimensions, about 1 MB."""


class Shelf(IngestQueue, Protocol):
    """What the Ingestor needs of uploaded files."""

    async def purge(self, tenant: str, file_id: str) -> None:
        """See `multimodal.library.files.FileLibrary`."""
        ...


@dataclass(slots=True)
class Done:
    """What became of a file."""

    segments: int = 0
    duration_s: float | None = None
    pages: int | None = None
    copied: bool = False
    """Its segments are those of a file with the same bytes: nothing was encoded."""
    looks: list[tuple[int, str]] = field(default_factory=list)
    """Perceptual hashes of its pictures, and the texts on them."""

    def add(self, made: Made) -> None:
        """Count what was stored."""
        self.segments += len(made.segments)
        self.duration_s = made.duration_s
        self.pages = made.pages
        self.looks += hashed(made.segments)


class Processor:
    """Processes claimed files, any number at the same time."""

    def __init__(self, stages: Stages, shelf: Shelf, args: AppArgs) -> None:
        self._stages = stages
        self._shelf = shelf
        self._args = args
        self._locks: WeakValueDictionary[tuple[str, str], asyncio.Lock] = WeakValueDictionary()

    async def process(self, ctx: RequestContext, job: Job) -> Done:
        """Raises NotOurs where the file was deleted meanwhile, and what the stages raise."""
        file = job.file
        # The same bytes uploaded twice at once: the second waits for the first, and is copied from it.
        lock = self._locks.setdefault((file.tenant, file.content.sha256), asyncio.Lock())
        async with lock:
            done = await self._copy(ctx, job) or await self._make(ctx, job)
            await self._prepare(ctx, job.file)
            duplicates = await self._duplicates(ctx, file, done)
            job.settle()
            if not await self._shelf.finish(
                job.owner,
                file.id,
                segments=done.segments,
                duration_s=done.duration_s,
                pages=done.pages,
                duplicates=duplicates,
            ):
                raise NotOurs("The file was deleted, or another Ingestor has it.")
        return done

    async def forget(self, ctx: RequestContext, file: FileRecord) -> None:
        """Take its segments out of the index."""
        await within(ctx, self._stages.forget_files(ctx, [file.id]))

    async def exists(self, file: FileRecord) -> bool:
        """Whether it has not been deleted."""
        return bool(await self._shelf.existing(file.tenant, [file.id]))

    async def _make(self, ctx: RequestContext, job: Job) -> Done:
        done = Done()
        async for made in Maker(self._stages, self._args, ctx, job.file, job.show).make():
            if not done.segments:
                await self._forget_ours(ctx, job)  # what an earlier attempt has left
            for ordinal, jpeg in made.thumbnails.items():
                await self._shelf.write_thumbnail(job.file, ordinal, jpeg)
            await self._store(ctx, job, made.segments)
            done.add(made)
        return done

    async def _prepare(self, ctx: RequestContext, file: FileRecord) -> None:
        """Have all made that a chat about the file will need, as it will need it: it is kept beside the file,
        and the first chat encodes nothing. Much of it is there already.

        Raises what may help to try again; what only this kind of work meets is for the chat to tell.
        """
        source = chat_source(file, FileReference(file_id=file.id, param=PARAM))
        try:
            await Medium(self._stages, self._args, ctx, source, _ignore).understand("")
        except InvalidRequest as error:
            logger.info("%s was not prepared for chats: %s", file.id, error.code)
        except TRANSIENT:
            raise
        except Exception as error:  # it can be found, whatever a chat will meet
            report_unexpected(error, "not_prepared_for_chats", file.id)
        await self._stages.once.settled()

    async def _copy(self, ctx: RequestContext, job: Job) -> Done | None:
        """From a file of the same bytes, thumbnails included: they lie beside the bytes. None: there is none
        whose segments are all there."""
        job.show(LOAD, 0.0)
        twin = await self._shelf.twin(job.file)
        if twin is None:
            return None
        found = await within(ctx, self._stages.segments_of(ctx, twin.id, True))
        if len(found) != twin.segments:
            return None
        await self._forget_ours(ctx, job)
        mine = copied(job.file, found)
        await self._store(ctx, job, mine)
        return Done(len(mine), twin.duration_s, twin.pages, copied=True, looks=hashed(mine))

    async def _forget_ours(self, ctx: RequestContext, job: Job) -> None:
        """Never what the next owner has stored, where the lease ran out meanwhile. Raises NotOurs."""
        if not await self._shelf.renew(job.owner, job.file.id):
            raise NotOurs("The file was deleted, or another Ingestor has it.")
        await self.forget(ctx, job.file)

    async def _store(self, ctx: RequestContext, job: Job, segments: Sequence[Segment]) -> None:
        job.show(STORE, 0.0)
        for start in range(0, len(segments), SEGMENTS_AT_ONCE):
            some = segments[start : start + SEGMENTS_AT_ONCE]
            await within(ctx, self._stages.store_segments(ctx, some))

    async def _duplicates(self, ctx: RequestContext, file: FileRecord, done: Done) -> Sequence[Duplicate]:
        """Other files of the same bytes, and those with a picture that looks and reads the same."""
        known = [one for one in file.duplicates if one.exact]
        if done.looks:
            found = await within(ctx, self._stages.look_alikes(ctx, [bits for bits, _ in done.looks]))
            alike = [
                (segment, bits)
                for (_, text), near in zip(done.looks, found, strict=True)
                for segment, bits in near
                if same_words(text, segment.text)
            ]
            listed = {one.file_id for one in known}
            known += [one for one in duplicates_of(file, alike) if one.file_id not in listed]
        left = await self._shelf.existing(file.tenant, [one.file_id for one in known])
        return [one for one in known if one.file_id in left][:MOST_DUPLICATES]


def _ignore(event: StageEvent | TranscriptPart) -> None:
    """Nobody asked."""


def context(file: FileRecord, args: AppArgs, now_s: float) -> RequestContext:
    """Who asks for the work on a file: its tenant, without urgency."""
    return RequestContext(
        request_id=f"ingest-{file.id}",
        tenant=file.tenant,
        deadline_s=now_s + args.library.file_timeout_s,
        priority=PRIORITY,
    )
