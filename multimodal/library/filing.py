"""Files come and go: adding, deleting, purging, and the sweep. See `contents` for why nothing is lost."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from uuid import uuid4

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from multimodal.config import LibraryArgs
from multimodal.errors import FileUnknown, InvalidMedia, QuotaExceeded, StageUnavailable
from multimodal.library import contents
from multimodal.library.records import Duplicate, FileRecord, FileStatus
from multimodal.library.rows import duplicates_json, microseconds, record_named
from multimodal.library.similar import MOST_DUPLICATES
from multimodal.library.uploads import StagedUpload
from multimodal.metadata.database import Database
from multimodal.metadata.tables import Content, ContentState, File
from multimodal.retrieval.types import Scalar
from multimodal.storage import ContentStore, StagedObject
from multimodal.types import MediaKind, StoredContent

logger = logging.getLogger(__name__)

_TOO_SLOW = "The upload took too long to be kept. Upload the file again."

AT_ONCE = 500
"""Contents in one statement of the sweep."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """What is known of a file besides its bytes."""

    tenant: str
    filename: str
    purpose: str
    metadata: Mapping[str, Scalar]
    kind: MediaKind | None
    media_type: str


class Filing:
    """Methods block, and any number of threads and processes may call them."""

    def __init__(
        self, database: Database, store: ContentStore, args: LibraryArgs, now: Callable[[], float]
    ) -> None:
        self._database = database
        self._store = store
        self._args = args
        self._now = now

    def add(self, upload: StagedUpload, label: Label) -> FileRecord:
        """See `FileLibrary.add`."""
        with upload.adding() as staged:
            if not staged.size_bytes:
                raise InvalidMedia("The file holds no data.", param="file")
            new = StoredContent(
                key=self._store.new_key(label.tenant, staged.sha256),
                sha256=staged.sha256,
                size_bytes=staged.size_bytes,
            )
            record = self._add_known(label, new)
            if record is None:
                self._put(staged, new.key)
                return self._add_new(label, new)
        self._tidy(lambda: self._store.discard(staged))
        return record

    def delete(self, tenant: str, file_id: str) -> None:
        """See `FileLibrary.delete`."""
        with self._database.write() as session:
            owner = contents.locked_tenant(session, tenant)
            content_key = session.scalar(
                update(File)
                .where(File.tenant == tenant, File.id == file_id, File.deleted_us.is_(None))
                .values(deleted_us=self._now_us(), owner=None, due_us=None)
                .returning(File.content_key)
            )
            if owner is None or content_key is None:
                raise FileUnknown.of(file_id)
            owner.files -= 1
            owner.bytes -= session.get_one(Content, content_key).size_bytes

    def purge(self, tenant: str, file_id: str) -> None:
        """See `FileLibrary.purge`."""
        with self._database.write() as session:
            contents.locked_tenant(session, tenant)
            key = session.scalar(
                delete(File)
                .where(File.tenant == tenant, File.id == file_id, File.deleted_us.is_not(None))
                .returning(File.content_key)
            )
            doomed = key is not None and contents.doom_unused(session, key, self._now_us())
        if key is not None and doomed:
            self._tidy(lambda: self._store.delete(key))

    def write_derived(self, record: FileRecord, name: str, data: bytes) -> None:
        """Keep something beside a file's bytes. Nothing is kept where they are gone."""
        with self._database.read() as session:
            wanted = contents.is_live(session, record.content.key)
        if wanted:
            self._store.write_derived(record.content.key, name, data)

    def sweep(self) -> int:
        """See `IngestQueue.sweep`."""
        before_s = self._now() - self._args.orphan_s
        interrupted = self._sweep_interrupted(microseconds(before_s))
        doomed = self._sweep_doomed(microseconds(before_s))
        return interrupted + doomed + self._store.sweep_uploads(before_s)

    def _add_known(self, label: Label, new: StoredContent) -> FileRecord | None:
        """Where the tenant has these bytes already, add the file; else reserve the object's place."""
        with self._database.write() as session:
            # Before it is looked for: whoever drops its last file holds the tenant, too.
            contents.locked_tenant(session, label.tenant)
            known = contents.live(session, label.tenant, new.sha256)
            if known is not None:
                return self._insert(session, label, known.key, self._charge(session, label, new))
            contents.require_room(session, label.tenant, new.size_bytes, self._args)
            contents.reserve(session, label.tenant, new, self._now_us())
            return None

    def _put(self, staged: StagedObject, key: str) -> None:
        try:
            self._store.put(staged, key)
        except FileNotFoundError as error:
            raise StageUnavailable(_TOO_SLOW) from error

    def _add_new(self, label: Label, new: StoredContent) -> FileRecord:
        """Add the file whose object is in its place now."""
        try:
            record = self._add_settled(label, new)
        except QuotaExceeded:
            self._doom(new.key)
            raise
        if record.content.key != new.key:
            self._doom(new.key)
        return record

    def _add_settled(self, label: Label, new: StoredContent) -> FileRecord:
        with self._database.write() as session:
            created_us = self._charge(session, label, new)
            # The same bytes may have been added meanwhile: they are kept once.
            known = contents.live(session, label.tenant, new.sha256)
            if known is None and not contents.settle(session, new.key, self._now_us()):
                raise StageUnavailable(_TOO_SLOW)
            return self._insert(session, label, known.key if known else new.key, created_us)

    def _charge(self, session: Session, label: Label, new: StoredContent) -> int:
        return contents.charge(session, label.tenant, new.size_bytes, self._args, self._now_us())

    def _insert(self, session: Session, label: Label, key: str, created_us: int) -> FileRecord:
        waits = label.kind is not None
        file = File(
            id=f"file-{uuid4().hex}",
            tenant=label.tenant,
            content_key=key,
            filename=label.filename,
            purpose=label.purpose,
            media_type=label.media_type,
            kind=label.kind,
            user_metadata=dict(label.metadata),
            created_us=created_us,
            status=FileStatus.UPLOADED if waits else FileStatus.PROCESSED,
            progress=0.0 if waits else 1.0,
            attempts=0,
            segments=0,
            duplicates=duplicates_json(_same_bytes(session, label.tenant, key)),
            due_us=self._now_us() if waits else None,
        )
        session.add(file)
        session.flush()
        return record_named(session, label.tenant, file.id)

    def _doom(self, key: str) -> None:
        """An object that was put in its place in vain. Does nothing to one that files refer to."""
        self._tidy(lambda: self._doom_pending(key) and self._store.delete(key))

    def _doom_pending(self, key: str) -> bool:
        with self._database.write() as session:
            return contents.doom_pending(session, key, self._now_us())

    def _sweep_interrupted(self, before_us: int) -> int:
        """Objects that were, perhaps, put in their places, and never added. Their rows stay for `orphan_s`:
        whoever was to add them may be slow, and not dead."""
        swept = 0
        for key in self._since(ContentState.PENDING, before_us):
            swept += self._doom_pending(key) and self._store.delete(key)
        return swept

    def _sweep_doomed(self, before_us: int) -> int:
        """Objects that could not be deleted in time, and what was written beside them since."""
        swept = 0
        for key in self._since(ContentState.DOOMED, before_us):
            swept += self._store.delete(key)
            with self._database.write() as session:
                contents.drop(session, key)
        return swept

    def _since(self, state: ContentState, before_us: int) -> Iterator[str]:
        """Keys of contents in this state since then. Each leaves it before the next is asked for."""
        while True:
            with self._database.read() as session:
                keys = contents.since(session, state, before_us, AT_ONCE)
            if not keys:
                return
            yield from keys

    def _tidy(self, work: Callable[[], object]) -> None:
        """After what counts is done: where this fails, the sweep does it."""
        try:
            work()
        except (StageUnavailable, FileNotFoundError) as error:
            logger.warning("bytes that no file has stay until the next sweep: %s", type(error).__name__)

    def _now_us(self) -> int:
        return microseconds(self._now())


def _same_bytes(session: Session, tenant: str, key: str) -> list[Duplicate]:
    """Files of a content, the oldest first."""
    same = select(File.id).where(File.content_key == key, File.tenant == tenant, File.deleted_us.is_(None))
    found = session.scalars(same.order_by(File.created_us).limit(MOST_DUPLICATES))
    return [Duplicate(file_id=file_id, similarity=1.0, exact=True) for file_id in found]
