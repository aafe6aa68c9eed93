"""A library that keeps files in memory, and a search whose answers are written down beforehand."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Mapping, MutableSequence, Sequence
from dataclasses import dataclass, field, replace

from multimodal.errors import FileUnknown, InvalidMedia, InvalidRequest
from multimodal.library.files import Upload
from multimodal.library.records import (
    Duplicate,
    FilePage,
    FileRecord,
    FileStatus,
    SearchAnswer,
    SearchRequest,
)
from multimodal.retrieval.types import Scalar
from multimodal.types import Emit, MediaKind, RequestContext, StoredContent

CREATED_S = 1_700_000_000


def file_id(number: int) -> str:
    """The id of the file that was uploaded as this, from 1."""
    return f"file-{number:032x}"


@dataclass
class FakeUpload:
    """Gathers what is written; `error` is raised at the first write."""

    error: Exception | None = None
    written: list[bytes] = field(default_factory=list)
    state: str = "open"
    """Or "added", "aborted"."""

    @property
    def data(self) -> bytes:
        return b"".join(self.written)

    def write(self, data: bytes) -> None:
        assert self.state == "open"
        if self.error is not None:
            raise self.error
        self.written.append(data)

    def abort(self) -> None:
        if self.state == "open":
            self.state = "aborted"


@dataclass
class FakeFiles:
    """`FileLibrary` in memory. Files get the ids `file_id(1)`, `file_id(2)`, ... and one second each."""

    records: dict[str, FileRecord] = field(default_factory=dict)
    data: dict[str, bytes] = field(default_factory=dict)
    """By file id."""
    thumbnails: dict[tuple[str, int], bytes] = field(default_factory=dict)
    uploads: MutableSequence[FakeUpload] = field(default_factory=list)
    """Every one that was begun."""
    error: Exception | None = None
    """Raised by writing and by reading."""
    piece_bytes: int = 1 << 16
    read_bytes: int = 0
    """How much was read of contents."""

    def put(self, data: bytes, *, tenant: str = "local", **fields: object) -> FileRecord:
        """Have a file without uploading it."""
        record = FileRecord(
            id=file_id(len(self.data) + 1),
            tenant=tenant,
            filename="notes.txt",
            purpose="user_data",
            media_type="text/plain",
            kind=MediaKind.DOCUMENT,
            content=_content(data),
            created_s=CREATED_S + len(self.data),
        )
        record = replace(record, **fields)  # type: ignore[arg-type]
        self.records[record.id], self.data[record.id] = record, data
        return record

    def change(self, file_id: str, **fields: object) -> FileRecord:
        """As the Ingestor would."""
        self.records[file_id] = replace(self.records[file_id], **fields)  # type: ignore[arg-type]
        return self.records[file_id]

    def begin(self, tenant: str) -> FakeUpload:
        self.uploads.append(FakeUpload(self.error))
        return self.uploads[-1]

    async def add(
        self,
        tenant: str,
        upload: Upload,
        *,
        filename: str,
        purpose: str,
        metadata: Mapping[str, Scalar],
    ) -> FileRecord:
        assert isinstance(upload, FakeUpload)
        assert upload.state == "open"
        if not upload.data:
            raise InvalidMedia("The file holds no data.", param="file")
        sha256 = _content(upload.data).sha256
        same = [one for one in self._of(tenant) if one.content.sha256 == sha256]
        upload.state = "added"
        return self.put(
            upload.data,
            tenant=tenant,
            filename=filename,
            purpose=purpose,
            metadata=dict(metadata),
            duplicates=tuple(Duplicate(file_id=one.id, similarity=1.0, exact=True) for one in same),
        )

    async def get(self, tenant: str, file_id: str) -> FileRecord:
        for record in self._of(tenant):
            if record.id == file_id:
                return record
        raise FileUnknown.of(file_id)

    async def get_all(self, tenant: str, file_ids: Sequence[str]) -> Mapping[str, FileRecord]:
        return {record.id: record for record in self._of(tenant) if record.id in file_ids}

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
        found = [
            record
            for record in sorted(self._of(tenant), key=lambda one: one.created_s, reverse=not ascending)
            if purpose in (None, record.purpose)
            and status in (None, record.status)
            and sha256 in (None, record.content.sha256)
        ]
        if after is not None:
            place = [record.id for record in found].index((await self.get(tenant, after)).id)
            found = found[place + 1 :]
        return FilePage(files=tuple(found[:limit]), more=len(found) > limit)

    async def delete(self, tenant: str, file_id: str) -> None:
        await self.get(tenant, file_id)
        del self.records[file_id]

    async def purge(self, tenant: str, file_id: str) -> None:
        self.data[file_id] = b""

    async def retry(self, tenant: str, file_id: str) -> FileRecord:
        record = await self.get(tenant, file_id)
        if record.status is FileStatus.PROCESSING:
            raise InvalidRequest("This file is being processed.")
        return self.change(file_id, status=FileStatus.UPLOADED, error_code=None, error_message=None)

    async def read(self, record: FileRecord, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        data = self.data[record.id][start:end]
        for at in range(0, len(data), self.piece_bytes):
            if self.error is not None:
                raise self.error
            piece = data[at : at + self.piece_bytes]
            self.read_bytes += len(piece)
            yield piece

    async def read_thumbnail(self, record: FileRecord, ordinal: int) -> bytes:
        if (record.id, ordinal) not in self.thumbnails:
            raise FileUnknown("There is no thumbnail of that segment.")
        return self.thumbnails[record.id, ordinal]

    def _of(self, tenant: str) -> Sequence[FileRecord]:
        return [record for record in self.records.values() if record.tenant == tenant]


@dataclass
class FakeLibrary:
    """`LibraryService` over `FakeFiles`. Searches get `answer`, or `error`."""

    files: FakeFiles = field(default_factory=FakeFiles)
    answer: SearchAnswer = field(default_factory=lambda: SearchAnswer(results=(), more=False, tokens=0))
    error: Exception | None = None
    contexts: list[RequestContext] = field(default_factory=list)
    searches: list[SearchRequest] = field(default_factory=list)

    async def add(
        self,
        ctx: RequestContext,
        upload: Upload,
        *,
        filename: str,
        purpose: str,
        metadata: Mapping[str, Scalar],
    ) -> FileRecord:
        self.contexts.append(ctx)
        return await self.files.add(ctx.tenant, upload, filename=filename, purpose=purpose, metadata=metadata)

    async def delete(self, ctx: RequestContext, file_id: str) -> None:
        self.contexts.append(ctx)
        await self.files.delete(ctx.tenant, file_id)
        await self.files.purge(ctx.tenant, file_id)

    async def search(self, ctx: RequestContext, request: SearchRequest, emit: Emit) -> SearchAnswer:
        self.contexts.append(ctx)
        self.searches.append(request)
        if self.error is not None:
            raise self.error
        return self.answer


def _content(data: bytes) -> StoredContent:
    sha256 = hashlib.sha256(data).hexdigest()
    return StoredContent(key=f"media/{sha256}", sha256=sha256, size_bytes=len(data))
