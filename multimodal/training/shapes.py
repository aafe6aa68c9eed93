"""Plain shapes and colours: their names, outlines and ranges. Shapes are drawn white and tinted later."""

from __future__ import annotations

import math
from collections.abc import Sequence

COLOURS: dict[str, tuple[tuple[float, float], tuple[float, float], tuple[float, float]]] = {
    "red": ((-0.02, 0.02), (0.75, 1.0), (0.65, 1.0)),
    "orange": ((0.06, 0.1), (0.85, 1.0), (0.9, 1.0)),
    "yellow": ((0.14, 0.17), (0.75, 1.0), (0.9, 1.0)),
    "green": ((0.28, 0.4), (0.6, 1.0), (0.4, 0.85)),
    "cyan": ((0.48, 0.52), (0.65, 1.0), (0.8, 1.0)),
    "blue": ((0.57, 0.68), (0.7, 1.0), (0.55, 1.0)),
    "purple": ((0.74, 0.8), (0.6, 1.0), (0.45, 0.85)),
    "pink": ((0.88, 0.95), (0.3, 0.65), (0.92, 1.0)),
    "brown": ((0.04, 0.08), (0.6, 0.9), (0.3, 0.55)),
    "black": ((0.0, 1.0), (0.0, 0.2), (0.0, 0.12)),
    "white": ((0.0, 1.0), (0.0, 0.03), (0.96, 1.0)),
    "grey": ((0.0, 1.0), (0.0, 0.06), (0.4, 0.68)),
}
"""Ranges of hue (one turn is 1), saturation and value in which people use the word."""

COLOUR_NAMES = tuple(COLOURS)


def _polygon(points: Sequence[tuple[float, float]]) -> str:
    return '<polygon points="' + " ".join(f"{x:.2f},{y:.2f}" for x, y in points) + '"/>'


def _regular(corners: int, radius: float = 46.0, start: float = -90.0) -> list[tuple[float, float]]:
    turns = [math.radians(start + 360.0 * n / corners) for n in range(corners)]
    return [(50 + radius * math.cos(turn), 50 + radius * math.sin(turn)) for turn in turns]


def _star(corners: int, inner: float) -> str:
    outside = _regular(corners)
    inside = _regular(corners, 46.0 * inner, -90.0 + 180.0 / corners)
    return _polygon([point for pair in zip(outside, inside, strict=True) for point in pair])


_HEART = (
    "M50 88C20 64 6 48 6 31C6 17 17 8 29 8C38 8 46 13 50 21"
    "C54 13 62 8 71 8C83 8 94 17 94 31C94 48 80 64 50 88Z"
)
_CRESCENT = "M62 6A46 46 0 1 0 94 68A38 38 0 0 1 62 6Z"
_ARROW = [(4, 36), (52, 36), (52, 12), (96, 50), (52, 88), (52, 64), (4, 64)]
_CROSS = [
    (36, 6),
    (64, 6),
    (64, 36),
    (94, 36),
    (94, 64),
    (64, 64),
    (64, 94),
    (36, 94),
    (36, 64),
    (6, 64),
    (6, 36),
    (36, 36),
]

SHAPES: dict[str, tuple[str, ...]] = {
    "circle": ('<circle cx="50" cy="50" r="45"/>',),
    "square": (
        '<rect x="9" y="9" width="82" height="82"/>',
        '<rect x="9" y="9" width="82" height="82" rx="8"/>',
    ),
    "triangle": (
        _polygon([(50, 8), (95, 88), (5, 88)]),
        _polygon([(50, 4), (86, 94), (14, 94)]),
        _polygon([(8, 10), (92, 90), (8, 90)]),
    ),
    "rectangle": (
        '<rect x="4" y="26" width="92" height="48"/>',
        '<rect x="4" y="30" width="92" height="40" rx="5"/>',
        '<rect x="28" y="4" width="44" height="92"/>',
    ),
    "oval": (
        '<ellipse cx="50" cy="50" rx="47" ry="28"/>',
        '<ellipse cx="50" cy="50" rx="27" ry="46"/>',
    ),
    "star": (_star(5, 0.4), _star(5, 0.5), _star(6, 0.5), _star(4, 0.4)),
    "heart": (f'<path d="{_HEART}"/>',),
    "diamond": (
        _polygon([(50, 4), (88, 50), (50, 96), (12, 50)]),
        _polygon([(50, 4), (80, 50), (50, 96), (20, 50)]),
    ),
    "pentagon": (_polygon(_regular(5)),),
    "hexagon": (_polygon(_regular(6)), _polygon(_regular(6, start=0.0))),
    "cross": (_polygon([(float(x), float(y)) for x, y in _CROSS]),),
    "crescent": (f'<path d="{_CRESCENT}"/>',),
    "ring": (
        '<circle cx="50" cy="50" r="38" fill="none" stroke="#fff" stroke-width="14"/>',
        '<circle cx="50" cy="50" r="36" fill="none" stroke="#fff" stroke-width="20"/>',
    ),
    "arrow": (_polygon([(float(x), float(y)) for x, y in _ARROW]),),
}
"""Drawings of each shape in a box of 100 x 100."""

SHAPE_NAMES = tuple(SHAPES)
STEADY = frozenset({"square", "diamond", "rectangle", "cross", "pentagon", "hexagon", "heart", "oval"})
"""Shapes that are turned only a little: a square on its corner is a diamond."""

VARIANTS = [(name, number) for name, drawings in SHAPES.items() for number in range(len(drawings))]
"""Shape and drawing of each entry of `shape_svgs`."""


def shape_svgs() -> list[str]:
    """White drawings of all variants, in the order of VARIANTS."""
    head = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 100 100" fill="#fff">'
    return [f"{head}{SHAPES[name][number]}</svg>" for name, number in VARIANTS]
