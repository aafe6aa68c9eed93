"""VideoEncoder: no model of its own. Frames that look alike are one scene, encoded and read once.

The key frame of each scene goes through ImageEncoder and Reader while AudioEncoder hears the sound track, and
the parts keep their times. A scene that was seen before (a cut back) reuses what is known of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from multimodal.errors import DeadlineExceeded
from multimodal.types import (
    Audio,
    Deferred,
    Image,
    ImageFeatures,
    ImageText,
    RequestContext,
    Scene,
    T,
    Transcript,
    Video,
    VideoFeatures,
)

SMALL_SIDE_PX = 320
"""Longer side of the small frames that are compared: letters still show, much of the compression does not."""
CELL_PX = 8
"""Cells of a small frame whose mean colours make the coarse frame: texture and noise cancel out in them."""
BLOCK_PX = 6
"""Side of the blocks of a small frame that are searched for a change: about a letter of a caption."""
BLOCK_FACTOR = 4.0
"""How far, in thresholds, one block may stand out from the difference of the whole frame.

Measured on 640x360 frames, threshold 0.02: still shots, grainy or not, in H.264 (CRF 23 to 42), MPEG-4 and
VP9 reach 3.7; one other letter in a white caption 20 px high stands out by 8 on an even background and by
3.7 on the busiest.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class SceneSpan:
    """Where a scene stands in a video, and which frame shows it."""

    frames: range
    """Indices of its sampled frames."""
    key: int
    """The frame that stands for it: its first, or that of an earlier scene that looks the same."""
    start_s: float
    end_s: float


class EncodeImage(Protocol):
    """ImageEncoder, as VideoEncoder calls it."""

    def __call__(self, ctx: RequestContext, image: Image, /) -> Deferred[ImageFeatures]: ...


class ReadImage(Protocol):
    """Reader, as VideoEncoder calls it."""

    def __call__(self, ctx: RequestContext, image: Image, /) -> Deferred[ImageText]: ...


class TranscribeAudio(Protocol):
    """AudioEncoder, as VideoEncoder calls it."""

    def __call__(self, ctx: RequestContext, audio: Audio, /) -> Deferred[Transcript]: ...


# --- scenes ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _Look:
    """A frame, ready to be compared."""

    planes: NDArray[np.int16]
    """(3, height, width), RGB in [0, 255]; the longer side is at most SMALL_SIDE_PX."""
    coarse: NDArray[np.float32]
    """(height / CELL_PX, width / CELL_PX, 3), RGB in [0, 255]."""


