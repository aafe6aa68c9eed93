"""Decode one medium: recognise it, hold it against the limits, hand it to the decoder of its kind."""

from __future__ import annotations

from collections.abc import Callable

from multimodal.config import Limits, LoaderArgs
from multimodal.errors import InvalidRequest
from multimodal.identity import sha256_of
from multimodal.media.limits import check_bytes
from multimodal.media.sniff import require_format
from multimodal.types import Media, MediaKind, MediaSource


def decode(
    source: MediaSource,
    limits: Limits,
    args: LoaderArgs,
    *,
    sha256: str | None = None,
    on_duration: Callable[[float], None] | None = None,
) -> Media:
    """Decode in this process: callers that face strangers use `DecoderPool`.

    Args:
        source: the encoded medium.
        limits: what it may cost.
        args: sizes after decoding, frames of a video, pages of a document.
        sha256: hex digest of the bytes, where the caller knows it already.
        on_duration: is told the seconds of a recording or a video, by its header, before decoding begins.

    Raises:
        InvalidMedia: damaged, cut short, or not of the part's kind.
        UnsupportedMedia: of a format or a codec without a decoder.
        MediaTooLarge: more bytes, pixels, seconds, pages or text than allowed.
        InvalidRequest: more frames asked for than allowed, or a page that there is not.
    """
    check_bytes(len(source.data), source.kind, limits, source.param)
    name = require_format(source.data, source.kind, source.param, source.filename).name
    digest = sha256 or sha256_of(source.data)
    if source.kind is MediaKind.IMAGE:
        return _image(source, name, limits, args, digest)
    if source.kind is MediaKind.AUDIO:
        return _audio(source, name, limits, digest, on_duration)
    if source.kind is MediaKind.DOCUMENT:
        return _document(source, name, limits, args, digest)
    return _video(source, name, limits, args, digest, on_duration)


def frames_wanted(source: MediaSource, args: LoaderArgs) -> int:
    """Frames to sample from a video. Raises InvalidRequest where the client asks for too many or none."""
    wanted = args.max_frames if source.max_frames is None else source.max_frames
    if not 1 <= wanted <= args.max_frames_limit:
        raise InvalidRequest(
            f"max_frames must be between 1 and {args.max_frames_limit}.", param=f"{source.param}.max_frames"
        )
    return wanted


def _image(source: MediaSource, name: str, limits: Limits, args: LoaderArgs, digest: str) -> Media:
    from multimodal.media.decode_image import decode_image

    return decode_image(
        source.data,
        format_name=name,
        limits=limits,
        max_side_px=args.image_max_side_px,
        sha256=digest,
        param=source.param,
    )


def _document(source: MediaSource, name: str, limits: Limits, args: LoaderArgs, digest: str) -> Media:
    from multimodal.media.decode_document import decode_document

    return decode_document(
        source.data,
        format_name=name,
        first_page=source.first_page,
        limits=limits,
        args=args,
        sha256=digest,
        param=source.param,
    )


def _audio(
    source: MediaSource, name: str, limits: Limits, digest: str, on_duration: Callable[[float], None] | None
) -> Media:
    from multimodal.media.decode_audio import decode_audio

    return decode_audio(
        source.data,
        format_name=name,
        limit_s=limits.audio_s,
        sha256=digest,
        param=source.param,
        on_duration=on_duration,
    )


def _video(
    source: MediaSource,
    name: str,
    limits: Limits,
    args: LoaderArgs,
    digest: str,
    on_duration: Callable[[float], None] | None,
) -> Media:
    from multimodal.media.decode_video import decode_video

    return decode_video(
        source.data,
        format_name=name,
        frame_sampling=source.frame_sampling,
        max_frames=frames_wanted(source, args),
        max_side_px=args.frame_max_side_px,
        limits=limits,
        sha256=digest,
        param=source.param,
        on_duration=on_duration,
    )
