"""Uploaded files, as OpenAI has them: upload, list, look at, read, delete; and ours: retry, thumbnails."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query, Request, Response

from multimodal.api.errors import UnsupportedParameter
from multimodal.api.exchange import exchange_of
from multimodal.api.file_content import content_response, thumbnail_response
from multimodal.api.file_schemas import FileDeleted, FileList, FileObject, FileUpload, Metadata
from multimodal.api.file_urls import FILES
from multimodal.api.form import MAX_TEXT_BYTES, file_too_large
from multimodal.api.limits import BodyLimit, Endpoint
from multimodal.api.openapi import (
    CONTENT_RESPONSES,
    FILE_EXAMPLES,
    THUMBNAIL_RESPONSES,
    bodies,
    error_responses,
)
from multimodal.api.service import LibraryService
from multimodal.api.surface import Surface
from multimodal.api.upload import require_file, stream_form
from multimodal.config import LibraryArgs
from multimodal.errors import FileUnknown, InvalidRequest
from multimodal.filenames import UNNAMED, clean_filename
from multimodal.library.files import Upload
from multimodal.library.records import FileRecord, FileStatus

MAX_LIST = 10_000
"""OpenAI's limit, and its default."""

_FILE_ID = re.compile(r"file-[0-9a-f]{32}")

FileId = Annotated[str, Path(description="of an uploaded file", examples=[f"file-{0:032x}"])]
Ordinal = Annotated[int, Path(ge=0, lt=2**31, description="of the segment in its file, from 0")]
Limit = Annotated[int, Query(ge=1, le=MAX_LIST, description="files in the answer at most")]
After = Annotated[str | None, Query(description="id of the last file of the page before")]
Order = Annotated[Literal["asc", "desc"], Query(description="by time of upload; desc: the newest first")]
PurposeIs = Annotated[str | None, Query(max_length=64, description="only files uploaded with this purpose")]
StatusIs = Annotated[FileStatus | None, Query(description="only files that are that far")]
Sha256Is = Annotated[
    str | None, Query(pattern="^[0-9a-f]{64}$", description="only files of these bytes: their SHA-256")
]


def upload_limits(args: LibraryArgs) -> dict[Endpoint, BodyLimit]:
    """For BodyLimitMiddleware: an upload may have a whole file, and the fields of its form."""
    limit = BodyLimit(
        limit_bytes=args.upload_bytes + MAX_TEXT_BYTES, too_large=lambda: file_too_large(args.upload_bytes)
    )
    return {("POST", FILES): limit}


def files_router(surface: Surface) -> APIRouter:
    """The endpoints over a surface."""
    router = APIRouter(tags=["files"])
    desk = FileDesk(surface)

    @router.post(
        FILES,
        summary="Upload a file; it is processed in the background",
        response_model=FileObject,
        responses=error_responses(),
        openapi_extra=bodies(form=FileUpload, form_examples=FILE_EXAMPLES),
    )
    async def upload(request: Request) -> FileObject:
        return FileObject.of(await desk.upload(request))

    @router.get(FILES, summary="The files", response_model=FileList, responses=error_responses())
    async def list_files(
        request: Request,
        after: After = None,
        limit: Limit = MAX_LIST,
        order: Order = "desc",
        purpose: PurposeIs = None,
        status: StatusIs = None,
        sha256: Sha256Is = None,
    ) -> Response:
        page = await desk.library.files.list(
            desk.tenant(request),
            limit=limit,
            after=None if after is None else known_id(after, "after"),
            ascending=order == "asc",
            purpose=purpose,
            status=status,
            sha256=sha256,
        )
        # Ten thousand files are megabytes of JSON.
        body = await asyncio.to_thread(lambda: FileList.of(page).model_dump_json())
        return Response(body, media_type="application/json")

    @router.get(f"{FILES}/{{file_id}}", summary="One file", responses=error_responses())
    async def one_file(request: Request, file_id: FileId) -> FileObject:
        return FileObject.of(await desk.find(request, file_id))

    @router.delete(
        f"{FILES}/{{file_id}}", summary="Delete a file and what was made of it", responses=error_responses()
    )
    async def delete_file(request: Request, file_id: FileId) -> FileDeleted:
        await desk.library.delete(surface.context(exchange_of(request.scope)), known_id(file_id))
        return FileDeleted(id=file_id)

    @router.post(
        f"{FILES}/{{file_id}}/retry",
        summary="Process a file again, whose processing failed",
        responses=error_responses(),
    )
    async def retry(request: Request, file_id: FileId) -> FileObject:
        return FileObject.of(await desk.library.files.retry(desk.tenant(request), known_id(file_id)))

    @router.head(f"{FILES}/{{file_id}}/content", include_in_schema=False)
    @router.get(
        f"{FILES}/{{file_id}}/content",
        summary="The bytes of a file, whole or a range",
        response_class=Response,
        responses={**CONTENT_RESPONSES, **error_responses()},
    )
    async def content(request: Request, file_id: FileId) -> Response:
        return content_response(request, desk.library.files, await desk.find(request, file_id))

    @router.get(
        f"{FILES}/{{file_id}}/thumbnails/{{ordinal}}",
        summary="A small picture of a segment of a file",
        response_class=Response,
        responses={**THUMBNAIL_RESPONSES, **error_responses()},
    )
    async def thumbnail(request: Request, file_id: FileId, ordinal: Ordinal) -> Response:
        record = await desk.find(request, file_id)
        return thumbnail_response(await desk.library.files.read_thumbnail(record, ordinal))

    return router


