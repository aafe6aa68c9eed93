"""Content parts that hold media, as sources for the service. Limits are checked before a byte is decoded."""

from __future__ import annotations

from multimodal.api.content import AudioContent, ImageContent, VideoContent
from multimodal.config import AppArgs
from multimodal.errors import InvalidRequest, MediaTooLarge
from multimodal.media.dataurl import parse_base64, parse_data_url
from multimodal.types import FrameSampling, MediaKind, MediaSource


def check_media_count(count: int, args: AppArgs, param: str) -> None:
    """Raises MediaTooLarge for more media than one request may hold."""
    allowed = args.limits.media_parts
    if count > allowed:
        raise MediaTooLarge(
            f"A request may hold {allowed} media parts, this one has {count}. Send fewer.", param=param
        )


def media_source(part: ImageContent | AudioContent | VideoContent, param: str, args: AppArgs) -> MediaSource:
    """What a part holds; `param` says where the part stands.

    Raises InvalidRequest for too many frames, and what `parse_data_url` and `parse_base64` raise.
    """
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
    allowed = args.loader.max_frames_limit
    if max_frames is not None and max_frames > allowed:
        place = "video_url.max_frames" if video.max_frames else "max_frames"
        raise InvalidRequest(f"max_frames must be at most {allowed}.", param=f"{param}.{place}")
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
