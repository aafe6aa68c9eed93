"""Pages of texts that have none, and the window of pages that is wanted."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multimodal.config import Limits
from multimodal.errors import InvalidRequest, MediaTooLarge
from multimodal.media.pages import PAGE_CHARACTERS, Window, block_of, paginate, row_of, title_of
from multimodal.types import TextBlock

PARAM = "messages.0.content.1"


def window(first: int = 1, most: int = 2, pages: int = 10) -> Window:
    return Window(first=first, most=most, limits=Limits(document_pages=pages), param=PARAM)


def block(text: str, *, heading: bool = False) -> TextBlock:
    return TextBlock(text=text, heading=heading)


def pages_of(count: int) -> Sequence[list[TextBlock]]:
    return [[block(f"page {number}")] for number in range(1, count + 1)]


def test_only_the_pages_of_the_window_are_kept_and_all_are_counted() -> None:
    found = window(first=3).of(pages_of(5), "Title")
    assert [(page.number, page.blocks[0].text) for page in found.pages] == [(3, "page 3"), (4, "page 4")]
    assert (found.page_count, found.title) == (5, "Title")


def test_the_last_window_ends_with_the_document() -> None:
    assert [page.number for page in window(first=5).of(pages_of(5), "").pages] == [5]


def test_an_empty_document_has_an_empty_page() -> None:
    found = window().of([], "")
    assert [(page.number, page.blocks) for page in found.pages] == [(1, ())]
    assert found.page_count == 1


@pytest.mark.parametrize("first", [0, -1, 6])
def test_a_page_that_there_is_not_cannot_be_asked_for(first: int) -> None:
    with pytest.raises(InvalidRequest, match=f"has 5 pages: there is no page {first}") as caught:
        window(first=first).of(pages_of(5), "")
    assert caught.value.param == PARAM


def test_too_many_pages_are_refused_before_all_are_made() -> None:
    endless = ([block("again")] for _ in iter(int, 1))
    with pytest.raises(MediaTooLarge, match="10 pages") as caught:
        window().of(endless, "")
    assert caught.value.param == PARAM


def test_a_page_of_too_much_text_is_refused() -> None:
    with pytest.raises(MediaTooLarge, match="200,000 characters"):
        window().of([[block("a" * (PAGE_CHARACTERS + 1))]], "")


def test_a_heading_stands_with_what_follows_it() -> None:
    blocks = [block("one two three"), block("Next", heading=True), block("four five six seven")]
    found = [[one.text for one in page] for page in paginate(blocks, 8)]
    assert found == [["one two three", "Next", "four five six seven"]]
    found = [[one.text for one in page] for page in paginate([block("zero zero"), *blocks], 8)]
    assert found == [["zero zero", "one two three"], ["Next", "four five six seven"]]


@given(st.lists(st.tuples(st.text("ab \n.", max_size=80), st.booleans())), st.integers(4, 40))
def test_pages_hold_every_word_in_order_and_are_never_empty(
    texts: list[tuple[str, bool]], words: int
) -> None:
    blocks = [one for text, heading in texts for one in block_of(text, heading=heading)]
    pages = list(paginate(blocks, words))
    told = "".join(one.text for page in pages for one in page)
    assert "".join(told.split()) == "".join("".join(one.text for one in blocks).split())
    assert all(pages)


def test_what_cannot_be_read_is_left_out() -> None:
    assert [one.text for one in block_of(" a\0b\ud800c\x1b\ufffe ")] == ["abc"]
    assert list(block_of("\0 \n")) == []


def test_rows_are_one_line_without_the_empty_cells_at_their_end() -> None:
    assert row_of(["a\nb", "", "c", "", " "]) == "a b |  | c"


def test_many_empty_cells_are_left_out() -> None:
    assert row_of(["a", *[""] * 10_000, "b"]) == "a |  |  |  | b"


def test_titles_are_one_line_and_not_endless() -> None:
    assert title_of("A\n  title\0") == "A title"
    assert len(title_of("long " * 1000)) <= 300
    assert title_of(None) == ""
