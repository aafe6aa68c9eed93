"""Where looks at a video change."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from multimodal.media.cuts import find_cuts

Looks = NDArray[np.uint8]

SIZE = (54, 96, 3)
DENSE_S, SPARSE_S = 0.25, 1.0


def grey(*levels: int) -> Looks:
    return np.stack([np.full(SIZE, level, np.uint8) for level in levels])


def pattern(seed: int) -> Looks:
    """A picture of many colours."""
    return (
        np.random.default_rng(seed).integers(0, 256, (9, 16, 3), np.uint8).repeat(6, axis=0).repeat(6, axis=1)
    )


def still(picture: Looks, count: int = 8) -> Looks:
    return np.stack([picture] * count)


def captioned(picture: Looks, level: int) -> Looks:
    """With a spot of one colour: 32 of 5,184 cells."""
    copy = picture.copy()
    copy[44:46, 10:26] = level
    return copy


def fade(one: Looks, other: Looks, steps: int) -> Looks:
    shares = np.arange(1, steps) / steps
    return np.stack([(one * (1 - share) + other * share).astype(np.uint8) for share in shares])


def wipe(one: Looks, other: Looks, steps: int) -> Looks:
    columns = [SIZE[1] * step // steps for step in range(1, steps)]
    return np.stack([np.concatenate([other[:, :column], one[:, column:]], axis=1) for column in columns])


def grainy(looks: Looks, seed: int = 0) -> Looks:
    grain = np.random.default_rng(seed).normal(0, 6, looks.shape)
    return np.clip(looks + grain, 0, 255).astype(np.uint8)


def cuts(*looks: Looks, count: int = 63, step_s: float = DENSE_S) -> list[int]:
    joined = np.concatenate(looks)
    return find_cuts([index * step_s for index in range(len(joined))], joined, count)


ONE, OTHER, THIRD = pattern(1), pattern(2), pattern(3)


# --- what is a cut -----------------------------------------------------------------------------


def test_another_picture_is_a_cut() -> None:
    assert cuts(still(ONE), still(OTHER), still(ONE)) == [7, 15]


def test_colours_of_equal_brightness_are_told_apart() -> None:
    red, green = np.zeros((2, *SIZE), np.uint8)
    red[..., 0], green[..., 1] = 150, 76
    assert cuts(still(red), still(green)) == [7]


@pytest.mark.parametrize("picture", [np.full(SIZE, 60, np.uint8), ONE], ids=["plain", "busy"])
def test_another_caption_on_the_same_picture_is_a_cut(picture: Looks) -> None:
    assert cuts(still(captioned(picture, 255)), still(captioned(picture, 0))) == [7]


def test_dark_scenes_are_told_apart() -> None:
    assert cuts(still(grey(10)[0]), still(grey(40)[0])) == [7]


@pytest.mark.parametrize("looks", [2, 3])
def test_a_short_scene_has_a_cut_on_either_side(looks: int) -> None:
    assert cuts(still(ONE), still(OTHER, looks), still(ONE)) == [7, 7 + looks]


@pytest.mark.parametrize("change", [fade, wipe])
@pytest.mark.parametrize("steps", [2, 3, 4, 8, 12, 16])
def test_a_gradual_change_is_one_cut_in_its_middle(
    steps: int, change: Callable[[Looks, Looks, int], Looks]
) -> None:
    (found,) = cuts(still(ONE, 12), change(ONE, OTHER, steps), still(OTHER, 12))
    assert abs(found - (11 + steps / 2)) <= 2


def test_each_of_several_fades_is_found() -> None:
    looks = still(ONE), fade(ONE, OTHER, 6), still(OTHER), fade(OTHER, THIRD, 6), still(THIRD)
    assert [round(found / 14) for found in cuts(*looks)] == [1, 2]


def test_a_cut_between_moving_pictures_is_found() -> None:
    assert cuts(panned(0, 12), panned(400, 12)) == [11]


# --- what is none ------------------------------------------------------------------------------


def panned(start: int, count: int, step: int = 1) -> Looks:
    """A view that moves by `step` cells over a large, soft picture."""
    cells = np.random.default_rng(5).integers(0, 256, (54, 60, 3)).repeat(16, axis=1)
    kernel = np.ones(33) / 33
    soft = np.apply_along_axis(lambda row: np.convolve(row, kernel, "same"), 1, cells).astype(np.uint8)
    views = [soft[:, start + step * index : start + step * index + SIZE[1]] for index in range(count)]
    return np.ascontiguousarray(np.stack(views))


def test_nothing_changes_in_a_still_shot() -> None:
    assert cuts(still(ONE, 40)) == []
    assert cuts(grainy(still(ONE, 40))) == []


@pytest.mark.parametrize("step", [1, 4])
def test_a_camera_that_moves_is_no_cut(step: int) -> None:
    assert cuts(panned(0, 40, step)) == []


def test_a_steady_change_of_light_is_no_cut() -> None:
    for step in (4, 8, 12, 24, 60):
        assert cuts(grey(*range(0, 240, step))) == []


def test_a_small_thing_that_moves_is_no_cut() -> None:
    looks = still(np.full(SIZE, 90, np.uint8), 40)
    for index, look in enumerate(looks):
        left = index * 7 % 80
        look[20:32, left : left + 12] = 250
    assert cuts(looks) == []


def test_a_flash_is_no_cut() -> None:
    assert cuts(still(ONE), grey(255), still(ONE)) == []


def test_a_picture_that_swings_back_does_not_rest() -> None:
    assert cuts(np.concatenate([still(ONE, 1), still(OTHER, 1)] * 10), np.stack([ONE, THIRD] * 10)) == []


# --- few looks ---------------------------------------------------------------------------------


def test_between_looks_far_apart_every_change_counts() -> None:
    assert cuts(still(ONE, 3), still(OTHER, 1), still(THIRD, 1), still(ONE, 2), step_s=SPARSE_S) == [2, 3, 4]


def test_one_look_or_none_has_no_cuts() -> None:
    assert cuts(grey(0)) == []
    assert cuts(grey(0)[:0]) == []


# --- how many ----------------------------------------------------------------------------------


def test_the_strongest_cuts_are_kept() -> None:
    levels = [0] * 4 + [200] * 4 + [160] * 4 + [0] * 4
    assert cuts(grey(*levels), count=2) == [3, 11]
    assert cuts(grey(*levels), count=0) == []


def test_another_picture_is_kept_before_another_caption() -> None:
    looks = still(captioned(ONE, 0)), still(captioned(ONE, 255)), fade(ONE, OTHER, 4), still(OTHER)
    assert cuts(*looks)[0] == 7
    assert 16 <= cuts(*looks, count=1)[0] <= 18


@given(
    st.lists(st.integers(0, 255), max_size=40),
    st.integers(0, 8),
    st.sampled_from([DENSE_S, SPARSE_S]),
)
def test_cuts_are_ordered_and_limited(levels: Sequence[int], count: int, step_s: float) -> None:
    looks = np.stack([np.full((6, 8, 3), level, np.uint8) for level in levels]) if levels else grey(0)[:0]
    found = find_cuts([index * step_s for index in range(len(levels))], looks, count)
    assert found == sorted(set(found))
    assert len(found) <= count
    assert all(0 <= before < len(levels) - 1 for before in found)
    assert all(levels[before] != levels[before + 1] for before in found if step_s == SPARSE_S)