def known_id(file_id: str, param: str | None = None) -> str:
    """An id that may exist; others never reach the database. Raises FileUnknown."""
    if not _FILE_ID.fullmatch(file_id):
        raise FileUnknown.of(file_id, param)
    return file_id


class FileDesk:
    """What the endpoints do."""

    def __init__(self, surface: Surface) -> None:
        self._surface = surface

    @property
    def library(self) -> LibraryService:
        """The one that is served now."""
        return self._surface.service().library

    def tenant(self, request: Request) -> str:
        """Who asks."""
        return exchange_of(request.scope).tenant

    async def find(self, request: Request, file_id: str) -> FileRecord:
        """Raises FileUnknown."""
        return await self.library.files.get(self.tenant(request), known_id(file_id))

    async def upload(self, request: Request) -> FileRecord:
        """Raises what `stream_form` raises, UnsupportedParameter and QuotaExceeded; then nothing is kept."""
        args, tenant = self._surface.args.library, self.tenant(request)
        async with _incoming(lambda: self.library.files.begin(tenant)) as incoming:
            body, streamed = await stream_form(request, FileUpload, incoming, limit_bytes=args.upload_bytes)
            file = require_file(streamed)
            if body.expires_after is not None:
                raise UnsupportedParameter(
                    "Files do not expire. Leave expires_after out, and delete files that are not needed.",
                    param="expires_after",
                )
            return await self.library.add(
                self._surface.context(exchange_of(request.scope)),
                incoming.upload,
                filename=clean_filename(file.filename or UNNAMED),
                purpose=body.purpose,
                metadata=_bounded(body.metadata or {}, args.metadata_keys),
            )


class _Incoming:
    """A sink for the bytes of a file. The upload begins with the first of them, in their thread."""

    def __init__(self, begin: Callable[[], Upload]) -> None:
        self._begin = begin
        self._upload: Upload | None = None

    @property
    def upload(self) -> Upload:
        """What was begun."""
        if self._upload is None:
            raise RuntimeError("no byte of the file was written")
        return self._upload

    def write(self, data: bytes) -> None:
        """Blocks."""
        if self._upload is None:
            self._upload = self._begin()
        self._upload.write(data)

    def abort(self) -> None:
        """Blocks. Does nothing to an upload that was added."""
        if self._upload is not None:
            self._upload.abort()


@asynccontextmanager
async def _incoming(begin: Callable[[], Upload]) -> AsyncGenerator[_Incoming, None]:
    """Aborts the upload where the body of this context fails or is cancelled."""
    incoming = _Incoming(begin)
    try:
        yield incoming
    except BaseException:
        await asyncio.shield(asyncio.to_thread(incoming.abort))
        raise


def _bounded(metadata: Metadata, max_keys: int) -> Metadata:
    if len(metadata) > max_keys:
        raise InvalidRequest(f"metadata may have {max_keys} keys. Send fewer.", param="metadata")
    return metadata
