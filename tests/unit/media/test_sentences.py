"""Counting words as a language model does, and cutting texts where it hurts least."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multimodal.media.sentences import split_text, words_in

TEXTS = st.text(st.sampled_from("aB1.!? \n-é日"), max_size=400)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", 0),
        ("  \n ", 0),
        ("Sales grew again", 3),
        ("3.14159265", 3),
        ("incomprehensibilities", 3),
        ("日本語です", 3),
    ],
)
def test_words_that_tokenizers_take_apart_count_more_than_once(text: str, words: int) -> None:
    assert words_in(text) == words


@given(TEXTS, TEXTS)
def test_words_add_up(one: str, other: str) -> None:
    assert words_in(f"{one} {other}") == words_in(one) + words_in(other)


def test_texts_are_cut_behind_sentences() -> None:
    assert split_text("It rained. We stayed in! Did you? Yes", 7) == [
        "It rained. We stayed in!",
        "Did you? Yes",
    ]


def test_long_sentences_are_cut_between_words() -> None:
    assert split_text("one two three four five", 2) == ["one two", "three four", "five"]


def test_lines_are_kept_together_where_they_fit() -> None:
    assert split_text("first line\nsecond line\nthird", 4) == ["first line\nsecond line", "third"]


@given(TEXTS, st.integers(1, 40))
def test_nothing_is_lost_and_no_piece_is_empty_or_too_long(text: str, limit: int) -> None:
    pieces = split_text(text, limit)
    assert "".join("".join(pieces).split()) == "".join(text.split())
    assert all(1 <= words_in(piece) <= limit for piece in pieces)


def test_a_megabyte_without_a_space_is_cut() -> None:
    pieces = split_text("x" * 1_000_000, 500)
    assert max(map(words_in, pieces)) <= 500
    assert sum(map(len, pieces)) == 1_000_000
