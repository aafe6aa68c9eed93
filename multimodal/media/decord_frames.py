"""Frames of a video by decord, which seeks to them, turns and scales them in one go."""

from __future__ import annotations

import importlib
import io
from collections.abc import Sequence
from typing import Protocol, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from multimodal.errors import InvalidMedia
from multimodal.media.video_index import VideoIndex

_ROW_ALIGNMENTS_PX = (16, 32, 64)


class _Batch(Protocol):
    def asnumpy(self) -> NDArray[np.uint8]: ...


class _Reader(Protocol):
    """The part of decord's VideoReader that is used here; decord has no types."""

    def __len__(self) -> int: ...

    def get_batch(self, indices: Sequence[int]) -> _Batch: ...


class _Decord(Protocol):
    """The part of the module that is used here."""

    DECORDError: type[Exception]

    def cpu(self, device: int) -> object: ...

    def VideoReader(
        self, uri: io.BytesIO, ctx: object, width: int, height: int, num_threads: int
    ) -> _Reader: ...


def read_frames(
    data: bytes, index: VideoIndex, positions: Sequence[int], max_side_px: int, param: str
) -> NDArray[np.uint8]:
    """(n, height, width, 3) RGB, upright, of the frames at `positions` among all frames.

    Raises:
        InvalidMedia: frames that cannot be decoded.
        MemoryError: more memory than this process may have.
    """
    scale = min(1.0, max_side_px / max(index.width, index.height))
    width, height = max(1, round(index.width * scale)), max(1, round(index.height * scale))
    decord = cast(_Decord, importlib.import_module("decord"))
    read_width = _readable_width(width)
    try:
        # One thread: other workers decode at the same time.
        reader = decord.VideoReader(
            io.BytesIO(data), ctx=decord.cpu(0), width=read_width, height=height, num_threads=1
        )
        if len(reader) != index.frames:
            raise InvalidMedia(
                "The frames of this video cannot be counted: its index is damaged.", param=param
            )
        frames = reader.get_batch(positions).asnumpy()
    except (decord.DECORDError, RuntimeError, AssertionError, IndexError) as error:
        if "alloc" in str(error):
            raise MemoryError from error
        raise InvalidMedia("This video is damaged: frames cannot be decoded.", param=param) from error
    if frames.shape != (len(positions), height, read_width, 3):
        raise InvalidMedia("The frames of this video differ in size.", param=param)
    return np.ascontiguousarray(frames if read_width == width else _narrowed(frames, width))


def _readable_width(width: int) -> int:
    """The width to ask decord for, at least as large.

    FFmpeg pads rows, by what suits the processor. decord 3.4.0 takes what a row has for each column as its
    colours, and so misreads rows whose padded length happens to be a multiple of the width.
    """
    padded = (-(-width // alignment) * alignment for alignment in _ROW_ALIGNMENTS_PX)
    misread = any(row != width and 3 * row % width == 0 for row in padded)
    widest = max(_ROW_ALIGNMENTS_PX)
    return -(-width // widest) * widest if misread else width


def _narrowed(frames: NDArray[np.uint8], width: int) -> NDArray[np.uint8]:
    height = frames.shape[1]
    return np.stack(
        [np.asarray(Image.fromarray(frame).resize((width, height), Image.Resampling.BOX)) for frame in frames]
    )
