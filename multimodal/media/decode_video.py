"""Sample frames of a video with decord, and decode its sound track with FFmpeg."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from multimodal.config import Limits
from multimodal.media.completeness import check_complete
from multimodal.media.cuts import find_cuts
from multimodal.media.decode_audio import decode_sound_track, open_container, stated_s
from multimodal.media.decord_frames import read_frames
from multimodal.media.limits import check_pixels
from multimodal.media.sampling import scene_times, thinned, uniform_times
from multimodal.media.video_index import VideoIndex, picture_stream, read_index
from multimodal.types import FrameSampling, Video

_SCAN_STEP_S = 0.25
"""Time between two looks when cuts are searched."""

_SCAN_LOOKS = 1200
"""Most looks at one video when cuts are searched: enough for five minutes."""

_SCAN_PIXELS = 3_000_000_000
"""Pixels that may be decoded to search cuts: about ten seconds of one core. Above, only key frames are looked
at: encoders place them at cuts."""

_SCAN_SIZE_PX = (96, 54)
"""Size of a look: a caption that changes still shows in it."""

_REFERENCE_GAP = 4
"""Frames from one that others refer to, to the next, as encoders usually place them."""


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
            evenly (as UNIFORM where none is shown); SCENE the middle of each scene (see `cuts`).
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
        stream = picture_stream(container, param)
        check_pixels(stream.codec_context.width, stream.codec_context.height, limits, param)
        if on_duration is not None:
            on_duration(min(limits.video_s, stated_s(container)))
        index = read_index(container, stream, limits, param)
    # Sound first: decord is known to crash on files whose sound track is damaged.
    audio = decode_sound_track(
        data,
        format_name=format_name,
        limit_s=limits.video_s,
        origin_s=index.origin_s,
        sha256=sha256,
        param=param,
    )
    chosen, cuts_s = _choose(data, format_name, index, frame_sampling, max_frames, param)
    frames = read_frames(data, index, [index.positions[i] for i in chosen], max_side_px, param)
    return Video(
        sha256=sha256,
        frames=frames,
        times_s=tuple(round(index.times_s[i] - index.origin_s, 6) for i in chosen),
        duration_s=max(index.duration_s, audio.duration_s if audio else 0.0),
        width=index.width,
        height=index.height,
        format=format_name,
        audio=audio,
        cuts_s=tuple(round(cut_s, 6) for cut_s in cuts_s),
    )


def _choose(
    data: bytes, format_name: str, index: VideoIndex, sampling: FrameSampling, max_frames: int, param: str
) -> tuple[list[int], list[float]]:
    """Indices into `times_s`, ascending, at most `max_frames`; and the cuts between them, if it is known."""
    if sampling is FrameSampling.KEYFRAMES and index.keys:
        return thinned(index.keys, max_frames), []
    cuts_s: list[float] = []
    if sampling is FrameSampling.SCENE:
        times_s, looks = _look_through(data, format_name, index, param)
        found = find_cuts(times_s, looks, max_frames - 1)
        cuts_s = [index.change_between(times_s[i], times_s[i + 1]) for i in found]
        wanted_s = scene_times(cuts_s, index.duration_s)
    else:
        wanted_s = uniform_times(index.duration_s, min(max_frames, len(index.times_s)))
    return sorted({index.at(time_s) for time_s in wanted_s}), cuts_s


def _look_through(
    data: bytes, format_name: str, index: VideoIndex, param: str
) -> tuple[list[float], NDArray[np.uint8]]:
    """Small pictures in time order, and when each is shown after the start."""
    step_s = max(_SCAN_STEP_S, index.duration_s / _SCAN_LOOKS)
    width, height = _SCAN_SIZE_PX
    times_s: list[float] = []
    looks: list[NDArray[np.uint8]] = []
    with open_container(data, format_name, param) as container:
        stream = picture_stream(container, param)
        stream.codec_context.skip_frame = _skipped(index, step_s)
        for frame in container.decode(stream):
            time_s = (frame.time or 0.0) - index.origin_s
            if time_s < (times_s[-1] + step_s if times_s else 0.0) or len(looks) == 2 * _SCAN_LOOKS:
                continue
            small = frame.reformat(width=width, height=height, format="rgb24", interpolation="AREA")
            looks.append(small.to_ndarray().astype(np.uint8))
            times_s.append(time_s)
    return times_s, np.stack(looks) if looks else np.zeros((0, 1, 1, 3), np.uint8)


def _skipped(index: VideoIndex, step_s: float) -> Literal["NONKEY", "NONREF", "DEFAULT"]:
    """What need not be decoded to look at a video each `step_s`."""
    if index.frames * index.width * index.height > _SCAN_PIXELS:
        return "NONKEY"
    gap_s = index.duration_s / len(index.times_s)
    return "NONREF" if _REFERENCE_GAP * gap_s <= step_s else "DEFAULT"
