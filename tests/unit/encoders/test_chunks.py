"""Chunks hold all of a page, in order, each short enough for one vector and never without its heading."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from multimodal.encoders.chunks import chunk_blocks
from multimodal.media.sentences import words_in
from multimodal.types import Box, TextBlock


def block(text: str, *, box: Box | None = None, heading: bool = False) -> TextBlock:
    return TextBlock(text=text, box=box, heading=heading)


def head(text: str, box: Box | None = None) -> TextBlock:
    return block(text, box=box, heading=True)


def texts(blocks: list[TextBlock], limit: int) -> list[str]:
    return [chunk.text for chunk in chunk_blocks(blocks, limit)]


def test_short_blocks_share_a_chunk() -> None:
    assert texts([block("one two"), block("three four")], 5) == ["one two\nthree four"]


def test_a_block_that_does_not_fit_begins_the_next_chunk() -> None:
    assert texts([block("one two three"), block("four five six")], 5) == ["one two three", "four five six"]


def test_long_paragraphs_are_split_behind_sentences() -> None:
    assert texts([block("It all fell. Then it rose. It ended.")], 4) == [
        "It all fell.",
        "Then it rose.",
        "It ended.",
    ]


def test_a_heading_begins_a_chunk() -> None:
    assert texts([block("before"), head("News"), block("after")], 50) == ["before", "News\nafter"]


def test_a_heading_stands_again_above_what_goes_on_under_it() -> None:
    blocks = [head("News"), block("one two three"), block("four five six"), head("End"), block("x")]
    assert texts(blocks, 5) == ["News\none two three", "News\nfour five six", "End\nx"]


def test_headings_that_follow_each_other_stand_together() -> None:
    assert texts([head("Sheet"), head("a | b"), block("1 | 2")], 20) == ["Sheet\na | b\n1 | 2"]


def test_headings_without_a_text_are_a_chunk() -> None:
    assert texts([head("Title"), head("Subtitle")], 20) == ["Title\nSubtitle"]
    assert texts([block("x"), head("End")], 20) == ["x", "End"]


def test_an_endless_heading_is_text() -> None:
    found = texts([head("one two three four five six"), block("seven")], 4)
    assert found == ["one two three four", "five six\nseven"]


def test_no_text_has_no_chunks() -> None:
    assert chunk_blocks([], 10) == ()
    assert chunk_blocks([block(" \n"), head("")], 10) == ()


def test_a_chunk_stands_around_its_blocks() -> None:
    blocks = [
        head("Head", (0.1, 0.0, 0.5, 0.1)),
        block("one two three", box=(0.2, 0.2, 0.9, 0.3)),
        block("four five six", box=(0.3, 0.4, 0.8, 0.5)),
        block("seven"),
    ]
    assert [chunk.box for chunk in chunk_blocks(blocks, 100)] == [(0.1, 0.0, 0.9, 0.5)]
    # The heading that stands again has its place in the first chunk.
    assert [chunk.box for chunk in chunk_blocks(blocks, 4)] == [
        (0.1, 0.0, 0.9, 0.3),
        (0.3, 0.4, 0.8, 0.5),
        None,
    ]


WORDS = st.text(st.sampled_from("abcdefgh12 .\n日"), max_size=120)


@given(st.lists(WORDS), st.integers(1, 30))
def test_no_text_is_lost_and_the_order_and_the_limit_are_kept(paragraphs: list[str], limit: int) -> None:
    found = texts([block(text) for text in paragraphs], limit)
    assert "".join("".join(found).split()) == "".join("".join(paragraphs).split())
    assert all(1 <= words_in(text) <= limit for text in found)


@given(st.lists(st.tuples(WORDS, st.booleans())), st.integers(1, 30))
def test_with_headings_nothing_is_lost_either(parts: list[tuple[str, bool]], limit: int) -> None:
    found = texts([block(text, heading=heading) for text, heading in parts], limit)
    assert all(1 <= words_in(text) <= limit for text in found)
    told = iter("".join("".join(found).split()))
    assert all(character in told for character in "".join("".join(text for text, _ in parts).split()))
