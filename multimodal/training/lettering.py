"""Short printed words that are laid over some pictures, so that text is no surprise to the tower."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

STRIP_HEIGHT_PX, STRIP_WIDTH_PX = 16, 64
_STRIPS = 256


def strips(words: Sequence[str], seed: int) -> torch.Tensor:
    """(256, 16, 64) float32: how much ink there is, of words drawn from `words`, in Pillow's own typeface."""
    import PIL.Image
    import PIL.ImageDraw
    import PIL.ImageFont

    rng = np.random.default_rng(seed)
    drawn = np.zeros((_STRIPS, STRIP_HEIGHT_PX, STRIP_WIDTH_PX), np.float32)
    for number in range(_STRIPS):
        image = PIL.Image.new("L", (STRIP_WIDTH_PX, STRIP_HEIGHT_PX))
        font = PIL.ImageFont.load_default(size=float(rng.uniform(8, 13)))
        word = words[int(rng.integers(len(words)))]
        PIL.ImageDraw.Draw(image).text(
            (1, 1), word.upper() if rng.random() < 0.3 else word, fill=255, font=font
        )
        drawn[number] = np.asarray(image, np.float32) / 255
    return torch.from_numpy(drawn)


def overlay(
    pictures: torch.Tensor, ink: torch.Tensor, share: float, rng: np.random.Generator
) -> torch.Tensor:
    """Print a strip on a share of the pictures (n, 3, size, size), anywhere, in any colour."""
    size = pictures.shape[-1]
    width = min(STRIP_WIDTH_PX, size)
    for number in np.flatnonzero(rng.random(len(pictures)) < share):
        strip = ink[int(rng.integers(len(ink))), :, :width]
        top = int(rng.integers(size - STRIP_HEIGHT_PX + 1))
        left = int(rng.integers(size - width + 1))
        colour = torch.from_numpy(rng.random(3, dtype=np.float32)).view(3, 1, 1)
        window = pictures[int(number), :, top : top + STRIP_HEIGHT_PX, left : left + width]
        window.lerp_(colour.expand_as(window), strip.expand_as(window))
    return pictures
