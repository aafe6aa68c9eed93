"""Which frames of a video are chosen."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from multimodal.media.sampling import scene_times, thinned, uniform_times


def looks(*levels: int) -> NDArray[np.uint8]:
    """Grey pictures."""
    return np.stack([np.full((18, 32, 3), level, np.uint8) for level in levels])


def test_uniform_takes_the_middles_of_equal_spans() -> None:
    assert uniform_times(10.0, 4) == pytest.approx([1.25, 3.75, 6.25, 8.75])


@settings(deadline=None)
@given(st.lists(st.integers(), unique=True, max_size=300), st.integers(1, 64))
def test_thinning_keeps_order_and_count(items: list[int], count: int) -> None:
    kept = thinned(items, count)
    assert len(kept) == min(len(items), count)
    assert [item for item in items if item in set(kept)] == kept


def test_thinning_is_even() -> None:
    assert thinned(range(9), 3) == [1, 4, 7]


def test_each_scene_gives_its_middle() -> None:
    times = [float(i) for i in range(9)]
    assert scene_times(times, looks(10, 10, 10, 200, 200, 200, 90, 90, 90), 9.0, 8) == pytest.approx(
        [1.25, 4.0, 7.25]
    )


def test_a_video_without_cuts_is_one_scene() -> None:
    assert scene_times([0.0, 1.0, 2.0], looks(50, 51, 50), 4.0, 8) == [2.0]
    assert scene_times([], looks(0)[:0], 4.0, 8) == [2.0]


def test_a_steady_change_is_no_cut() -> None:
    assert len(scene_times([float(i) for i in range(10)], looks(*range(0, 250, 25)), 10.0, 8)) == 1


def test_scenes_of_equal_brightness_are_told_apart_by_colour() -> None:
    red, green = np.zeros((2, 18, 32, 3), np.uint8)
    red[..., 0], green[..., 1] = 150, 76
    assert len(scene_times([0, 1, 2, 3], np.stack([red, red, green, green]), 4.0, 8)) == 2


def test_the_strongest_cuts_are_kept() -> None:
    levels = looks(0, 0, 0, 200, 200, 200, 160, 160, 160, 0, 0, 0)
    assert scene_times([float(i) for i in range(12)], levels, 12.0, 3) == pytest.approx([1.25, 5.5, 10.25])


@settings(deadline=None)
@given(st.lists(st.integers(0, 255), min_size=1, max_size=40), st.integers(1, 8))
def test_scenes_are_ordered_and_limited(levels: list[int], count: int) -> None:
    times = scene_times([float(i) for i in range(len(levels))], looks(*levels), float(len(levels)), count)
    assert 1 <= len(times) <= count
    assert times == sorted(times)
    assert 0 <= times[0] <= times[-1] <= len(levels)
