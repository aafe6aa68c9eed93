"""Headers between DecoderPool and its workers: JSON behind its length. What follows them: see `payload`.

    request   {"kind", "param", ..., "data_bytes"}        then the encoded medium
    reply     {"status": "duration", "seconds"}           any number of times, before the last
              {"status": "image" | "audio" | "video"}     then pixels or samples, C order, native byte order
              {"status": "document"}                      then its texts as JSON, and the pixels of its pages
              {"status": "error", "code", "message"}      nothing

A worker holds a decoder that strangers feed, so the pool believes nothing that it says: each header is
checked against the limits before a byte is allocated for what follows, and nothing is ever unpickled.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Annotated, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from multimodal.config import Limits, LoaderArgs
from multimodal.errors import (
    InvalidMedia,
    InvalidRequest,
    MediaTooLarge,
    MultimodalError,
    NoPictures,
    UnsupportedMedia,
)
from multimodal.media.pages import TEXT_MAX_BYTES
from multimodal.types import FrameSampling, MediaKind, MediaSource

LENGTH = struct.Struct(">I")
"""Length of a header in bytes."""

HEADER_MAX_BYTES = 64 * 1024

ERRORS: Mapping[str, type[MultimodalError]] = {
    error.code: error
    for error in (InvalidMedia, NoPictures, UnsupportedMedia, MediaTooLarge, InvalidRequest, MultimodalError)
}
"""The errors that a worker may report, by their code."""

Count = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
PageSize = Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=2, max_length=2)]
FormatName = Annotated[str, Field(pattern=r"^[a-z0-9]{1,8}$")]


class Header(BaseModel):
    """Base: strict, so that a number is a number."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class SetupHeader(Header):
    """First message to a worker."""

    limits: Limits
    """Of what a request brings."""
    stored_limits: Limits
    """Of uploaded files."""
    args: LoaderArgs

    def limits_of(self, stored: bool) -> Limits:
        """Those that hold for a medium; `stored` where it is an uploaded file."""
        return self.stored_limits if stored else self.limits


class RequestHeader(Header):
    """One medium to decode; its bytes follow."""

    kind: MediaKind
    param: str
    frame_sampling: FrameSampling
    max_frames: int | None
    first_page: int
    filename: str | None
    stored: bool
    sha256: str
    data_bytes: int

    def source(self, data: bytes) -> MediaSource:
        """The request as `decode` takes it."""
        return MediaSource(
            kind=self.kind,
            data=data,
            param=self.param,
            frame_sampling=self.frame_sampling,
            max_frames=self.max_frames,
            first_page=self.first_page,
            filename=self.filename,
        )


class ReadyReply(Header):
    """The worker has started."""

    status: Literal["ready"] = "ready"


class DurationReply(Header):
    """How long a recording or a video plays: its decoder gets more time."""

    status: Literal["duration"] = "duration"
    seconds: Seconds


class ErrorReply(Header):
    """The medium could not be decoded; `detail` is for the log only."""

    status: Literal["error"] = "error"
    code: str
    message: Annotated[str, Field(max_length=1000)]
    param: str | None
    detail: Annotated[str, Field(max_length=8000)] = ""
    last: bool = False
    """Whether the worker ends after this."""


class ImageReply(Header):
    """A picture: uint8 (rows, columns, 3) follows."""

    status: Literal["image"] = "image"
    rows: Count
    columns: Count
    width: Count
    height: Count
    format: FormatName


class AudioReply(Header):
    """A recording: float32 (samples,) follows."""

    status: Literal["audio"] = "audio"
    samples: Count
    format: FormatName


class VideoReply(Header):
    """A video: uint8 (frames, rows, columns, 3) follows, then float32 (samples,) where there is sound."""

    status: Literal["video"] = "video"
    rows: Count
    columns: Count
    times_s: Annotated[list[Seconds], Field(min_length=1, max_length=256)]
    cuts_s: Annotated[list[Seconds], Field(max_length=255)]
    duration_s: Seconds
    width: Count
    height: Count
    format: FormatName
    samples: Annotated[int, Field(ge=0)]


class DocumentReply(Header):
    """Pages of a document: UTF-8 JSON (`payload.Texts`) follows, then uint8 (rows, columns, 3) for each page
    that has pixels."""

    status: Literal["document"] = "document"
    text_bytes: Annotated[int, Field(ge=1, le=TEXT_MAX_BYTES)]
    sizes: Annotated[list[PageSize], Field(min_length=1, max_length=256)]
    """Rows and columns of the pixels of each page; both 0 where it has none."""
    page_count: Count
    format: FormatName


MediaReply: TypeAlias = ImageReply | AudioReply | VideoReply | DocumentReply
Reply: TypeAlias = ReadyReply | DurationReply | ErrorReply | MediaReply

_REPLY: TypeAdapter[Reply] = TypeAdapter(Annotated[Reply, Field(discriminator="status")])


def frame_header(header: Header) -> bytes:
    """A header as it travels."""
    body = header.model_dump_json().encode()
    return LENGTH.pack(len(body)) + body


def parse_reply(body: bytes) -> Reply:
    """Raises ValueError where this is not a reply."""
    return _REPLY.validate_json(body)


def rebuild_error(reply: ErrorReply) -> MultimodalError:
    """The error that a worker reported. Raises ValueError where workers report no such error."""
    if reply.code not in ERRORS:
        raise ValueError("a worker reported an error that is not a worker's")
    return ERRORS[reply.code](reply.message, param=reply.param)
