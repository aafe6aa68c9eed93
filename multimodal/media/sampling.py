"""Which frames of a video are looked at: pure arithmetic on times."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TypeVar

T = TypeVar("T")


def uniform_times(duration_s: float, count: int) -> list[float]:
    """The middles of `count` equal spans of `duration_s`, seconds."""
    return [duration_s * (i + 0.5) / count for i in range(count)]


def thinned(items: Sequence[T], count: int) -> list[T]:
    """At most `count` of the items: the middle of each of `count` equal stretches."""
    if len(items) <= count:
        return list(items)
    return [items[int((i + 0.5) * len(items) / count)] for i in range(count)]


def scene_times(cuts_s: Sequence[float], duration_s: float) -> list[float]:
    """The middles of the scenes that cuts (ascending) make of `duration_s`, seconds."""
    return [(start_s + end_s) / 2 for start_s, end_s in pairwise([0.0, *cuts_s, duration_s])]
