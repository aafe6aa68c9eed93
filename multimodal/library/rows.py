"""Rows of the database as records, and questions about files that several modules ask."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TypeAlias

from sqlalchemy import ColumnElement, Select, select
from sqlalchemy.orm import Session

from multimodal.errors import FileUnknown
from multimodal.library.records import Duplicate, FileRecord, FileStatus
from multimodal.metadata.tables import Content, DuplicateJson, File
from multimodal.types import MediaKind, StoredContent

MICROSECONDS = 1_000_000
"""In a second."""

IDS_AT_ONCE = 500
"""Ids in one statement: fewer than what SQLite takes in the oldest version that may be met (999)."""

Rows: TypeAlias = Select[File, Content]


def microseconds(seconds: float) -> int:
    """Of Unix seconds."""
    return round(seconds * MICROSECONDS)


def files_where(*conditions: ColumnElement[bool]) -> Rows:
    """Files that exist, with their contents."""
    joined = select(File, Content).join(Content, File.content_key == Content.key)
    return joined.where(File.deleted_us.is_(None), *conditions)


def record_named(session: Session, tenant: str, file_id: str) -> FileRecord:
    """Raises FileUnknown."""
    found = records(session, files_where(File.tenant == tenant, File.id == file_id))
    if not found:
        raise FileUnknown.of(file_id)
    return found[0]


def records(session: Session, rows: Rows) -> list[FileRecord]:
    """The files of one tenant; those that they are duplicates of only while they exist."""
    found = [(file, content) for file, content in session.execute(rows)]
    named = {one.file_id for file, _ in found for one in duplicates_in(file)}
    left = existing(session, found[0][0].tenant, named) if named else set()
    return [_record(file, content, left) for file, content in found]


def existing(
    session: Session, tenant: str, file_ids: Iterable[str], *further: ColumnElement[bool]
) -> set[str]:
    """Which of these files exist, and are as the further conditions say."""
    here = (File.tenant == tenant, File.deleted_us.is_(None), *further)
    return {
        file_id
        for some in slices(sorted(set(file_ids)))
        for file_id in session.scalars(select(File.id).where(File.id.in_(some), *here))
    }


def slices(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    """As many as one statement takes at a time."""
    return (ids[start : start + IDS_AT_ONCE] for start in range(0, len(ids), IDS_AT_ONCE))


def duplicates_in(file: File) -> list[Duplicate]:
    """As `duplicates_json` wrote them."""
    return [
        Duplicate(file_id=file_id, similarity=similarity, exact=exact, start_s=start_s)
        for file_id, similarity, exact, start_s in file.duplicates
    ]


def duplicates_json(duplicates: Iterable[Duplicate]) -> list[DuplicateJson]:
    """For the column of that name."""
    return [(one.file_id, one.similarity, one.exact, one.start_s) for one in duplicates]


def _record(file: File, content: Content, existing_ids: set[str]) -> FileRecord:
    return FileRecord(
        id=file.id,
        tenant=file.tenant,
        filename=file.filename,
        purpose=file.purpose,
        media_type=file.media_type,
        kind=None if file.kind is None else MediaKind(file.kind),
        content=StoredContent(key=content.key, sha256=content.sha256, size_bytes=content.size_bytes),
        created_s=file.created_us // MICROSECONDS,
        metadata=file.user_metadata,
        status=FileStatus(file.status),
        stage=file.stage,
        progress=file.progress,
        attempts=file.attempts,
        segments=file.segments,
        error_code=file.error_code,
        error_message=file.error_message,
        duration_s=file.duration_s,
        pages=file.pages,
        duplicates=tuple(one for one in duplicates_in(file) if one.file_id in existing_ids),
    )
