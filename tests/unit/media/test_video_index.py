"""The index of a video: which frame is shown when, and where a cut is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multimodal.media.video_index import VideoIndex


def index(times_s: list[float], keys: tuple[int, ...] = (0,)) -> VideoIndex:
    return VideoIndex(
        times_s=tuple(times_s),
        positions=tuple(range(len(times_s))),
        keys=keys,
        frames=len(times_s),
        end_s=times_s[-1] + 0.1,
        width=16,
        height=9,
    )


TENTHS = [5.0 + number / 10 for number in range(50)]
"""Ten frames a second; the container's clock begins at 5 s."""


def test_the_frame_that_is_shown_is_the_last_that_began() -> None:
    assert [index(TENTHS).at(time_s) for time_s in (0.0, 0.05, 0.1, 0.19, 99.0)] == [0, 0, 1, 1, 49]


def test_a_cut_is_at_the_key_frame() -> None:
    assert index(TENTHS, (0, 12, 30)).change_between(1.0, 1.3) == pytest.approx(1.2)
    assert index(TENTHS, (0, 10, 13)).change_between(1.0, 1.3) == pytest.approx(1.3)


@pytest.mark.parametrize("keys", [(0,), (0, 10), (0, 11, 12, 13)])
def test_without_one_key_frame_a_cut_is_at_the_frame_halfway(keys: tuple[int, ...]) -> None:
    assert index(TENTHS, keys).change_between(1.0, 1.3) == pytest.approx(1.2)


def test_a_cut_is_at_the_next_frame_where_there_are_few() -> None:
    assert index([0.0, 1.0, 2.0]).change_between(1.0, 2.0) == 2.0


@given(
    st.lists(st.floats(0, 100), min_size=2, max_size=30, unique=True),
    st.lists(st.integers(0, 29), max_size=5),
    st.data(),
)
def test_a_cut_comes_after_one_look_and_by_the_next(
    times_s: list[float], keys: list[int], data: st.DataObject
) -> None:
    video = index(sorted(times_s), tuple(sorted({key for key in keys if key < len(times_s)})))
    first = data.draw(st.integers(0, len(times_s) - 2))
    last = data.draw(st.integers(first + 1, len(times_s) - 1))
    start_s, end_s = (video.times_s[at] - video.origin_s for at in (first, last))
    assert start_s < video.change_between(start_s, end_s) <= end_s
