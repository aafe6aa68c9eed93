"""Pictures for encoder tests."""

import hashlib

import numpy as np
from numpy.typing import NDArray

from multimodal.types import Image


def image(pixels: NDArray[np.uint8], *, size: tuple[int, int] | None = None) -> Image:
    """A decoded picture; `size` is that of the original where it was larger."""
    height, width = pixels.shape[:2]
    width, height = size or (width, height)
    digest = hashlib.sha256(pixels.tobytes()).hexdigest()
    return Image(sha256=digest, pixels=pixels, width=width, height=height, format="png")


def plain(height: int, width: int, colour: tuple[int, int, int] = (255, 255, 255)) -> NDArray[np.uint8]:
    """One colour all over."""
    return np.full((height, width, 3), colour, np.uint8)
