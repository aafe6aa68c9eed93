"""What travels between DecoderPool and its workers: a JSON header behind its length, then raw bytes.

    request   {"kind", "param", ..., "data_bytes"}        then the encoded medium
    reply     {"status": "duration", "seconds"}           any number of times, before the last
              {"status": "image" | "audio" | "video"}     then pixels or samples, C order, native byte order
              {"status": "error", "code", "message"}      nothing

A worker holds a decoder that strangers feed, so the pool believes nothing that it says: each header is
checked against the limits before a byte is allocated for what follows, and nothing is ever unpickled.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Annotated, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from multimodal.config import Limits, LoaderArgs
from multimodal.errors import InvalidMedia, InvalidRequest, MediaTooLarge, MultimodalError, UnsupportedMedia
from multimodal.types import SAMPLE_RATE_HZ, Audio, FrameSampling, Image, Media, MediaKind, MediaSource, Video

LENGTH = struct.Struct(">I")
"""Length of a header in bytes."""

HEADER_MAX_BYTES = 64 * 1024

ERRORS: Mapping[str, type[MultimodalError]] = {
    error.code: error
    for error in (InvalidMedia, UnsupportedMedia, MediaTooLarge, InvalidRequest, MultimodalError)
}
"""The errors that a worker may report, by their code."""

Array: TypeAlias = NDArray[np.uint8] | NDArray[np.float32]
Count = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
FormatName = Annotated[str, Field(pattern=r"^[a-z0-9]{1,8}$")]


class Header(BaseModel):
    """Base: strict, so that a number is a number."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class SetupHeader(Header):
    """First message to a worker."""

    limits: Limits
    args: LoaderArgs


class RequestHeader(Header):
    """One medium to decode; its bytes follow."""

    kind: MediaKind
    param: str
    frame_sampling: FrameSampling
    max_frames: int | None
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


MediaReply: TypeAlias = ImageReply | AudioReply | VideoReply
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


def pack_media(media: Media) -> tuple[MediaReply, list[Array]]:
    """The header for a decoded medium, and the arrays that follow it."""
    if isinstance(media, Image):
        rows, columns, _ = media.pixels.shape
        picture = ImageReply(
            rows=rows, columns=columns, width=media.width, height=media.height, format=media.format
        )
        return picture, [media.pixels]
    if isinstance(media, Audio):
        return AudioReply(samples=len(media.samples), format=media.format), [media.samples]
    _, rows, columns, _ = media.frames.shape
    header = VideoReply(
        rows=rows,
        columns=columns,
        times_s=list(media.times_s),
        cuts_s=list(media.cuts_s),
        duration_s=media.duration_s,
        width=media.width,
        height=media.height,
        format=media.format,
        samples=len(media.audio.samples) if media.audio else 0,
    )
    return header, [media.frames, *([media.audio.samples] if media.audio else [])]


def allocate(reply: MediaReply, kind: MediaKind, limits: Limits, args: LoaderArgs) -> list[Array]:
    """Empty arrays for what follows a header.

    Raises ValueError where the header is of another kind than asked for, or exceeds what a worker may send.
    """
    if reply.status != kind.value:
        raise ValueError(f"a worker sent {reply.status} for {kind.value}")
    if isinstance(reply, ImageReply):
        _check_sides(reply.rows, reply.columns, args.image_max_side_px)
        return [np.empty((reply.rows, reply.columns, 3), np.uint8)]
    limit_s = limits.audio_s if isinstance(reply, AudioReply) else limits.video_s
    if reply.samples > limit_s * SAMPLE_RATE_HZ:
        raise ValueError("a worker sent more samples than allowed")
    sound: list[Array] = [np.empty(reply.samples, np.float32)] if reply.samples else []
    if isinstance(reply, AudioReply):
        return sound
    _check_sides(reply.rows, reply.columns, args.frame_max_side_px)
    if len(reply.times_s) > args.max_frames_limit:
        raise ValueError("a worker sent more frames than allowed")
    return [np.empty((len(reply.times_s), reply.rows, reply.columns, 3), np.uint8), *sound]


def build_media(reply: MediaReply, arrays: Sequence[Array], sha256: str) -> Media:
    """The decoded medium; `arrays` are those that `allocate` made, filled."""
    if isinstance(reply, ImageReply):
        pixels = arrays[0].view(np.uint8)
        return Image(
            sha256=sha256, pixels=pixels, width=reply.width, height=reply.height, format=reply.format
        )
    sound = arrays[-1].view(np.float32) if reply.samples else None
    audio = None if sound is None else _audio(sound, reply.format, sha256)
    if isinstance(reply, AudioReply):
        assert audio is not None
        return audio
    return Video(
        sha256=sha256,
        frames=arrays[0].view(np.uint8),
        times_s=tuple(reply.times_s),
        duration_s=reply.duration_s,
        width=reply.width,
        height=reply.height,
        format=reply.format,
        audio=audio,
        cuts_s=tuple(reply.cuts_s),
    )


def _audio(samples: NDArray[np.float32], format_name: str, sha256: str) -> Audio:
    duration_s = len(samples) / SAMPLE_RATE_HZ
    return Audio(sha256=sha256, samples=samples, duration_s=duration_s, format=format_name)


def _check_sides(rows: int, columns: int, max_side_px: int) -> None:
    if max(rows, columns) > max_side_px:
        raise ValueError("a worker sent larger pictures than allowed")
