"""Bodies and answers of the endpoints for files: OpenAI's, and beside them what is known of a file here."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, StringConstraints, WithJsonSchema
from pydantic_core import PydanticCustomError, from_json

from multimodal.api.analysis_schemas import FromText, with_file
from multimodal.api.content import Schema
from multimodal.library.records import FilePage, FileRecord, FileStatus
from multimodal.retrieval.types import Scalar
from multimodal.types import MediaKind

METADATA_KEY = r"[A-Za-z0-9_.-]{1,64}"
METADATA_CHARS = 512
"""Longest text in user metadata. OpenAI's limit."""

_METADATA_KEY = re.compile(METADATA_KEY)
_INT64 = range(-(2**63), 2**63)
"""What the index can compare."""

# --- requests ----------------------------------------------------------------------------------


def _metadata(value: object) -> Mapping[str, Scalar]:
    """User metadata: an object, or its JSON. Complaints name neither keys nor values."""
    found = _parsed(value)
    if not isinstance(found, dict):
        raise PydanticCustomError("json_object", "must be a JSON object")
    if not all(isinstance(key, str) and _METADATA_KEY.fullmatch(key) for key in found):
        raise PydanticCustomError(
            "metadata_key", "must have keys of 1 to 64 letters, digits, dots, hyphens and underscores"
        )
    for item in found.values():
        _check_metadata_value(item)
    return found


def _parsed(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return from_json(value, allow_inf_nan=False)
    except ValueError:
        raise PydanticCustomError("json_object", "must be a JSON object") from None


def _check_metadata_value(item: object) -> None:
    if isinstance(item, str):
        if len(item) > METADATA_CHARS or "\0" in item:
            raise PydanticCustomError(
                "metadata_text", "must have texts of up to 512 characters, without NUL characters"
            )
    elif isinstance(item, int):
        if item not in _INT64:
            raise PydanticCustomError("metadata_number", "must have whole numbers of up to 64 bits")
    elif not isinstance(item, float) or not math.isfinite(item):
        raise PydanticCustomError("metadata_value", "must have texts, numbers, true or false as values")


Metadata = Annotated[
    Mapping[str, Scalar],
    PlainValidator(_metadata),
    WithJsonSchema(
        {
            "type": "object",
            "propertyNames": {"pattern": f"^{METADATA_KEY}$"},
            "additionalProperties": {
                "anyOf": [
                    {"type": "string", "maxLength": METADATA_CHARS, "pattern": r"^[^\u0000]*$"},
                    {"type": "integer", "minimum": _INT64.start, "maximum": _INT64.stop - 1},
                    {"type": "number"},
                    {"type": "boolean"},
                ]
            },
        }
    ),
]

Purpose = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,64}$")]


class FileUpload(Schema):
    """POST /v1/files, as multipart/form-data."""

    model_config = ConfigDict(json_schema_extra=with_file)

    purpose: Purpose = Field(
        "user_data", description="OpenAI's, or a word of your own; files are listed by it"
    )
    metadata: Metadata | None = Field(
        None,
        description=(
            "JSON, or one field metadata[key] for each text: what searches filter by. 32 keys, unless the "
            "server is configured otherwise"
        ),
    )
    expires_after: Annotated[object, FromText] = Field(
        None,
        description="not supported: files are kept until they are deleted",
        json_schema_extra={"type": "string", "maxLength": 0},
    )


# --- answers -----------------------------------------------------------------------------------


class FileError(BaseModel):
    """Why a file could not be processed."""

    code: str
    message: str


class DuplicateFile(BaseModel):
    """Another file that has the same bytes, or looks nearly the same."""

    file_id: str
    similarity: float = Field(description="1: the same; below: how much of what is compared is equal")
    exact: bool = Field(description="whether it has the same bytes")
    start_s: float | None = Field(description="videos: where the scene begins that looks alike, seconds")


class FileObject(BaseModel):
    """An uploaded file."""

    id: str
    object: Literal["file"] = "file"
    bytes: int
    created_at: int = Field(description="Unix seconds")
    expires_at: None = Field(None, description="files are kept until they are deleted")
    filename: str
    purpose: str
    status: FileStatus
    status_details: str | None = Field(description="why it could not be processed")
    media_type: str = Field(description="by its bytes")
    kind: MediaKind | None = Field(description="null: it is kept, but nothing that can be searched")
    sha256: str
    metadata: dict[str, Scalar]
    stage: str | None = Field(description="while it is processed: load, encode, embed or store")
    progress: float = Field(description="in [0, 1]")
    segments: int = Field(description="how many parts of it can be found")
    duration_s: float | None
    pages: int | None
    error: FileError | None
    duplicates: list[DuplicateFile]

    @classmethod
    def of(cls, record: FileRecord) -> FileObject:
        """A record in the words of the API."""
        return cls(
            id=record.id,
            bytes=record.content.size_bytes,
            created_at=record.created_s,
            filename=record.filename,
            purpose=record.purpose,
            status=record.status,
            status_details=record.error_message,
            media_type=record.media_type,
            kind=record.kind,
            sha256=record.content.sha256,
            metadata=dict(record.metadata),
            stage=record.stage,
            progress=round(record.progress, 4),
            segments=record.segments,
            duration_s=record.duration_s,
            pages=record.pages,
            error=_error(record),
            duplicates=list(_duplicates(record)),
        )


def _error(record: FileRecord) -> FileError | None:
    if record.error_code is None:
        return None
    return FileError(code=record.error_code, message=record.error_message or "")


def _duplicates(record: FileRecord) -> Iterable[DuplicateFile]:
    for one in record.duplicates:
        yield DuplicateFile(
            file_id=one.file_id, similarity=round(one.similarity, 4), exact=one.exact, start_s=one.start_s
        )


class FileList(BaseModel):
    """A page of the list of files. `last_id` is what the next one comes `after`."""

    object: Literal["list"] = "list"
    data: list[FileObject]
    has_more: bool
    first_id: str | None
    last_id: str | None

    @classmethod
    def of(cls, page: FilePage) -> FileList:
        """A page in the words of the API."""
        files = page.files
        return cls(
            data=[FileObject.of(record) for record in files],
            has_more=page.more,
            first_id=files[0].id if files else None,
            last_id=files[-1].id if files else None,
        )


class FileDeleted(BaseModel):
    id: str
    object: Literal["file"] = "file"
    deleted: Literal[True] = True
