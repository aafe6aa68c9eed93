"""What the segments of a file look like: pixels of each, hashes and thumbnails."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from multimodal.library.similar import perceptual_hash
from multimodal.library.thumbnails import thumbnail
from multimodal.retrieval.types import Segment, SegmentPart
from multimodal.types import Document, Video

Pictures: TypeAlias = Mapping[int, NDArray[np.uint8]]
"""(height, width, 3), RGB, by the segment's ordinal."""


def of_scenes(video: Video, segments: Iterable[Segment]) -> Pictures:
    """The first frame of each scene."""
    at = {time_s: index for index, time_s in enumerate(video.times_s)}
    scenes = (segment for segment in segments if segment.part is SegmentPart.PICTURE)
    return {scene.ordinal: video.frames[at[scene.frames_s[0]]] for scene in scenes}


def of_pages(document: Document, segments: Iterable[Segment]) -> Pictures:
    """The pages that have a look."""
    looks = {page.number: page.pixels for page in document.pages}
    pages = (segment for segment in segments if segment.part is SegmentPart.PAGE)
    found = {segment.ordinal: looks.get(segment.page or 0) for segment in pages}
    return {ordinal: pixels for ordinal, pixels in found.items() if pixels is not None}


def with_hashes(segments: Iterable[Segment], pictures: Pictures) -> list[Segment]:
    """Segments that say whether they have a thumbnail, with their perceptual hashes."""
    return [
        replace(one, perceptual_hash=_hash(one, pictures[one.ordinal]), thumbnail=True)
        if one.ordinal in pictures
        else one
        for one in segments
    ]


def thumbnails(pictures: Pictures, side_px: int) -> dict[int, bytes]:
    """JPEG of each."""
    return {ordinal: thumbnail(pixels, side_px) for ordinal, pixels in pictures.items()}


def _hash(segment: Segment, pixels: NDArray[np.uint8]) -> int | None:
    """Pages have none: those of one layout look alike, whatever they say."""
    return perceptual_hash(pixels) if segment.part is SegmentPart.PICTURE else None


def hashed(segments: Sequence[Segment]) -> list[tuple[int, str]]:
    """The hash of each that has one, and the text on it."""
    return [(one.perceptual_hash, one.text) for one in segments if one.perceptual_hash is not None]
