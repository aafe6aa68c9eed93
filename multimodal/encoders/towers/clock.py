"""When the frames of a video are, as vLLM and the processors of its models take it.

They count frames, at so many in a second. Ours may lie anywhere, so they are counted in milliseconds: a video
of 1000 frames a second of which a few were kept. Pixels and embeddings of one video then have one clock.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from multimodal.types import Video

TICKS_PER_S = 1000
LEAST_FRAMES = 2
"""Qwen's towers look at two at a time, and Qwen3-VL's processor refuses a video of one."""
STILL_S = 0.5
"""How far a repeated frame lies from the one before: 2 frames a second, as Qwen's processors sample."""


def filled(video: Video) -> Video:
    """Of `LEAST_FRAMES` at least: the last one is repeated."""
    missing = LEAST_FRAMES - len(video.frames)
    if missing <= 0:
        return video
    later_s = (video.times_s[-1] + STILL_S * (place + 1) for place in range(missing))
    frames = np.concatenate([video.frames, *[video.frames[-1:]] * missing])
    return replace(video, frames=frames, times_s=(*video.times_s, *later_s))


def metadata(video: Video) -> dict[str, object]:
    """What vLLM wants to know beside the frames of a filled video: the fields of transformers' VideoMetadata,
    and that the frames are not to be sampled again."""
    ticks = ticks_of(video.times_s)
    total = total_ticks(video.times_s)
    return {
        "fps": float(TICKS_PER_S),
        "frames_indices": ticks,
        "total_num_frames": total,
        "duration": total / TICKS_PER_S,
        "video_backend": "opencv",
        "do_sample_frames": False,
    }


def ticks_of(times_s: Sequence[float]) -> list[int]:
    """Milliseconds of each frame."""
    return [round(time_s * TICKS_PER_S) for time_s in times_s]


def total_ticks(times_s: Sequence[float]) -> int:
    """Milliseconds that all frames together stand for, the last one as long as the mean of the others."""
    spacing_s = (times_s[-1] - times_s[0]) / (len(times_s) - 1)
    return max(1, round(spacing_s * len(times_s) * TICKS_PER_S))


def seconds_per_step(times_s: Sequence[float], frames_per_step: int) -> float:
    """How far steps in time lie apart, seconds: Qwen2.5-VL's `second_per_grid_ts`."""
    return frames_per_step / (len(times_s) / total_ticks(times_s) * TICKS_PER_S)


def timestamps_s(times_s: Sequence[float], frames_per_step: int) -> tuple[float, ...]:
    """When each step is, in the middle of its first and its last frame; the last frame fills a step up:
    how Qwen3-VL's processor counts."""
    ticks = ticks_of(times_s)
    ticks += [ticks[-1]] * (-len(ticks) % frames_per_step)
    seconds = [tick / TICKS_PER_S for tick in ticks]
    return tuple(
        (seconds[first] + seconds[first + frames_per_step - 1]) / 2
        for first in range(0, len(seconds), frames_per_step)
    )
