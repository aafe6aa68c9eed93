"""Looking at files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy import ColumnElement, select

from multimodal.errors import FileUnknown
from multimodal.library import rows
from multimodal.library.records import FilePage, FileRecord, FileStatus
from multimodal.library.rows import files_where, record_named, records, slices
from multimodal.metadata.database import Database
from multimodal.metadata.tables import Content, File


class Listing:
    """Methods block, and any number of threads may call them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, tenant: str, file_id: str) -> FileRecord:
        """See `FileLibrary.get`."""
        with self._database.read() as session:
            return record_named(session, tenant, file_id)

    def get_all(self, tenant: str, file_ids: Sequence[str]) -> Mapping[str, FileRecord]:
        """See `FileLibrary.get_all`."""
        with self._database.read() as session:
            return {
                record.id: record
                for some in slices(list(dict.fromkeys(file_ids)))
                for record in records(session, files_where(File.tenant == tenant, File.id.in_(some)))
            }

    def list(
        self,
        tenant: str,
        *,
        limit: int,
        after: str | None,
        ascending: bool,
        purpose: str | None,
        status: FileStatus | None,
        sha256: str | None,
    ) -> FilePage:
        """See `FileLibrary.list`."""
        wanted: list[ColumnElement[bool]] = [File.tenant == tenant]
        if purpose is not None:
            wanted.append(File.purpose == purpose)
        if status is not None:
            wanted.append(File.status == status)
        if sha256 is not None:
            wanted.append(Content.sha256 == sha256)
        order = File.created_us.asc() if ascending else File.created_us.desc()
        with self._database.read() as session:
            if after is not None:
                last = select(File.created_us).where(File.deleted_us.is_(None))
                last_us = session.scalar(last.where(File.tenant == tenant, File.id == after))
                if last_us is None:
                    raise FileUnknown.of(after, "after")
                wanted.append(File.created_us > last_us if ascending else File.created_us < last_us)
            found = records(session, files_where(*wanted).order_by(order).limit(limit + 1))
        return FilePage(files=tuple(found[:limit]), more=len(found) > limit)

    def existing(self, tenant: str, file_ids: Sequence[str]) -> set[str]:
        """See `IngestQueue.existing`."""
        with self._database.read() as session:
            return rows.existing(session, tenant, file_ids)

    def twin(self, record: FileRecord) -> FileRecord | None:
        """See `IngestQueue.twin`. What a text is read as follows from its name, too: that is the same."""
        same = (
            File.tenant == record.tenant,
            File.id != record.id,
            File.status == FileStatus.PROCESSED,
            File.kind == record.kind,
            File.media_type == record.media_type,
            Content.sha256 == record.content.sha256,
        )
        with self._database.read() as session:
            found = records(session, files_where(*same).order_by(File.created_us).limit(1))
        return found[0] if found else None

    def deleted(self) -> Sequence[tuple[str, str]]:
        """See `IngestQueue.deleted`. Those that were deleted first come first."""
        gone = select(File.tenant, File.id).where(File.deleted_us.is_not(None))
        with self._database.read() as session:
            return session.execute(gone.order_by(File.deleted_us, File.id)).tuples().all()
