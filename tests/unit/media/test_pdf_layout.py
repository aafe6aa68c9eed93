"""Characters with places become paragraphs."""

from __future__ import annotations

from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st

from multimodal.media.pdf_layout import Glyph, paragraphs


def line(text: str, *, left: float = 50, top: float = 100, height: float = 12) -> Iterator[Glyph]:
    """Characters that are half as wide as high, then the end of the line."""
    for index, character in enumerate(text):
        x = left + index * height / 2
        place = None if character == " " else (x, top, x + height / 2, top + height)
        yield Glyph(character, place)
    yield Glyph("\r", None)
    yield Glyph("\n", None)


def test_lines_below_each_other_are_one_paragraph() -> None:
    (one,) = paragraphs([*line("It goes"), *line("on here", top=114)])
    assert one.text == "It goes on here"
    assert one.place == (50, 100, 92, 126)


def test_a_gap_parts_paragraphs() -> None:
    found = paragraphs([*line("One"), *line("Two", top=130)])
    assert [one.text for one in found] == ["One", "Two"]


def test_a_word_parted_at_the_end_of_a_line_is_whole_again() -> None:
    (one,) = paragraphs([*line("quar\x02"), *line("terly", top=114)])
    assert one.text == "quarterly"
    assert [one.text for one in paragraphs(line("a quar\x02terly"))] == ["a quarterly"]
    assert [one.text for one in paragraphs(line("the quar\x02"))] == ["the quar-"]


def test_cells_of_a_row_are_one_line_and_columns_stay_apart() -> None:
    row = paragraphs([*line("Coffee"), *line("3.50", left=300)])
    assert [one.text for one in row] == ["Coffee 3.50"]
    columns = paragraphs([*line("left column", top=500), *line("right column", left=300, top=100)])
    assert [one.text for one in columns] == ["left column", "right column"]


def test_larger_lines_are_headings() -> None:
    found = paragraphs([*line("Title", height=20), *line("Text of usual size", top=140)])
    assert [(one.text, one.heading) for one in found] == [("Title", True), ("Text of usual size", False)]


def test_a_page_of_one_size_has_no_headings() -> None:
    assert not any(one.heading for one in paragraphs([*line("One"), *line("Two", top=130)]))


@given(
    st.lists(
        st.tuples(
            st.text("ab ", min_size=1, max_size=9), st.floats(0, 500), st.floats(0, 800), st.floats(0, 40)
        )
    )
)
def test_no_word_is_lost_and_the_order_is_kept(lines: list[tuple[str, float, float, float]]) -> None:
    glyphs = [
        glyph for text, left, top, height in lines for glyph in line(text, left=left, top=top, height=height)
    ]
    told = " ".join(one.text for one in paragraphs(glyphs)).split()
    assert told == " ".join(text for text, *_ in lines).split()
