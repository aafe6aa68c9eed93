import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from PIL import ImageColor

from multimodal.encoders.colours import (
    MAX_COLOURS,
    MIN_SHARE,
    NAMES,
    dominant_colours,
    lab,
    look_up,
    nearest_names,
)


def name_of(colour: str) -> str:
    index = int(nearest_names(np.array([ImageColor.getrgb(colour)[:3]], np.uint8))[0])
    return NAMES[index]


def plain(
    colour: str, height: int = 20, width: int = 30
) -> np.ndarray[tuple[int, int, int], np.dtype[np.uint8]]:
    return np.full((height, width, 3), ImageColor.getrgb(colour)[:3], np.uint8)


@pytest.mark.parametrize(
    ("rgb", "expected"),
    [
        # Reference values of the standard formulas (D65), as colour science tables print them.
        ((255, 255, 255), (100, 0, 0)),
        ((0, 0, 0), (0, 0, 0)),
        ((255, 0, 0), (53.24, 80.09, 67.20)),
        ((0, 255, 0), (87.73, -86.18, 83.18)),
        ((0, 0, 255), (32.30, 79.19, -107.86)),
        ((119, 119, 119), (50.03, 0, 0)),
    ],
)
def test_lab_agrees_with_published_values(
    rgb: tuple[int, int, int], expected: tuple[float, float, float]
) -> None:
    assert lab(np.array([rgb], np.uint8))[0] == pytest.approx(expected, abs=0.05)


@pytest.mark.parametrize(
    ("name", "colours"),
    {
        "black": ["#000000", "#101010", "#0b0e0b"],
        "grey": ["#808080", "#404040", "#b0b0b0", "lightgrey", "slategrey"],
        "white": ["#ffffff", "#f2f2f2", "snow", "ivory"],
        "red": ["#ff0000", "#800000", "#8b0000", "#b22222", "#dc143c", "#cc3333"],
        "orange": ["#ffa500", "#ff8c00", "#ff7f50", "#e67e22"],
        "yellow": ["#ffff00", "#ffd700", "#f0e68c", "#ffeb3b"],
        "green": ["#00ff00", "#008000", "#006400", "#2e8b57", "#98fb98", "#4caf50", "#1b3d1b"],
        "teal": ["#008080", "#006d6d", "#20b2aa"],
        "cyan": ["#00ffff", "#40e0d0", "#00ced1"],
        "blue": [
            "#0000ff",
            "#000080",
            "#2a5db0",
            "#87ceeb",
            "#1e90ff",
            "#191970",
            "#4682b4",
            "#3333cc",
            "#203a6b",
        ],
        "purple": ["#800080", "#4b0082", "#9370db", "#8000ff", "#663399"],
        "pink": ["#ffc0cb", "#ff69b4", "#ff1493", "#ff00ff"],
        "brown": ["#8b4513", "#654321", "#a0522d", "#5d4037"],
        "beige": ["#f5f5dc", "#d2b48c", "#f5deb3"],
    }.items(),
)
def test_colours_get_the_name_that_people_give_them(name: str, colours: list[str]) -> None:
    assert {colour: name_of(colour) for colour in colours} == dict.fromkeys(colours, name)


@given(arrays(np.uint8, (20, 3)))
def test_names_are_looked_up_of_colours_two_levels_away_at_most(rgb: NDArray[np.uint8]) -> None:
    assert np.array_equal(look_up(rgb), nearest_names(rgb // 4 * 4 + 2))


def test_a_plain_picture_has_one_colour_with_all_of_its_area() -> None:
    (only,) = dominant_colours(plain("navy"))
    assert (only.name, only.share) == ("blue", 1.0)


def test_shares_are_those_of_the_areas_and_the_largest_comes_first() -> None:
    picture = plain("white", 100, 100)
    picture[:30] = ImageColor.getrgb("firebrick")
    picture[90:] = ImageColor.getrgb("green")
    assert [(c.name, round(c.share, 6)) for c in dominant_colours(picture)] == [
        ("white", 0.6), ("red", 0.3), ("green", 0.1),
    ]  # fmt: skip


def test_a_colour_on_a_few_pixels_is_not_mentioned() -> None:
    picture = plain("white", 100, 100)
    picture[:4] = 0
    assert [colour.name for colour in dominant_colours(picture)] == ["white"]


def test_large_pictures_are_sampled_without_being_fooled_by_stripes() -> None:
    picture = plain("yellow", 800, 1000)
    picture[:, ::2] = ImageColor.getrgb("blue")
    shares = {colour.name: colour.share for colour in dominant_colours(picture)}
    assert shares == {"blue": pytest.approx(0.5, abs=0.02), "yellow": pytest.approx(0.5, abs=0.02)}


@given(arrays(np.uint8, st.tuples(st.integers(1, 40), st.integers(1, 40), st.just(3))))
def test_any_picture_has_between_one_and_four_colours_in_order(
    pixels: np.ndarray[tuple[int, ...], np.dtype[np.uint8]],
) -> None:
    colours = dominant_colours(pixels)
    shares = [colour.share for colour in colours]
    assert 1 <= len(colours) <= MAX_COLOURS
    assert shares == sorted(shares, reverse=True)
    assert min(shares) >= MIN_SHARE
    assert sum(shares) <= 1 + 1e-9
    assert len({colour.name for colour in colours}) == len(colours)
