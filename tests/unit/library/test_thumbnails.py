"""Thumbnails are small JPEGs."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from multimodal.library.thumbnails import thumbnail


def opened(jpeg: bytes) -> Image.Image:
    picture = Image.open(io.BytesIO(jpeg))
    assert picture.format == "JPEG"
    return picture


@pytest.mark.parametrize(
    ("size", "expected"),
    [((100, 400), (256, 64)), ((400, 100), (64, 256)), ((20, 30), (30, 20)), ((1, 5000), (256, 1))],
)
def test_the_longer_side_is_bounded_and_small_pictures_stay(
    size: tuple[int, int], expected: tuple[int, int]
) -> None:
    assert opened(thumbnail(np.zeros((*size, 3), np.uint8), 256)).size == expected


def test_it_shows_the_picture() -> None:
    pixels = np.zeros((200, 300, 3), np.uint8)
    pixels[:, 150:] = (200, 30, 30)
    pixels.flags.writeable = False
    small = opened(thumbnail(pixels, 64)).convert("RGB")
    shown = np.asarray(small)
    assert np.allclose(shown[20, 50], (200, 30, 30), atol=12)
    assert np.allclose(shown[20, 10], (0, 0, 0), atol=12)
