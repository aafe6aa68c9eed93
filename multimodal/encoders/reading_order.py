"""Sorts lines of text in a picture the way a person reads them. Geometry only."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float32]

TALL = 1.5
"""A quadrangle this much higher than wide holds a line that runs down (PaddleOCR's rule for turning it)."""
SAME_ROW = 0.5
"""Lines are in one row when their middles differ by less than this share of the lower one's height."""


def directions(quads: Points, turned: Sequence[bool]) -> Points:
    """Unit vectors (n, 2), x right and y down, in which the lines of text in quadrangles (n, 4, 2) run.

    The corners come clockwise from the top left one. `turned` tells which lines stand on their head.
    """
    along, down = quads[:, 1] - quads[:, 0], quads[:, 3] - quads[:, 0]
    tall = _lengths(down) >= TALL * _lengths(along)
    vectors = np.where(tall[:, None], down, along) * np.where(turned, -1, 1)[:, None]
    units: Points = (vectors / np.maximum(_lengths(vectors), 1e-6)[:, None]).astype(np.float32)
    return units


def reading_order(quads: Points, turned: Sequence[bool]) -> list[int]:
    """Indices of the lines, row by row and along each row, whichever way the page is turned or tilted."""
    if not len(quads):
        return []
    along = _page_direction(quads, directions(quads, turned))
    across = np.array([-along[1], along[0]], dtype=np.float32)
    middles = quads.mean(axis=1)
    heights = np.minimum(_lengths(quads[:, 3] - quads[:, 0]), _lengths(quads[:, 1] - quads[:, 0]))
    rows = _rows(middles @ across, heights)
    starts = (quads @ along).min(axis=1)
    return [index for row in rows for index in sorted(row, key=lambda i: float(starts[i]))]


def _page_direction(quads: Points, units: Points) -> Points:
    """Direction of the page: the mean of the lines in the quarter turn that has most text, so that a few
    vertical labels do not tilt it."""
    lengths = np.maximum(_lengths(quads[:, 1] - quads[:, 0]), _lengths(quads[:, 3] - quads[:, 0]))
    quarters = np.round(np.arctan2(units[:, 1], units[:, 0]) / (np.pi / 2)).astype(int) % 4
    main = quarters == np.bincount(quarters, weights=lengths).argmax()
    total = (units[main] * lengths[main, None]).sum(axis=0)
    direction: Points = (total / max(float(np.hypot(*total)), 1e-6)).astype(np.float32)
    return direction


def _rows(middles: Points, heights: Points) -> list[list[int]]:
    rows: list[list[int]] = []
    for index in np.argsort(middles, kind="stable").tolist():
        last = rows[-1][-1] if rows else None
        if last is not None and _same_row(middles[[last, index]], heights[[last, index]]):
            rows[-1].append(index)
        else:
            rows.append([index])
    return rows


def _same_row(middles: Points, heights: Points) -> bool:
    return bool(abs(middles[1] - middles[0]) < SAME_ROW * heights.min())


def _lengths(vectors: Points) -> Points:
    lengths: Points = np.hypot(vectors[:, 0], vectors[:, 1])
    return lengths
