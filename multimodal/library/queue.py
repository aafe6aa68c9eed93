"""Files that wait to be processed. A file belongs to its owner until the lease runs out, and each change of
it says whose it must be: two owners never have the same one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from sqlalchemy import ColumnElement, case, select, update
from sqlalchemy.orm import Session

from multimodal.config import LibraryArgs
from multimodal.errors import InvalidRequest
from multimodal.library.records import Duplicate, FileRecord, FileStatus
from multimodal.library.rows import duplicates_json, microseconds, record_named, slices
from multimodal.metadata.database import Database
from multimodal.metadata.tables import File

INTERRUPTED = "processing_interrupted"

Changes: TypeAlias = dict[str, object]
"""Columns of `File`, and their new values."""

NOBODYS: Changes = {"owner": None, "due_us": None, "stage": None}


class Queue:
    """Methods block, and any number of threads and processes may call them."""

    def __init__(self, database: Database, args: LibraryArgs, now: Callable[[], float]) -> None:
        self._database = database
        self._args = args
        self._now = now

    def claim(self, owner: str) -> FileRecord | None:
        """See `IngestQueue.claim`."""
        now_us = self._now_us()
        with self._database.write() as session:
            while (file := _first_due(session, now_us)) is not None:
                if file.attempts < self._args.attempts:
                    return self._take(session, file, owner)
                # It kills whoever works on it, most likely.
                failed = _failed(INTERRUPTED, _interrupted(self._args.attempts))
                session.execute(update(File).where(File.id == file.id).values(failed))
        return None

    def renew(self, owner: str, file_id: str) -> bool:
        """See `IngestQueue.renew`."""
        return self._change(owner, file_id, {"due_us": self._lease_us()})

    def report(self, owner: str, file_id: str, stage: str, progress: float) -> bool:
        """See `IngestQueue.report`."""
        share = min(1.0, max(0.0, progress))
        return self._change(owner, file_id, {"due_us": self._lease_us(), "stage": stage, "progress": share})

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
            "due_us": self._now_us() + microseconds(delay_s) if delay_s > 0 else self._old_turn(),
        }
        self._change(owner, file_id, waiting)

    def retry(self, tenant: str, file_id: str) -> FileRecord:
        """See `FileLibrary.retry`. Does nothing with a file that nothing can be searched in."""
        idle = (File.status != FileStatus.PROCESSING, File.kind.is_not(None), File.deleted_us.is_(None))
        with self._database.write() as session:
            session.execute(
                update(File).where(File.tenant == tenant, File.id == file_id, *idle).values(self._anew())
            )
            record = record_named(session, tenant, file_id)
        if record.status is FileStatus.PROCESSING:
            raise InvalidRequest("This file is being processed. Retry it when that has failed.")
        return record

    def requeue(self, tenant: str, file_ids: Sequence[str]) -> None:
        """See `IngestQueue.requeue`."""
        done = (File.tenant == tenant, File.status == FileStatus.PROCESSED, File.deleted_us.is_(None))
        with self._database.write() as session:
            for some in slices(file_ids):
                session.execute(update(File).where(File.id.in_(some), *done).values(self._anew()))

    def _anew(self) -> Changes:
        return {
            **NOBODYS,
            "status": FileStatus.UPLOADED,
            "progress": 0.0,
            "attempts": 0,
            "segments": 0,
            "error_code": None,
            "error_message": None,
            "due_us": self._old_turn(),
        }

    def _take(self, session: Session, file: File, owner: str) -> FileRecord:
        file.status = FileStatus.PROCESSING
        file.owner, file.due_us = owner, self._lease_us()
        file.attempts += 1
        file.stage, file.progress = None, 0.0
        session.flush()
        return record_named(session, file.tenant, file.id)

    def _change(self, owner: str, file_id: str, changes: Changes) -> bool:
        """Whether the file is this owner's; then it is changed."""
        ours = (File.id == file_id, File.owner == owner, File.status == FileStatus.PROCESSING)
        with self._database.write() as session:
            changed = session.scalar(
                update(File).where(*ours, File.deleted_us.is_(None)).values(changes).returning(File.id)
            )
        return changed is not None

    def _old_turn(self) -> ColumnElement[int]:
        """Before all files that were uploaded later. Never in the future, whatever the clock said then."""
        now_us = self._now_us()
        return case((File.created_us < now_us, File.created_us), else_=now_us)

    def _now_us(self) -> int:
        return microseconds(self._now())

    def _lease_us(self) -> int:
        return self._now_us() + microseconds(self._args.lease_s)


def _failed(code: str, message: str) -> Changes:
    return {**NOBODYS, "status": FileStatus.ERROR, "error_code": code, "error_message": message}


def _interrupted(attempts: int) -> str:
    return (
        f"The work on this file was begun {attempts} times and never came to an end: the server was stopped, "
        "or failed on it. Retry it, or send it in another format."
    )


def _first_due(session: Session, now_us: int) -> File | None:
    """The file whose turn it is, nobody else's until this transaction ends. PostgreSQL passes over what
    others claim at the same moment; SQLite has one writer at a time."""
    due = select(File).where(File.due_us <= now_us)
    first = due.order_by(File.due_us, File.created_us, File.id).limit(1)
    return session.scalars(first.with_for_update(skip_locked=True)).first()
