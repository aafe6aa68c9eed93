"""Uploaded files as the API and the Ingestor see them: bytes in the content store, rows in the database.

`multimodal.library.shelf` implements them.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Protocol

from multimodal.library.records import Duplicate, FilePage, FileRecord, FileStatus
from multimodal.retrieval.types import Scalar


class Upload(Protocol):
    """Bytes that are coming in, not visible before `FileLibrary.add`. Methods block: call them in threads."""

    def write(self, data: bytes) -> None:
        """Append, hashing on the way."""
        ...

    def abort(self) -> None:
        """Forget it; does nothing once it was added."""
        ...


class FileLibrary(Protocol):
    """Every call names its tenant; files of other tenants do not exist for it. Coroutines never block."""

    def begin(self, tenant: str) -> Upload:
        """Begin an upload. Blocks: call in a thread."""
        ...

    async def add(
        self,
        tenant: str,
        upload: Upload,
        *,
        filename: str,
        purpose: str,
        metadata: Mapping[str, Scalar],
    ) -> FileRecord:
        """Make an upload a file: when this returns, it survives `kill -9`. `duplicates` has files of the same
        bytes. Raises InvalidMedia for no bytes, QuotaExceeded."""
        ...

    async def get(self, tenant: str, file_id: str) -> FileRecord:
        """Raises FileUnknown."""
        ...

    async def get_all(self, tenant: str, file_ids: Sequence[str]) -> Mapping[str, FileRecord]:
        """Those that exist, by id."""
        ...

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
        """By time of upload, then id. Raises FileUnknown for an unknown `after`."""
        ...

    async def delete(self, tenant: str, file_id: str) -> None:
        """From now on it does not exist; its segments are still to be forgotten: `purge` afterwards.
        Raises FileUnknown."""
        ...

    async def purge(self, tenant: str, file_id: str) -> None:
        """After `delete`, once its segments are out of the index: drop what is left of it, and the bytes with
        the last file of the tenant that has them. Idempotent."""
        ...

    async def retry(self, tenant: str, file_id: str) -> FileRecord:
        """Have a file processed (again). Raises FileUnknown; InvalidRequest where it is being processed."""
        ...

    def read(self, record: FileRecord, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """Bytes [start, end) in pieces."""
        ...

    async def read_thumbnail(self, record: FileRecord, ordinal: int) -> bytes:
        """JPEG. Raises FileUnknown where there is none."""
        ...


class IngestQueue(Protocol):
    """The other side of the same store: what the Ingestor works through. Survives restarts."""

    async def claim(self, owner: str) -> FileRecord | None:
        """The oldest file that waits, or whose owner's lease ran out; now PROCESSING and ours. One that was
        begun `attempts` times becomes ERROR (code `processing_interrupted`) instead. None: nothing to do."""
        ...

    async def renew(self, owner: str, file_id: str) -> bool:
        """Keep the lease. False: it is no longer ours, or the file was deleted; stop."""
        ...

    async def report(self, owner: str, file_id: str, stage: str, progress: float) -> bool:
        """Show how far it is; renews the lease, too, and returns the same."""
        ...

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
        """PROCESSED. False: it is no longer ours, or was deleted meanwhile: its segments must go."""
        ...

    async def fail(self, owner: str, file_id: str, code: str, message: str) -> bool:
        """ERROR, with why."""
        ...

    async def release(self, owner: str, file_id: str, delay_s: float) -> None:
        """Give it back to be tried again later; not counted as an attempt (a stage is restarting)."""
        ...

    async def write_thumbnail(self, record: FileRecord, ordinal: int, jpeg: bytes) -> None:
        """Keep it beside the file's bytes; goes with them."""
        ...

    async def twin(self, record: FileRecord) -> FileRecord | None:
        """A PROCESSED file of the same tenant with the same bytes, whose segments can be copied."""
        ...

    async def deleted(self) -> Sequence[tuple[str, str]]:
        """(tenant, file id) of files that were deleted and not yet purged."""
        ...

    async def existing(self, tenant: str, file_ids: Sequence[str]) -> set[str]:
        """Which of these files exist, whatever their status."""
        ...

    async def searchable(self, tenant: str, file_ids: Sequence[str]) -> set[str]:
        """Which of these files may have segments: those that exist and are not ERROR."""
        ...

    async def processed(self) -> Mapping[str, Sequence[str]]:
        """Ids of all PROCESSED files that have segments, by tenant."""
        ...

    async def requeue(self, tenant: str, file_ids: Sequence[str]) -> None:
        """Have those of the files that are PROCESSED processed again."""
        ...

    async def sweep(self) -> int:
        """Delete bytes that no file refers to, and uploads that never ended, older than `orphan_s`.
        How many there were."""
        ...


class Library(FileLibrary, IngestQueue, Protocol):
    """Both sides of the store."""
