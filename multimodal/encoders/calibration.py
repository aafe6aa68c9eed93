"""Pictures to find out what values an image tower computes with, where no others are at hand.

They are made up, the same each time: drawings, text-like lines, and noise with the spectrum of photographs
(amplitude falls with frequency: Field, J. Opt. Soc. Am. A 4, 1987).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image as Pillow
from PIL import ImageDraw

from multimodal.types import Image

if TYPE_CHECKING:
    from numpy.typing import NDArray

COUNT = 64
WIDTH_PX, HEIGHT_PX = 256, 192
SEED = 5


def pictures(count: int = COUNT, seed: int = SEED) -> list[Image]:
    """So many, decoded."""
    rng = np.random.default_rng(seed)
    makers = (drawing, drawing, lines, photograph)
    return [
        Image(
            sha256=f"calibration-{number}",
            pixels=makers[number % len(makers)](rng),
            width=WIDTH_PX,
            height=HEIGHT_PX,
            format="png",
        )
        for number in range(count)
    ]


def drawing(rng: np.random.Generator) -> NDArray[np.uint8]:
    """Shapes on a plain ground, every other one white."""
    ground = (255, 255, 255) if rng.random() < 0.5 else _colour(rng)
    picture = Pillow.new("RGB", (WIDTH_PX, HEIGHT_PX), ground)
    draw = ImageDraw.Draw(picture)
    for _ in range(rng.integers(1, 6)):
        x, y = rng.uniform(0, 0.7) * WIDTH_PX, rng.uniform(0, 0.7) * HEIGHT_PX
        box = [x, y, x + rng.uniform(0.1, 0.5) * WIDTH_PX, y + rng.uniform(0.1, 0.5) * HEIGHT_PX]
        shape = (draw.ellipse, draw.rectangle, draw.rounded_rectangle)[rng.integers(3)]
        if rng.random() < 0.5:
            shape(box, fill=_colour(rng))
        else:
            shape(box, fill=_colour(rng), outline=_colour(rng), width=int(rng.integers(1, 6)))
    return np.asarray(picture)


def lines(rng: np.random.Generator) -> NDArray[np.uint8]:
    """Dark marks in rows, as a page has them."""
    picture = Pillow.new("RGB", (WIDTH_PX, HEIGHT_PX), "white")
    draw = ImageDraw.Draw(picture)
    step_px = int(rng.integers(6, 20))
    for y in range(step_px, HEIGHT_PX - step_px, step_px):
        x = 10
        while x < WIDTH_PX - 40:
            end = x + int(rng.integers(4, 40))
            draw.rectangle([x, y, end, y + step_px // 2], fill="black")
            x = end + step_px // 2
    return np.asarray(picture)


def photograph(rng: np.random.Generator) -> NDArray[np.uint8]:
    """Noise, coloured, with a spectrum like a photograph's."""
    frequency = np.hypot(np.fft.fftfreq(HEIGHT_PX)[:, None], np.fft.rfftfreq(WIDTH_PX))
    frequency[0, 0] = 1
    spectrum = np.fft.rfft2(rng.normal(size=(3, HEIGHT_PX, WIDTH_PX))) / frequency
    values = np.fft.irfft2(spectrum, (HEIGHT_PX, WIDTH_PX)).transpose(1, 2, 0)
    brightness, contrast = rng.uniform(60, 200), rng.uniform(20, 70)
    scaled = brightness + contrast * (values - values.mean()) / values.std()
    pixels: NDArray[np.uint8] = scaled.clip(0, 255).astype(np.uint8)
    return pixels


def _colour(rng: np.random.Generator) -> tuple[int, int, int]:
    red, green, blue = (int(value) for value in rng.integers(0, 256, 3))
    return red, green, blue
