"""The stretch of a text that is shown."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multimodal.retrieval.snippet import CUT, Snippets

FILLER = " ".join(["filler"] * 100)
WORDS = st.lists(st.sampled_from(["alpha", "beta", "gamma", "the", "x"]), max_size=200)


def inner(shown: str) -> str:
    return shown.removeprefix(f"{CUT} ").removesuffix(f" {CUT}")


def test_a_short_text_is_shown_whole_in_one_line() -> None:
    assert Snippets("pear")("a  red\n apple ") == "a red apple"
    assert Snippets("pear")("") == ""


def test_a_long_text_is_cut_around_the_words() -> None:
    shown = Snippets("Apple")(f"{FILLER} the red apple falls {FILLER}")
    assert "the red apple falls" in shown
    assert shown.startswith(f"{CUT} filler")
    assert shown.endswith(f"filler {CUT}")


def test_words_are_found_as_lexical_search_finds_them() -> None:
    assert "Apples" in Snippets("apple")(f"{FILLER} Apples {FILLER}")


def test_where_more_of_the_words_stand_together_is_better() -> None:
    text = f"churn {FILLER} churn rate grows {FILLER}"
    assert "churn rate" in Snippets("churn rate")(text)


def test_rare_words_tell_more_than_frequent_ones() -> None:
    text = f"we talk of people and people and people {FILLER} 4711 {FILLER}"
    assert "4711" in Snippets("people with 4711")(text)


@pytest.mark.parametrize("words", ["", "nothing of it", "the of and"])
def test_without_a_hit_the_beginning_is_shown(words: str) -> None:
    assert Snippets(words)(f"begin {FILLER}").startswith("begin filler")


@given(WORDS, WORDS, st.integers(20, 80))
def test_it_is_a_stretch_of_whole_words_no_longer_than_allowed(
    text: list[str], words: list[str], limit: int
) -> None:
    shown = Snippets(" ".join(words))(" ".join(text), limit)
    assert len(shown) <= limit
    assert f" {inner(shown)} " in f" {' '.join(text)} "
    assert set(inner(shown).split()) <= set(text)


@given(WORDS, st.sampled_from(["alpha", "beta", "gamma"]), WORDS, st.integers(20, 80))
def test_it_has_a_word_of_the_query_where_the_text_has_one(
    before: list[str], word: str, after: list[str], limit: int
) -> None:
    assert word in inner(Snippets(word)(" ".join([*before, word, *after]), limit)).split()


@given(st.text(max_size=500), st.text(max_size=50))
def test_any_text_of_any_script_has_one(text: str, words: str) -> None:
    shown = Snippets(words)(text, 50)
    assert len(shown) <= 50
    assert inner(shown) in " ".join(text.split()) or shown in " ".join(text.split())


def test_one_query_serves_many_texts() -> None:
    shown = Snippets("apple pear")
    assert "red apple" in shown(f"{FILLER} red apple {FILLER}")
    assert "ripe pear" in shown(f"{FILLER} ripe pear {FILLER}")
