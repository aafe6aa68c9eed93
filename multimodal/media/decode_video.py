"""Sample frames of a video with decord, and decode its sound track with FFmpeg.

The index of frames is made by reading every packet, never from counts in the header.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol, cast

import numpy as np
from av.container import InputContainer
from av.video.stream import VideoStream
from numpy.typing import NDArray

from multimodal.config import Limits
from multimodal.errors import InvalidMedia, UnsupportedMedia
from multimodal.media.completeness import check_complete, cut_short
from multimodal.media.decode_audio import decode_sound_track, open_container, stated_s
from multimodal.media.limits import check_pixels, too_long
from multimodal.media.sampling import scene_times, thinned, uniform_times
from multimodal.types import FrameSampling, Video


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoIndex:
    """What a walk over the packets and one decoded frame tell of a video."""

    times_s: tuple[float, ...]
    """(n,) when each frame is shown, ascending, on the container's clock; hidden ones included."""
    keys: tuple[int, ...]
    """Positions of the key frames in `times_s`, ascending."""
    first: int
    """Position of the first frame that is shown: an edit list may hide those before it."""
    end_s: float
    """When the last frame ends, on the container's clock."""
    width: int
    height: int
    """Size of a frame in pixels, upright."""

    @property
    def origin_s(self) -> float:
        """Start of the video on the container's clock."""
        return self.times_s[self.first]

    @property
    def duration_s(self) -> float:
        """Seconds from the first frame to the end of the last."""
        return self.end_s - self.origin_s

    def at(self, time_s: float) -> int:
        """Position of the frame that is shown `time_s` seconds after the start."""
        position = int(np.searchsorted(self.times_s, time_s + self.origin_s + 1e-6, side="right")) - 1
        return max(self.first, position)


class _Batch(Protocol):
    def asnumpy(self) -> NDArray[np.uint8]: ...


class _Reader(Protocol):
    """The part of decord's VideoReader that is used here; decord has no types."""

    def __len__(self) -> int: ...

    def get_batch(self, indices: Sequence[int]) -> _Batch: ...


def decode_video(
    data: bytes,
    *,
    format_name: str,
    frame_sampling: FrameSampling,
    max_frames: int,
    max_side_px: int,
    limits: Limits,
    sha256: str,
    param: str,
    on_duration: Callable[[float], None] | None = None,
) -> Video:
    """Sample at most `max_frames` frames of a video, and decode its sound.

    Args:
        data: the encoded video.
        format_name: what `sniff` says it is.
        frame_sampling: UNIFORM takes the middles of equal spans; KEYFRAMES the encoder's key frames, thinned
            evenly; SCENE the middle of each scene, where the cuts are the largest changes of the picture.
        max_frames: fewer come from a video with fewer frames, key frames or scenes.
        max_side_px: larger frames are scaled down to this longer side, pixels.
        limits: `video_s` holds for pictures and sound, `image_pixels` for a frame.
        sha256: digest of `data`.
        param: names the part in errors.
        on_duration: is told the seconds of the video before any frame is sampled.

    Raises:
        MediaTooLarge: plays too long, or its frames are too large.
        InvalidMedia: damaged, cut short, or without pictures.
        UnsupportedMedia: of a codec without a decoder.
    """
    check_complete(data, format_name=format_name, param=param)
    with open_container(data, format_name, param) as container:
        stream = _picture_stream(container, param)
        check_pixels(stream.codec_context.width, stream.codec_context.height, limits, param)
        if on_duration is not None:
            on_duration(min(limits.video_s, stated_s(container)))
        index = _index(container, stream, limits, param)
    positions = _choose(data, format_name, index, frame_sampling, max_frames, param)
    frames = _frames(data, index, positions, max_side_px, param)
    audio = decode_sound_track(
        data,
        format_name=format_name,
        limit_s=limits.video_s,
        origin_s=index.origin_s,
        sha256=sha256,
        param=param,
    )
    return Video(
        sha256=sha256,
        frames=frames,
        times_s=tuple(index.times_s[position] - index.origin_s for position in positions),
        duration_s=max(index.duration_s, audio.duration_s if audio else 0.0),
        width=index.width,
        height=index.height,
        format=format_name,
        audio=audio,
    )


def _picture_stream(container: InputContainer, param: str) -> VideoStream:
    """The first video track that is not the picture of a cover."""
    for stream in container.streams.video:
        if stream.codec_context is None:
            raise UnsupportedMedia("The codec of this video is not supported. Use H.264, VP9 or AV1.", param=param)
        if "attached_pic" not in stream.disposition.name.lower():
            return stream
    raise InvalidMedia("This file has no pictures in it. Send sound as input_audio.", param=param)
