"""Small pictures of segments."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

QUALITY = 80
"""JPEG: artefacts hardly show at this size, and a thumbnail has about 10 KB."""


def thumbnail(pixels: NDArray[np.uint8], side_px: int) -> bytes:
    """JPEG of a picture (height, width, 3), RGB, whose longer side has at most `side_px` pixels."""
    picture = Image.fromarray(np.ascontiguousarray(pixels))
    picture.thumbnail((side_px, side_px), Image.Resampling.LANCZOS)
    written = io.BytesIO()
    picture.save(written, "jpeg", quality=QUALITY)
    return written.getvalue()
