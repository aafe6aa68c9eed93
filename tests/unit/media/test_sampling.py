"""Which frames of a video are chosen."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multimodal.media.sampling import scene_times, thinned, uniform_times


def test_uniform_takes_the_middles_of_equal_spans() -> None:
    assert uniform_times(10.0, 4) == pytest.approx([1.25, 3.75, 6.25, 8.75])


@given(st.lists(st.integers(), unique=True, max_size=300), st.integers(1, 64))
def test_thinning_keeps_order_and_count(items: list[int], count: int) -> None:
    kept = thinned(items, count)
    assert len(kept) == min(len(items), count)
    assert [item for item in items if item in set(kept)] == kept


def test_thinning_is_even() -> None:
    assert thinned(range(9), 3) == [1, 4, 7]


def test_each_scene_gives_its_middle() -> None:
    assert scene_times([4.0, 5.0], 9.0) == [2.0, 4.5, 7.0]


def test_a_video_without_cuts_is_one_scene() -> None:
    assert scene_times([], 4.0) == [2.0]
