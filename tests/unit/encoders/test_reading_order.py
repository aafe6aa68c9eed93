import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from multimodal.encoders.reading_order import Points, reading_order

PAGE = (800.0, 600.0)


def box(left: float, top: float, width: float = 100, height: float = 20) -> list[list[float]]:
    right, bottom = left + width, top + height
    return [[left, top], [right, top], [right, bottom], [left, bottom]]


def quads(*boxes: list[list[float]]) -> Points:
    return np.array(boxes, np.float32).reshape(-1, 4, 2)


TWO_COLUMNS = quads(box(40, 50, 120), box(600, 48, 60), box(40, 90, 200), box(600, 93, 60), box(40, 130, 90))
"""Three rows: two pieces, two pieces, one piece."""


def turned_by(points: Points, degrees: float) -> Points:
    """The page turned clockwise about its middle, corners renamed so that the first is the top left one."""
    angle = math.radians(degrees)
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    middle = np.array(PAGE) / 2
    moved = (points - middle) @ turn.T + middle
    return np.roll(moved, round(degrees / 90) % 4, axis=1).astype(np.float32)


def test_rows_come_from_top_to_bottom_and_pieces_of_a_row_from_left_to_right() -> None:
    assert reading_order(TWO_COLUMNS, [False] * 5) == [0, 1, 2, 3, 4]


@given(st.permutations(range(5)))
def test_the_order_in_which_lines_were_found_does_not_matter(found: list[int]) -> None:
    order = reading_order(TWO_COLUMNS[found], [False] * 5)
    assert [found[index] for index in order] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("degrees", [-6, -3, 2, 6])
def test_a_tilted_page_is_read_along_its_lines(degrees: float) -> None:
    assert reading_order(turned_by(TWO_COLUMNS, degrees), [False] * 5) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("degrees", "turned"),
    [(90, False), (180, True), (270, True), (95, False), (175, True)],
)
def test_a_turned_page_is_read_as_if_it_stood_upright(degrees: float, turned: bool) -> None:
    # A line that runs down is turned upright by rapidocr; one that runs up comes out on its head.
    assert reading_order(turned_by(TWO_COLUMNS, degrees), [turned] * 5) == [0, 1, 2, 3, 4]


def test_a_vertical_label_does_not_tilt_the_page() -> None:
    label = box(5, 40, 18, 90)
    order = reading_order(quads(*TWO_COLUMNS.tolist(), label), [False] * 6)
    assert [index for index in order if index != 5] == [0, 1, 2, 3, 4]


def test_a_large_title_does_not_swallow_the_line_below_it() -> None:
    title, line = box(40, 20, 500, 100), box(40, 125, 200, 20)
    assert reading_order(quads(line, title), [False] * 2) == [1, 0]


def test_no_lines_have_no_order() -> None:
    assert reading_order(np.empty((0, 4, 2), np.float32), []) == []


coordinates = st.floats(0, 2000, width=32)


@given(st.lists(st.tuples(st.lists(coordinates, min_size=8, max_size=8), st.booleans()), max_size=12))
def test_every_line_is_read_once_whatever_its_shape(lines: list[tuple[list[float], bool]]) -> None:
    points = np.array([corners for corners, _ in lines], np.float32).reshape(-1, 4, 2)
    order = reading_order(points, [turned for _, turned in lines])
    assert sorted(order) == list(range(len(lines)))
