"""Names the dominant colours of a picture. NumPy only, no model.

Each sampled pixel gets the name of the nearest prototype in CIELAB, where distances follow what the eye sees
far better than in RGB. The eye's colour names are not round in that space (brown is a dark orange, navy is
still blue), so most names have several prototypes, from dark to light. Distances are worked out once, for a
table of all colours in small steps.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from multimodal.types import ColourShare

MIN_SHARE = 0.05
"""Colours on less of the picture are not worth a word."""
MAX_COLOURS = 4
SAMPLE_PIXELS = 16_384
"""Pixels looked at: puts the standard error of a share below 0.4 %."""
BITS = 6
"""Of a channel that decide about a name: a colour within two levels of the border to another may get that."""

PROTOTYPES: dict[str, tuple[str, ...]] = {
    "black": ("000000", "181818", "0a0a12"),
    "grey": ("404040", "606060", "808080", "a0a0a0", "c0c0c0", "d0d0d0", "708090", "2f4f4f"),
    "white": ("ffffff", "f0f0f0", "f8f8ff", "fffaf0", "ecf0ec"),
    "red": ("ff0000", "cc1111", "8b0000", "600000", "dc143c", "e03c31", "b22222", "cd5c5c", "400000"),
    "orange": ("ff8c00", "ff7f27", "ffa500", "e86a17", "ffb347", "ff6a00", "d2741a", "ffa07a", "e9967a"),
    "yellow": ("ffff00", "ffd700", "f5e050", "fff68f", "e6c200", "cccc00", "fffacd", "ffffe0"),
    "green": (
        "00ff00", "00a000", "006400", "228b22", "003300", "6b8e23", "556b2f", "90ee90", "3cb371", "8fbc8f",
        "9acd32", "adff2f", "00cc66", "808000", "c8f0c8", "d8f5e4",
    ),
    "teal": ("008080", "20b2aa", "006666", "2f8f8f", "004c4c", "5f9ea0", "1f667a"),
    "cyan": ("00ffff", "40e0d0", "00ced1", "aaf5f5", "7fdbda", "e0ffff"),
    "blue": (
        "0000ff", "0000cc", "000080", "00004d", "1e90ff", "4169e1", "4682b4", "87ceeb", "add8e6", "6495ed",
        "1f3a5f", "27408b", "3366aa", "00aaff", "2b5c8a", "b8d4f0", "3333cc", "6666ff", "000033", "476685",
    ),
    "purple": (
        "800080", "4b0082", "9400d3", "8a2be2", "9370db", "663399", "300040", "ba55d3", "c8a2c8", "b57edc",
        "e0d0f5", "8000ff", "5a4570", "754785", "804a70", "483058",
    ),
    "pink": (
        "ff69b4", "ffc0cb", "ff1493", "ff00ff", "fa8aa0", "e75480", "ffb6c1", "d8709a", "ffd8e4", "c09090",
    ),
    "brown": ("8b4513", "654321", "a0522d", "5c3a1e", "3b2314", "7b5b3a", "966f33", "b07840"),
    "beige": ("f5f5dc", "deb887", "d2b48c", "f5deb3", "ffe4c4", "c8b090", "e8d8b8", "e6c9a8"),
}  # fmt: skip
"""Name -> sRGB values (hex) that people call so; most are the CSS colours of that family."""

_SRGB_TO_XYZ = np.array(
    [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]], dtype=np.float32
)
"""Linear sRGB to CIE XYZ, white D65 (IEC 61966-2-1)."""
_D65 = _SRGB_TO_XYZ.sum(axis=1)


def lab(rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
    """sRGB values (..., 3) to CIELAB (..., 3): L* in [0, 100], a* and b* about [-128, 127].

    Transfer curve and matrix: IEC 61966-2-1. Lab: CIE 15:2004, with the exact 216/24389 and 24389/27.
    """
    encoded = rgb.astype(np.float32) / 255
    linear = np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
    ratio = linear @ _SRGB_TO_XYZ.T / _D65
    f = np.where(ratio > 216 / 24389, np.cbrt(ratio), (24389 / 27 * ratio + 16) / 116)
    x, y, z = f[..., 0], f[..., 1], f[..., 2]
    values: NDArray[np.float32] = np.stack((116 * y - 16, 500 * (x - y), 200 * (y - z)), axis=-1)
    return values.astype(np.float32)


def dominant_colours(pixels: NDArray[np.uint8]) -> tuple[ColourShare, ...]:
    """At most MAX_COLOURS named colours of a picture (height, width, 3), largest share first."""
    names = look_up(_sample(pixels.reshape(-1, 3)))
    counts = np.bincount(names, minlength=len(NAMES))
    order = np.argsort(-counts, kind="stable")[:MAX_COLOURS]
    shares = [ColourShare(name=NAMES[i], share=float(counts[i] / len(names))) for i in order]
    return tuple(colour for colour in shares if colour.share >= MIN_SHARE)


def look_up(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Index into NAMES of the name of each colour (n, 3), uint8: that of one two levels away at most."""
    red, green, blue = (rgb >> (8 - BITS)).astype(np.int32).T
    names: NDArray[np.uint8] = _table().take(red << 2 * BITS | green << BITS | blue)
    return names


@cache
def _table() -> NDArray[np.uint8]:
    """(cells,) index into NAMES of the colour in the middle of each cell, by red, green and blue."""
    levels = ((np.arange(1 << BITS) + 0.5) * (1 << (8 - BITS))).astype(np.uint8)
    planes = [np.stack(np.meshgrid(red, levels, levels, indexing="ij"), axis=-1) for red in levels]
    return np.concatenate([nearest_names(plane.reshape(-1, 3)) for plane in planes]).astype(np.uint8)


def nearest_names(rgb: NDArray[np.uint8]) -> NDArray[np.intp]:
    """Index into NAMES of the name of each colour (n, 3)."""
    points = lab(rgb)
    # |a-b|^2 without |a|^2, which is the same for every prototype: one matrix product instead of n x m x 3.
    ones = np.ones((len(points), 1), dtype=np.float32)
    distances = np.concatenate((points, ones), axis=1) @ _TO_DISTANCES
    names: NDArray[np.intp] = _PROTOTYPE_NAMES[distances.argmin(axis=1)]
    return names


def _sample(colours: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Some of the pixels. Chosen at random, because a regular grid is blind to stripes of its own period."""
    if len(colours) <= SAMPLE_PIXELS:
        return colours
    # Takes an eighth of the time that indexing with an array takes.
    return colours.take(np.random.default_rng(0).integers(len(colours), size=SAMPLE_PIXELS), axis=0)


NAMES = tuple(PROTOTYPES)
_PROTOTYPE_NAMES = np.repeat(np.arange(len(NAMES)), [len(values) for values in PROTOTYPES.values()])
_PROTOTYPE_LAB = lab(
    np.array([list(bytes.fromhex(value)) for group in PROTOTYPES.values() for value in group], dtype=np.uint8)
)
_TO_DISTANCES = np.vstack((-2 * _PROTOTYPE_LAB.T, (_PROTOTYPE_LAB**2).sum(axis=1)))
"""(4, prototypes): a point and a one, times this, are its squared distances less its own square."""
