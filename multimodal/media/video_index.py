"""The index of a video, made by reading every packet: counts in a header are never trusted."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

import numpy as np
from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream

from multimodal.config import Limits
from multimodal.errors import InvalidMedia, NoPictures, UnsupportedMedia
from multimodal.media.completeness import cut_short
from multimodal.media.limits import check_pixels, too_long


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoIndex:
    """What a walk over the packets and one decoded frame tell of a video."""

    times_s: tuple[float, ...]
    """(n,) when each frame is shown, ascending, on the container's clock."""
    positions: tuple[int, ...]
    """(n,) place of each shown frame among all frames: an edit list may hide some."""
    keys: tuple[int, ...]
    """Indices into `times_s` of the key frames, ascending."""
    frames: int
    """All frames, hidden ones included."""
    end_s: float
    """When the last frame ends, on the container's clock."""
    width: int
    height: int
    """Size of a frame in pixels, upright."""

    @property
    def origin_s(self) -> float:
        """Start of the video on the container's clock."""
        return self.times_s[0]

    @property
    def duration_s(self) -> float:
        """Seconds from the start of the first frame to the end of the last."""
        return self.end_s - self.origin_s

    def at(self, time_s: float) -> int:
        """Index into `times_s` of the frame that is shown `time_s` seconds after the start."""
        after = np.searchsorted(self.times_s, time_s + self.origin_s + 1e-6, side="right")
        return max(0, int(after) - 1)

    def change_between(self, start_s: float, end_s: float) -> float:
        """When a change is first shown that comes after `start_s` and by `end_s`, seconds after the start.

        That is at a key frame, where there is one: encoders place them at cuts. Else at the frame halfway.
        """
        frames = range(self.at(start_s) + 1, self.at(end_s) + 1)
        if not frames:
            return end_s
        keys = [key for key in self.keys if key in frames]
        return self.times_s[keys[0] if len(keys) == 1 else frames[len(frames) // 2]] - self.origin_s


def picture_stream(container: InputContainer, param: str) -> VideoStream:
    """The video track that FFmpeg (and so decord) takes for the main one.

    Raises:
        NoPictures: there is none.
        UnsupportedMedia: nothing decodes it.
    """
    stream = container.streams.best("video")
    if not isinstance(stream, VideoStream) or stream.disposition & Disposition.attached_pic:
        raise NoPictures("This file has no moving pictures in it. Send sound as an audio part.", param=param)
    if stream.codec_context is None:
        raise UnsupportedMedia(
            "The codec of this video is not supported. Use H.264, VP9 or AV1.", param=param
        )
    return stream


def read_index(container: InputContainer, stream: VideoStream, limits: Limits, param: str) -> VideoIndex:
    """Read every packet, and decode the first frame.

    Raises:
        MediaTooLarge: longer than `limits.video_s`, or frames larger than `limits.image_pixels`.
        InvalidMedia: cut short, or no frame that can be decoded.
    """
    entries: list[tuple[float, bool, bool]] = []
    end_s, start_s = -inf, inf
    for packet in container.demux(stream):
        stamp = packet.pts if packet.pts is not None else packet.dts
        if not packet.size or stamp is None:
            continue
        if packet.is_corrupt:
            raise cut_short(param)
        time_s = float(stamp * packet.time_base)
        entries.append((time_s, packet.is_keyframe, packet.is_discard))
        if not packet.is_discard:
            start_s = min(start_s, time_s)
            end_s = max(end_s, time_s + float((packet.duration or 0) * packet.time_base))
        if end_s - start_s > limits.video_s:
            raise too_long(limits.video_s, param)
    entries.sort()
    positions = tuple(i for i, (_, _, hidden) in enumerate(entries) if not hidden)
    if not positions:
        raise InvalidMedia("This video has no frames.", param=param)
    width, height = _upright_size(container, stream, param)
    check_pixels(width, height, limits, param)
    return VideoIndex(
        times_s=tuple(entries[i][0] for i in positions),
        positions=positions,
        keys=tuple(i for i, position in enumerate(positions) if entries[position][1]),
        frames=len(entries),
        end_s=end_s,
        width=width,
        height=height,
    )


def _upright_size(container: InputContainer, stream: VideoStream, param: str) -> tuple[int, int]:
    """Width and height of the first frame that can be decoded, after the rotation that the file asks for."""
    container.seek(0)
    for frame in container.decode(stream):
        turned = frame.rotation % 180 != 0
        return (frame.height, frame.width) if turned else (frame.width, frame.height)
    raise InvalidMedia("No frame of this video can be decoded.", param=param)
