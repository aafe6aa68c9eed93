"""Which frames of a video are looked at: pure arithmetic on times and small pictures."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T")

_CUT_DIFFERENCE = 0.06
"""Least mean absolute difference (of colours in [0, 1]) between looks that can be a cut."""

_CUT_OVER_MEDIAN = 3.0
"""A cut also stands out this much from the usual difference: a moving camera is no cut."""


def uniform_times(duration_s: float, count: int) -> list[float]:
    """The middles of `count` equal spans of `duration_s`, seconds."""
    return [duration_s * (i + 0.5) / count for i in range(count)]


def thinned(items: Sequence[T], count: int) -> list[T]:
    """At most `count` of the items: the middle of each of `count` equal stretches."""
    if len(items) <= count:
        return list(items)
    return [items[int((i + 0.5) * len(items) / count)] for i in range(count)]


def scene_times(
    times_s: Sequence[float], looks: NDArray[np.uint8], duration_s: float, count: int
) -> list[float]:
    """The middle of each scene, at most `count` of them.

    Args:
        times_s: (n,) when each look was taken, ascending.
        looks: (n, height, width, 3), small pictures.
        duration_s: end of the last scene.
        count: where there are more scenes, the strongest `count - 1` cuts are kept.
    """
    bounds = [0.0, *_cuts(times_s, looks, count), duration_s]
    return [(start + end) / 2 for start, end in pairwise(bounds)]


def _cuts(times_s: Sequence[float], looks: NDArray[np.uint8], count: int) -> list[float]:
    """Times half-way between looks that differ much, ascending."""
    if len(looks) < 2:
        return []
    steps = np.abs(np.diff(looks.astype(np.float32), axis=0)).mean(axis=(1, 2, 3)) / 255
    least = max(_CUT_DIFFERENCE, _CUT_OVER_MEDIAN * float(np.median(steps)))
    strongest = np.argsort(steps)[::-1][: count - 1]
    kept = sorted(int(i) for i in strongest if steps[i] >= least)
    return [(times_s[i] + times_s[i + 1]) / 2 for i in kept]
