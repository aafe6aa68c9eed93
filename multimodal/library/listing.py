"""Looking at files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

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
        order = File.created_us.asc() if ascending else File.created_us.desc()
        wanted = files_where(File.tenant == tenant).order_by(order).limit(limit + 1)
        if purpose is not None:
            wanted = wanted.where(File.purpose == purpose)
        if status is not None:
            wanted = wanted.where(File.status == status)
        with self._database.read() as session:
            if sha256 is not None:
                wanted = wanted.where(File.content_key.in_(_keys(session, tenant, sha256)))
            if after is not None:
                last_us = _created_us(session, tenant, after)
                wanted = wanted.where(File.created_us > last_us if ascending else File.created_us < last_us)
            found = records(session, wanted)
        return FilePage(files=tuple(found[:limit]), more=len(found) > limit)

    def existing(self, tenant: str, file_ids: Sequence[str]) -> set[str]:
        """See `IngestQueue.existing`."""
        with self._database.read() as session:
            return rows.existing(session, tenant, file_ids)

    def searchable(self, tenant: str, file_ids: Sequence[str]) -> set[str]:
        """See `IngestQueue.searchable`."""
        with self._database.read() as session:
            return rows.existing(session, tenant, file_ids, File.status != FileStatus.ERROR)

    def twin(self, record: FileRecord) -> FileRecord | None:
        """See `IngestQueue.twin`. What a text is read as follows from its name, too: that is the same."""
        same = (
            File.tenant == record.tenant,
            File.content_key == record.content.key,
            File.id != record.id,
            File.status == FileStatus.PROCESSED,
            File.kind == record.kind,
            File.media_type == record.media_type,
        )
        with self._database.read() as session:
            found = records(session, files_where(*same).order_by(File.created_us).limit(1))
        return found[0] if found else None

    def deleted(self) -> Sequence[tuple[str, str]]:
        """See `IngestQueue.deleted`. Those that were deleted first come first."""
        gone = select(File.tenant, File.id).where(File.deleted_us.is_not(None))
        gone = gone.order_by(File.deleted_us, File.id)
        with self._database.read() as session:
            return [(tenant, file_id) for tenant, file_id in session.execute(gone)]

    def processed(self) -> Mapping[str, Sequence[str]]:
        """See `IngestQueue.processed`."""
        done = (File.status == FileStatus.PROCESSED, File.segments > 0, File.deleted_us.is_(None))
        found: dict[str, list[str]] = {}
        with self._database.read() as session:
            for tenant, file_id in session.execute(select(File.tenant, File.id).where(*done)):
                found.setdefault(tenant, []).append(file_id)
        return found


def _created_us(session: Session, tenant: str, file_id: str) -> int:
    here = (File.tenant == tenant, File.id == file_id, File.deleted_us.is_(None))
    created_us = session.scalar(select(File.created_us).where(*here))
    if created_us is None:
        raise FileUnknown.of(file_id, "after")
    return created_us


def _keys(session: Session, tenant: str, sha256: str) -> Sequence[str]:
    """Of the contents of these bytes: few, and asked for first, so that files are found by them."""
    return session.scalars(
        select(Content.key).where(Content.tenant == tenant, Content.sha256 == sha256)
    ).all()
