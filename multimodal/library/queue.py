"""Files that wait to be processed. A file belongs to its owner until the lease runs out, and each step is one
statement that says whose it must be: two owners never have the same one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from sqlalchemy import ColumnElement, Select, and_, case, or_, select, update
from sqlalchemy.orm import Session, aliased

from multimodal.config import LibraryArgs
from multimodal.errors import InvalidRequest
from multimodal.library.records import Duplicate, FileRecord, FileStatus
from multimodal.library.rows import duplicates_json, files_where, microseconds, record_named, records
from multimodal.metadata.database import Database
from multimodal.metadata.tables import File

INTERRUPTED = "processing_interrupted"

Changes: TypeAlias = dict[str, object]
"""Columns of `File`, and their new values."""

NOBODYS: Changes = {"owner": None, "lease_us": None, "stage": None}


class Queue:
    """Methods block, and any number of threads and processes may call them."""

    def __init__(self, database: Database, args: LibraryArgs, now: Callable[[], float]) -> None:
        self._database = database
        self._args = args
        self._now = now

    def claim(self, owner: str) -> FileRecord | None:
        """See `IngestQueue.claim`."""
        now_us, lease_us = self._now_us(), self._lease_us()
        with self._database.write() as session:
            self._give_up_interrupted(session, now_us)
            mine = session.scalar(
                update(File)
                .where(File.id == _first_in_turn(now_us).scalar_subquery())
                .values(
                    {
                        "status": FileStatus.PROCESSING,
                        "owner": owner,
                        "lease_us": lease_us,
                        "attempts": File.attempts + 1,
                        "stage": None,
                        "progress": 0.0,
                    }
                )
                .returning(File.id)
            )
            found = records(session, files_where(File.id == mine)) if mine is not None else []
        return found[0] if found else None

    def renew(self, owner: str, file_id: str) -> bool:
        """See `IngestQueue.renew`."""
        return self._change(owner, file_id, {"lease_us": self._lease_us()})

    def report(self, owner: str, file_id: str, stage: str, progress: float) -> bool:
        """See `IngestQueue.report`."""
        share = min(1.0, max(0.0, progress))
        return self._change(owner, file_id, {"lease_us": self._lease_us(), "stage": stage, "progress": share})

    def finish(
        self,
        owner: str,
        file_id: str,
        *,
        segments: int,
        duration_s: float | None,
        pages: int | None,
        duplicates: Sequence[Duplicate],
    ) -> bool:
        """See `IngestQueue.finish`."""
        done: Changes = {
            **NOBODYS,
            "status": FileStatus.PROCESSED,
            "progress": 1.0,
            "segments": segments,
            "duration_s": duration_s,
            "pages": pages,
            "duplicates": duplicates_json(duplicates),
        }
        return self._change(owner, file_id, done)

    def fail(self, owner: str, file_id: str, code: str, message: str) -> bool:
        """See `IngestQueue.fail`."""
        return self._change(owner, file_id, _failed(code, message))

    def release(self, owner: str, file_id: str, delay_s: float) -> None:
        """See `IngestQueue.release`. Without a delay it keeps its turn."""
        waiting: Changes = {
            **NOBODYS,
            "status": FileStatus.UPLOADED,
            "progress": 0.0,
            "attempts": case((File.attempts > 0, File.attempts - 1), else_=0),
        }
        if delay_s > 0:
            waiting["not_before_us"] = self._now_us() + microseconds(delay_s)
        self._change(owner, file_id, waiting)

    def retry(self, tenant: str, file_id: str) -> FileRecord:
        """See `FileLibrary.retry`. Does nothing with a file that nothing can be searched in."""
        again: Changes = {
            **NOBODYS,
            "status": FileStatus.UPLOADED,
            "progress": 0.0,
            "attempts": 0,
            "segments": 0,
            "error_code": None,
            "error_message": None,
            "not_before_us": File.created_us,
        }
        idle = (File.status != FileStatus.PROCESSING, File.kind.is_not(None), File.deleted_us.is_(None))
        with self._database.write() as session:
            session.execute(
                update(File).where(File.tenant == tenant, File.id == file_id, *idle).values(again)
            )
            record = record_named(session, tenant, file_id)
        if record.status is FileStatus.PROCESSING:
            raise InvalidRequest("This file is being processed. Retry it when that has failed.")
        return record

    def _give_up_interrupted(self, session: Session, now_us: int) -> None:
        """What was begun too often kills whoever works on it, most likely."""
        tried = self._args.attempts
        message = (
            f"The work on this file was begun {tried} times and never came to an end: the server was stopped, "
            "or failed on it. Retry it, or send it in another format."
        )
        session.execute(
            update(File)
            .where(_may_be_claimed(File, now_us), File.attempts >= tried)
            .values(_failed(INTERRUPTED, message))
        )

    def _change(self, owner: str, file_id: str, changes: Changes) -> bool:
        """Whether the file is this owner's; then it is changed."""
        ours = (File.id == file_id, File.owner == owner, File.status == FileStatus.PROCESSING)
        with self._database.write() as session:
            changed = session.scalar(
                update(File).where(*ours, File.deleted_us.is_(None)).values(changes).returning(File.id)
            )
        return changed is not None

    def _now_us(self) -> int:
        return microseconds(self._now())

    def _lease_us(self) -> int:
        return self._now_us() + microseconds(self._args.lease_s)


def _failed(code: str, message: str) -> Changes:
    return {**NOBODYS, "status": FileStatus.ERROR, "error_code": code, "error_message": message}


def _first_in_turn(now_us: int) -> Select[str]:
    """On PostgreSQL, what others claim at the same moment is passed over; SQLite has one writer at a time."""
    waiting = aliased(File)
    return (
        select(waiting.id)
        .where(_may_be_claimed(waiting, now_us))
        .order_by(waiting.not_before_us, waiting.created_us, waiting.id)
        .limit(1)
        .with_for_update(skip_locked=True)
    )


def _may_be_claimed(file: type[File], now_us: int) -> ColumnElement[bool]:
    """It waits and may be tried now, or whoever had it was silent for too long."""
    waits = and_(file.status == FileStatus.UPLOADED, file.not_before_us <= now_us)
    silent = and_(file.status == FileStatus.PROCESSING, file.lease_us <= now_us)
    return and_(file.deleted_us.is_(None), or_(waits, silent))
