"""Content parts that hold media, as sources for the service. Limits are checked before a byte is decoded."""

from __future__ import annotations

from multimodal.api.content import AudioContent, FileContent, ImageContent, VideoContent
from multimodal.config import AppArgs
from multimodal.errors import InvalidRequest, MediaTooLarge, UnsupportedMedia
from multimodal.media.dataurl import parse_base64, parse_data_url
from multimodal.media.limits import byte_limit, check_bytes
from multimodal.media.sniff import recognise
from multimodal.types import FileReference, FrameSampling, MediaKind, MediaSource

SNIFFED_BYTES = 64 * 1024
"""How much of a file is looked at to tell what it is."""


def check_media_count(count: int, args: AppArgs, param: str) -> None:
    """Raises MediaTooLarge for more media than one request may hold."""
    allowed = args.limits.media_parts
    if count > allowed:
        raise MediaTooLarge(
            f"A request may hold {allowed} media parts, this one has {count}. Send fewer.", param=param
        )


def media_source(
    part: ImageContent | AudioContent | VideoContent | FileContent, param: str, args: AppArgs
) -> MediaSource | FileReference:
    """What a part holds; `param` says where the part stands.

    Raises InvalidRequest for too many frames or a part without a file, UnsupportedMedia for a file that
    nothing here understands, and what `parse_data_url` and `parse_base64` raise.
    """
    if isinstance(part, FileContent):
        return _file(part, param, args)
    if isinstance(part, ImageContent):
        return _image(part, param, args)
    if isinstance(part, AudioContent):
        return _audio(part, param, args)
    return _video(part, param, args)


def _image(part: ImageContent, param: str, args: AppArgs) -> MediaSource:
    declared, data = parse_data_url(
        part.image_url.url, limit_bytes=args.limits.image_bytes, param=f"{param}.image_url.url"
    )
    return MediaSource(kind=MediaKind.IMAGE, data=data, param=param, declared_type=declared)


def _audio(part: AudioContent, param: str, args: AppArgs) -> MediaSource:
    sound = part.input_audio
    data = parse_base64(sound.data, limit_bytes=args.limits.audio_bytes, param=f"{param}.input_audio.data")
    return MediaSource(kind=MediaKind.AUDIO, data=data, param=param, declared_type=sound.format)


def _video(part: VideoContent, param: str, args: AppArgs) -> MediaSource:
    video = part.video_url
    max_frames = video.max_frames or part.max_frames
    place = "video_url.max_frames" if video.max_frames else "max_frames"
    _check_frames(max_frames, f"{param}.{place}", args)
    declared, data = parse_data_url(
        video.url, limit_bytes=args.limits.video_bytes, param=f"{param}.video_url.url"
    )
    return MediaSource(
        kind=MediaKind.VIDEO,
        data=data,
        param=param,
        declared_type=declared,
        frame_sampling=video.frame_sampling or part.frame_sampling or FrameSampling.UNIFORM,
        max_frames=max_frames,
    )


def _check_frames(max_frames: int | None, param: str, args: AppArgs) -> None:
    allowed = args.loader.max_frames_limit
    if max_frames is not None and max_frames > allowed:
        raise InvalidRequest(f"max_frames must be at most {allowed}.", param=param)


def _file(part: FileContent, param: str, args: AppArgs) -> MediaSource | FileReference:
    file = part.file
    _check_frames(part.max_frames, f"{param}.max_frames", args)
    sampling = part.frame_sampling or FrameSampling.UNIFORM
    if file.file_id is not None:
        return FileReference(
            file_id=file.file_id, param=param, frame_sampling=sampling, max_frames=part.max_frames
        )
    if file.file_data is None:
        raise InvalidRequest("A file part needs file_id or file_data.", param=f"{param}.file")
    place = f"{param}.file.file_data"
    largest_bytes = max(byte_limit(kind, args.limits) for kind in MediaKind)
    declared, data = _file_bytes(file.file_data, largest_bytes, place)
    kind, _ = recognise(data[:SNIFFED_BYTES], file.filename or "")
    if kind is None:
        raise UnsupportedMedia(
            "This file is none that can be understood here. Send a document, a picture, a recording or a "
            "video.",
            param=place,
        )
    check_bytes(len(data), kind, args.limits, place)
    return MediaSource(
        kind=kind,
        data=data,
        param=param,
        declared_type=declared,
        frame_sampling=sampling,
        max_frames=part.max_frames,
        filename=file.filename,
    )


def _file_bytes(text: str, limit_bytes: int, param: str) -> tuple[str | None, bytes]:
    """OpenAI's clients send data URLs; base64 alone is taken, too."""
    if text[:5].lower() == "data:" or "://" in text[:64]:
        return parse_data_url(text, limit_bytes=limit_bytes, param=param)
    return None, parse_base64(text, limit_bytes=limit_bytes, param=param)
