"""Repairs what crashes left: segments and bytes without a file, files without their segments."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from itertools import groupby

from multimodal.deadlines import within
from multimodal.library.background import PRIORITY
from multimodal.library.incidents import report_unexpected
from multimodal.library.processing import Shelf
from multimodal.stages import Stages
from multimodal.types import RequestContext

FILES_AT_ONCE = 500
"""Files of one question to the database or the index."""

STEP_S = 300.0
"""Longest that one call of the index may take, seconds."""


class Sweep:
    """Goes through everything once: see `once`."""

    def __init__(self, stages: Stages, shelf: Shelf, now: Callable[[], float] = time.time) -> None:
        self._stages = stages
        self._shelf = shelf
        self._now = now

    async def once(self) -> bool:
        """Purge deleted files, forget segments of files that are not there, have files processed again whose
        segments the index has lost, delete bytes without a file.

        Whether all of it could be done; a failure of one does not keep the others from being tried.
        """
        steps: Sequence[Callable[[], Awaitable[object]]] = (
            self._purge,
            self._forget,
            self._requeue,
            self._shelf.sweep,
        )
        return all([await _tried(step) for step in steps])

    async def _purge(self) -> None:
        """Files that were deleted, but not to the end."""
        for tenant, ids in _by_tenant(await self._shelf.deleted()):
            ctx = self._context(tenant)
            await within(ctx, self._stages.forget_files(ctx, ids))
            for file_id in ids:
                await self._shelf.purge(tenant, file_id)

    async def _forget(self) -> None:
        """Of files that were deleted, and of those in which something is wrong.

        The index is asked first: a file that is added meanwhile is known to the database before that.
        """
        ctx = self._context("")
        for tenant, indexed in (await within(ctx, self._stages.indexed_files(ctx))).items():
            for ids in _slices(indexed):
                gone = set(ids) - await self._shelf.searchable(tenant, ids)
                if gone:
                    ctx = self._context(tenant)
                    await within(ctx, self._stages.forget_files(ctx, sorted(gone)))

    async def _requeue(self) -> None:
        """As after the index was deleted, because it was made for other models. The database is asked first:
        what is processed meanwhile is in the index already."""
        processed = await self._shelf.processed()
        ctx = self._context("")
        indexed = await within(ctx, self._stages.indexed_files(ctx))
        for tenant, ids in processed.items():
            lost = set(ids).difference(indexed.get(tenant, ()))
            for some in _slices(sorted(lost)):
                await self._shelf.requeue(tenant, some)

    def _context(self, tenant: str) -> RequestContext:
        return RequestContext(
            request_id="ingest-sweep",
            tenant=tenant,
            deadline_s=self._now() + STEP_S,
            priority=PRIORITY,
        )


async def _tried(step: Callable[[], Awaitable[object]]) -> bool:
    try:
        await step()
    except Exception as error:
        report_unexpected(error, "sweep_failed")
        return False
    return True


def _by_tenant(deleted: Sequence[tuple[str, str]]) -> Iterator[tuple[str, Sequence[str]]]:
    for tenant, files in groupby(sorted(deleted), key=lambda one: one[0]):
        for ids in _slices([file_id for _, file_id in files]):
            yield tenant, ids


def _slices(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    return (ids[start : start + FILES_AT_ONCE] for start in range(0, len(ids), FILES_AT_ONCE))
