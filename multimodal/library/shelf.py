"""The library of uploaded files: the content store and the metadata database together."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from multimodal.config import AppArgs, LibraryArgs
from multimodal.errors import FileUnknown
from multimodal.library.files import Upload
from multimodal.library.filing import Filing, Label
from multimodal.library.listing import Listing
from multimodal.library.queue import Queue
from multimodal.library.records import Duplicate, FilePage, FileRecord, FileStatus
from multimodal.library.uploads import StagedUpload
from multimodal.media.sniff import recognise as recognise_format
from multimodal.metadata.database import Database, open_database
from multimodal.retrieval.types import Scalar
from multimodal.storage import ContentStore
from multimodal.types import MediaKind

Recognise: TypeAlias = Callable[[bytes, str], tuple[MediaKind | None, str]]
"""What a file can be searched as, and its MIME type, by its first bytes and its name."""


def open_library(
    args: AppArgs,
    home: Path,
    *,
    now: Callable[[], float] = time.time,
    recognise: Recognise = recognise_format,
) -> StoredLibrary:
    """Open the library, made or brought up to date where that is needed. Any number of processes may do so.

    Raises ConfigError.
    """
    contents = ContentStore(args.library.storage_url, home)
    database = open_database(args.library.database_url, home)
    return StoredLibrary(database, contents, args.library, now=now, recognise=recognise)


class StoredLibrary:
    """Implements `multimodal.library.files.Library`. Works in threads: coroutines never block.

    A call that is cancelled goes on in its thread, and what it does is done.
    """

    def __init__(
        self,
        database: Database,
        contents: ContentStore,
        args: LibraryArgs,
        *,
        now: Callable[[], float],
        recognise: Recognise,
    ) -> None:
        self.contents = contents
        """To read whole files where they are decoded."""
        self._database = database
        self._recognise = recognise
        self._filing = Filing(database, contents, args, now)
        self._listing = Listing(database)
        self._queue = Queue(database, args, now)

    def close(self) -> None:
        """Close the database."""
        self._database.close()

    # --- FileLibrary -------------------------------------------------------------------------------

    def begin(self, tenant: str) -> StagedUpload:
        """See `FileLibrary`. Raises StageUnavailable."""
        return StagedUpload(tenant, self.contents)

    async def add(
        self,
        tenant: str,
        upload: Upload,
        *,
        filename: str,
        purpose: str,
        metadata: Mapping[str, Scalar],
    ) -> FileRecord:
        if not isinstance(upload, StagedUpload) or upload.tenant != tenant:
            raise TypeError("this upload was not begun here for this tenant")
        kind, media_type = self._recognise(upload.head, filename)
        label = Label(
            tenant=tenant,
            filename=filename,
            purpose=purpose,
            metadata=metadata,
            kind=kind,
            media_type=media_type,
        )
        return await asyncio.to_thread(self._filing.add, upload, label)

    async def get(self, tenant: str, file_id: str) -> FileRecord:
        return await asyncio.to_thread(self._listing.get, tenant, file_id)

    async def get_all(self, tenant: str, file_ids: Sequence[str]) -> Mapping[str, FileRecord]:
        return await asyncio.to_thread(self._listing.get_all, tenant, file_ids)

    async def list(
        self,
        tenant: str,
        *,
        limit: int,
        after: str | None = None,
        ascending: bool = False,
        purpose: str | None = None,
        status: FileStatus | None = None,
        sha256: str | None = None,
    ) -> FilePage:
        return await asyncio.to_thread(
            self._listing.list,
            tenant,
            limit=limit,
            after=after,
            ascending=ascending,
            purpose=purpose,
            status=status,
            sha256=sha256,
        )

    async def delete(self, tenant: str, file_id: str) -> None:
        await asyncio.to_thread(self._filing.delete, tenant, file_id)

    async def purge(self, tenant: str, file_id: str) -> None:
        await asyncio.to_thread(self._filing.purge, tenant, file_id)

    async def retry(self, tenant: str, file_id: str) -> FileRecord:
        return await asyncio.to_thread(self._queue.retry, tenant, file_id)

    async def read(self, record: FileRecord, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """See `FileLibrary`. Raises FileUnknown where the file was deleted meanwhile."""
        size_bytes = record.content.size_bytes
        pieces = self.contents.pieces(
            record.content, start, size_bytes if end is None else min(end, size_bytes)
        )
        try:
            while piece := await asyncio.to_thread(next, pieces, b""):
                yield piece
        except FileNotFoundError as error:
            raise FileUnknown.of(record.id) from error

    async def read_thumbnail(self, record: FileRecord, ordinal: int) -> bytes:
        try:
            return await asyncio.to_thread(
                self.contents.read_derived, record.content.key, _thumbnail(ordinal)
            )
        except FileNotFoundError as error:
            raise FileUnknown("There is no thumbnail of that segment.") from error

    # --- IngestQueue -------------------------------------------------------------------------------

    async def claim(self, owner: str) -> FileRecord | None:
        return await asyncio.to_thread(self._queue.claim, owner)

    async def renew(self, owner: str, file_id: str) -> bool:
        return await asyncio.to_thread(self._queue.renew, owner, file_id)

    async def report(self, owner: str, file_id: str, stage: str, progress: float) -> bool:
        return await asyncio.to_thread(self._queue.report, owner, file_id, stage, progress)

    async def finish(
        self,
        owner: str,
        file_id: str,
        *,
        segments: int,
        duration_s: float | None,
        pages: int | None,
        duplicates: Sequence[Duplicate],
    ) -> bool:
        return await asyncio.to_thread(
            self._queue.finish,
            owner,
            file_id,
            segments=segments,
            duration_s=duration_s,
            pages=pages,
            duplicates=duplicates,
        )

    async def fail(self, owner: str, file_id: str, code: str, message: str) -> bool:
        return await asyncio.to_thread(self._queue.fail, owner, file_id, code, message)

    async def release(self, owner: str, file_id: str, delay_s: float) -> None:
        await asyncio.to_thread(self._queue.release, owner, file_id, delay_s)

    async def write_thumbnail(self, record: FileRecord, ordinal: int, jpeg: bytes) -> None:
        """See `IngestQueue`. What comes after the file was purged is swept away."""
        await asyncio.to_thread(self._filing.write_derived, record, _thumbnail(ordinal), jpeg)

    async def twin(self, record: FileRecord) -> FileRecord | None:
        return await asyncio.to_thread(self._listing.twin, record)

    async def deleted(self) -> Sequence[tuple[str, str]]:
        return await asyncio.to_thread(self._listing.deleted)

    async def existing(self, tenant: str, file_ids: Sequence[str]) -> set[str]:
        return await asyncio.to_thread(self._listing.existing, tenant, file_ids)

    async def searchable(self, tenant: str, file_ids: Sequence[str]) -> set[str]:
        return await asyncio.to_thread(self._listing.searchable, tenant, file_ids)

    async def processed(self) -> Mapping[str, Sequence[str]]:
        return await asyncio.to_thread(self._listing.processed)

    async def requeue(self, tenant: str, file_ids: Sequence[str]) -> None:
        await asyncio.to_thread(self._queue.requeue, tenant, file_ids)

    async def sweep(self) -> int:
        return await asyncio.to_thread(self._filing.sweep)


def _thumbnail(ordinal: int) -> str:
    return f"thumbnail-{ordinal}.jpg"
