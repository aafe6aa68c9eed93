"""Where the picture of a video changes: arithmetic on small pictures ("looks") taken along the way.

A cut parts two stretches that each stay much the same and differ from one another, whatever lies between: one
step (a hard cut) or a few (a fade, a wipe). So a camera that moves is no cut, and neither is a flash.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import inf

import numpy as np
from numpy.typing import NDArray

_PICTURE_CHANGE = 0.06
"""Least mean difference of two looks that may be a cut. Colours are in [0, 1]."""

_SPOT_CHANGE = 0.1
"""The same for the cells that differ most: another caption or slide on the same background."""

_SPOT_SHARE = 0.003
"""Those cells, as a share of all."""

_OVER_REST = 3.0
"""A cut stands out this much from what changes before and after it."""

_REACHES = (0, 1, 2, 4, 8)
"""Looks on either side of the middle of a cut that may belong to it: with four looks a second, fades of up to
four seconds."""

_SPARSE_S = 0.4
"""Looks that are further apart cannot show whether the picture rests: each change of it counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """The middle of a cut lies between the looks `before` and `before + 1`."""

    before: int
    reach: int
    strength: float

    def overlaps(self, other: Cut) -> bool:
        """Whether both may be the same change."""
        return abs(self.before - other.before) <= max(self.reach, other.reach)


class _Changes:
    """How much looks differ that are `span` apart."""

    def __init__(self, looks: NDArray[np.uint8]) -> None:
        planes = np.moveaxis(looks, 3, 1).astype(np.int16)
        self._looks = planes.reshape(len(looks), 3, -1)
        self._known: dict[int, NDArray[np.float32]] = {}

    def over(self, span: int) -> NDArray[np.float32]:
        """(2, n - span): of the whole picture, and of the spots that differ most; for each first look."""
        if span not in self._known:
            pairs = zip(self._looks[:-span], self._looks[span:], strict=True)
            rows = [_difference(one, other) for one, other in pairs]
            self._known[span] = np.array(rows, np.float32).reshape(-1, 2).T
        return self._known[span]

    def during(self, span: int) -> NDArray[np.float32]:
        """The same, and no less than any step on the way: what swings back has not rested."""
        steps = np.lib.stride_tricks.sliding_window_view(self.over(1), span, axis=1)
        largest: NDArray[np.float32] = np.maximum(self.over(span), steps.max(axis=2))
        return largest


def _difference(one: NDArray[np.int16], other: NDArray[np.int16]) -> tuple[float, float]:
    red, green, blue = np.abs(one - other)
    cells: NDArray[np.int16] = red + green + blue
    spots = max(1, round(len(cells) * _SPOT_SHARE))
    return float(cells.mean()) / 765, float(np.partition(cells, -spots)[-spots:].mean()) / 765


def find_cuts(times_s: Sequence[float], looks: NDArray[np.uint8], count: int) -> list[int]:
    """Looks after which the picture changes, ascending; the strongest `count` of them.

    Args:
        times_s: (n,) when each look was taken, ascending.
        looks: (n, height, width, 3), all over the picture, in little detail.
        count: most cuts.
    """
    if len(looks) < 2:
        return []
    changes = _Changes(looks)
    sparse = float(np.median(np.diff(times_s))) > _SPARSE_S
    found = _steps(changes) if sparse else _outstanding(changes, len(looks))
    cuts: list[Cut] = []
    # The shortest reach at which a cut stands out tells best where it is.
    for cut in sorted(found, key=lambda cut: (cut.reach, -cut.strength)):
        if not any(map(cut.overlaps, cuts)):
            cuts.append(cut)
    strongest = sorted(cuts, key=lambda cut: -cut.strength)[:count]
    return sorted(cut.before for cut in strongest)


def _steps(changes: _Changes) -> Iterator[Cut]:
    """Every change between two looks."""
    for before, (picture, spot) in enumerate(changes.over(1).T):
        if picture >= _PICTURE_CHANGE or spot >= _SPOT_CHANGE:
            yield Cut(before=before, reach=0, strength=_strength(picture, spot))


def _outstanding(changes: _Changes, count: int) -> Iterator[Cut]:
    """Changes between two stretches that rest, at each reach."""
    least = np.array([[_PICTURE_CHANGE], [_SPOT_CHANGE]], np.float32)
    for reach in _REACHES:
        span = 2 * reach + 1
        if count <= span:
            return
        across = changes.over(span)
        rest = _rest_around(changes.during(reach + 1), reach, across.shape[1])
        stands_out = (across >= least) & (across >= _OVER_REST * rest)
        for first in np.flatnonzero(stands_out.any(axis=0)):
            picture, spot = across[:, first]
            yield Cut(before=int(first) + reach, reach=reach, strength=_strength(picture, spot))


def _rest_around(during: NDArray[np.float32], reach: int, count: int) -> NDArray[np.float32]:
    """(2, count): the larger of what changes before each span of that reach, and after it.

    Where the video begins or ends too near to tell, that is infinite for gradual cuts and 0 for hard ones.
    """
    span, rest = 2 * reach + 1, reach + 1
    around = np.full((2, 2, count + rest), inf if reach else 0.0, np.float32)
    before, after = during[:, :count], during[:, span:]
    around[0, :, rest : rest + before.shape[1]] = before
    around[1, :, : after.shape[1]] = after
    largest: NDArray[np.float32] = around[:, :, :count].max(axis=0)
    return largest


def _strength(picture: np.float32, spot: np.float32) -> float:
    """Another picture is stronger than another caption."""
    return float(picture) + float(spot) / 10