def _look(frame: NDArray[np.uint8]) -> _Look:
    small = _shrink(frame, -(-max(frame.shape[:2]) // SMALL_SIDE_PX))
    planes = np.ascontiguousarray(small.transpose(2, 0, 1).round().astype(np.int16))
    return _Look(planes=planes, coarse=_shrink(small, CELL_PX))


def _shrink(frame: NDArray[np.uint8] | NDArray[np.float32], factor: int) -> NDArray[np.float32]:
    """Mean colours of squares of `factor` pixels; the rest at the right and the bottom is dropped."""
    high, wide = (min(factor, side) for side in frame.shape[:2])
    rows, columns = frame.shape[0] // high, frame.shape[1] // wide
    squares = frame[: rows * high, : columns * wide].reshape(rows, high, columns, wide, 3)
    means: NDArray[np.float32] = squares.mean(axis=(1, 3), dtype=np.float32)
    return means


def _alike(one: _Look, other: _Look, threshold: float) -> bool:
    """Neither the whole picture nor a spot in it has changed. `threshold` is in [0, 1]."""
    if float(np.abs(one.coarse - other.coarse).mean()) > 255 * threshold:
        return False
    red, green, blue = np.abs(one.planes - other.planes)
    difference: NDArray[np.int16] = red + green + blue
    stands_out = (_largest_block(difference) - float(difference.mean())) / 3
    return stands_out <= 255 * threshold * BLOCK_FACTOR


def _largest_block(difference: NDArray[np.int16]) -> float:
    """Largest mean of any square of BLOCK_PX. Its sum fits: 6 * 6 * 3 * 255 < 2 ** 15."""
    side: int = min(BLOCK_PX, *difference.shape)
    across = _running_sum(difference, side)
    return float(_running_sum(across.T, side).max()) / side**2


def _running_sum(values: NDArray[np.int16], length: int) -> NDArray[np.int16]:
    """Sums of `length` successive rows, for each place where that many follow."""
    count = len(values) - length + 1
    total = values[:count].copy()
    for shift in range(1, length):
        total += values[shift : shift + count]
    return total


def split_scenes(video: Video, threshold: float) -> list[SceneSpan]:
    """Group successive frames that look alike; empty where the video has no frames.

    A scene begins at the cut between its first frame and the one before, halfway between the two where no cut
    is known (the first at 0), and lasts until the next begins (the last until the video ends). Every frame is
    compared with the frame that stands for its scene, so that a slow fade cannot drift away from it.
    `threshold` is VideoArgs.scene_difference.
    """
    looks: dict[int, _Look] = {}
    starts: list[int] = []
    keys: list[int] = []
    for index, frame in enumerate(video.frames):
        look = _look(frame)
        if keys and _alike(looks[keys[-1]], look, threshold):
            continue
        known = (key for key, seen in looks.items() if _alike(seen, look, threshold))
        starts.append(index)
        keys.append(next(known, index))
        looks.setdefault(keys[-1], look)
    return _spans(video, starts, keys)


def _spans(video: Video, starts: Sequence[int], keys: Sequence[int]) -> list[SceneSpan]:
    if not starts:
        return []
    times_s = video.times_s
    cuts_s = [_border(times_s[index - 1], times_s[index], video.cuts_s) for index in starts[1:]]
    # A container may understate the duration: the last scene holds its frames nevertheless.
    edges_s = pairwise([0.0, *cuts_s, max(video.duration_s, times_s[-1])])
    frames = pairwise([*starts, len(times_s)])
    return [
        SceneSpan(frames=range(first, end), key=key, start_s=start_s, end_s=end_s)
        for (first, end), key, (start_s, end_s) in zip(frames, keys, edges_s, strict=True)
    ]


def _border(before_s: float, after_s: float, cuts_s: Sequence[float]) -> float:
    """When the scene begins whose first frame is that at `after_s`: of several cuts, the most central."""
    middle_s = (before_s + after_s) / 2
    between = (cut_s for cut_s in cuts_s if before_s < cut_s <= after_s)
    return min(between, key=lambda cut_s: abs(cut_s - middle_s), default=middle_s)


def frame_image(video: Video, index: int) -> Image:
    """One sampled frame as a picture. Its pixels are a view: nothing is copied."""
    return Image(
        sha256=f"{video.sha256}#{video.times_s[index]:.3f}",
        pixels=video.frames[index],
        width=video.width,
        height=video.height,
        format=video.format,
    )


def assemble(
    video: Video,
    scenes: Sequence[SceneSpan],
    images: Sequence[ImageFeatures],
    texts: Sequence[ImageText],
    transcript: Transcript | None,
) -> VideoFeatures:
    """Sight and sound on one time line. `images` and `texts` hold one item for each scene, in order."""
    return VideoFeatures(
        sha256=video.sha256,
        duration_s=video.duration_s,
        width=video.width,
        height=video.height,
        scenes=tuple(
            Scene(
                start_s=span.start_s,
                end_s=span.end_s,
                times_s=video.times_s[span.frames.start : span.frames.stop],
                image=image,
                text=text,
            )
            for span, image, text in zip(scenes, images, texts, strict=True)
        ),
        transcript=transcript,
    )


# --- composition -------------------------------------------------------------------------------


async def understand(
    ctx: RequestContext,
    video: Video,
    *,
    encode_image: EncodeImage,
    read: ReadImage,
    transcribe: TranscribeAudio,
    scene_difference: float,
) -> VideoFeatures:
    """Encode and read one frame of each scene and transcribe the sound, all at the same time.

    The first error that one of the three raises ends the others and is raised as it is. Raises
    DeadlineExceeded when the request's deadline passes.
    """
    limit = asyncio.timeout(ctx.remaining_s())
    try:
        async with limit, asyncio.TaskGroup() as tasks:
            heard = tasks.create_task(_maybe(transcribe(ctx, video.audio) if video.audio else None))
            scenes = await asyncio.to_thread(split_scenes, video, scene_difference)
            frames = {scene.key: frame_image(video, scene.key) for scene in scenes}
            seen = {key: tasks.create_task(_result(encode_image(ctx, frames[key]))) for key in frames}
            texts = {key: tasks.create_task(_result(read(ctx, frames[key]))) for key in frames}
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None
    except TimeoutError as error:
        raise DeadlineExceeded("The deadline passed while the video was being looked at.") from error
    return assemble(
        video,
        scenes,
        [seen[scene.key].result() for scene in scenes],
        [texts[scene.key].result() for scene in scenes],
        heard.result(),
    )


async def _result(deferred: Awaitable[T]) -> T:
    return await deferred


async def _maybe(deferred: Awaitable[T] | None) -> T | None:
    return None if deferred is None else await deferred
