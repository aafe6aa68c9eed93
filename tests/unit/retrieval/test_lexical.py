"""Which words find which texts, and what they weigh."""

from __future__ import annotations

import math
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multimodal.retrieval.lexical import (
    AVERAGE_TERMS,
    K1,
    MAX_QUERY_TERMS,
    MAX_SEGMENT_TERMS,
    document_weights,
    normalised,
    query_terms,
    query_weights,
    term_id,
    terms,
)


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("INV-2024-001", "the invoice inv-2024-001 was paid"),
        ("2024", "the invoice INV-2024-001"),
        ("jo.smith@example.org", "write to Jo.Smith@Example.org!"),
        ("smith", "write to jo.smith@example.org"),
        ("example.org", "see https://example.org/report_7.pdf?x=1"),
        ("report", "see https://example.org/report_7.pdf"),
        ("007", "agent 007"),
        ("v1.2.3", "released V1.2.3."),
        ("CAFÉ", "cafe\u0301s in Paris"),
        ("cafe", "Café"),
        ("strasse", "STRASSE"),
        ("Straße", "strasse"),
        ("ﬁle", "a file"),
        ("wolf's", "the wolf"),
        ("don\u2019t", "don't"),
        ("cities", "a city"),
        ("car", "two cars"),
        ("日本", "これは日本語です"),
        ("本", "本"),
        ("한국", "한국어"),
        ("हिन्दी", "यह हिन्दी है"),
        ("Ελλάδα", "ελλαδα"),
        ("३", "३ ४"),
    ],
)
def test_a_query_finds_a_text(query: str, text: str) -> None:
    assert set(query_terms(query)) & document_weights(text).keys()


@pytest.mark.parametrize(
    ("query", "text"),
    [("001", "1"), ("glass", "glas"), ("bus", "bu"), ("car", "carpet"), ("!?…", "!?…"), ("", "anything")],
)
def test_a_query_does_not_find_a_text(query: str, text: str) -> None:
    assert not set(query_terms(query)) & document_weights(text).keys()


def test_a_code_counts_as_a_whole_and_in_pieces() -> None:
    assert list(terms("INV-2024-001")) == ["inv-2024-001", "inv", "2024", "001"]
    assert list(terms("a" * 40 + "-" + "b" * 40)) == ["a" * 40, "b" * 40]


@pytest.mark.parametrize(
    ("word", "stem"),
    [
        ("queries", "query"),
        ("movies", "movy"),
        ("horses", "horse"),
        ("shoes", "shoes"),
        ("cats", "cat"),
        ("campus", "campus"),
        ("glass", "glass"),
        ("gas", "gas"),
        ("été", "été"),
        ("x123s", "x123s"),
    ],
)
def test_plurals(word: str, stem: str) -> None:
    assert normalised(word) == stem


def test_stop_words_are_dropped_only_beside_others() -> None:
    assert query_terms("the fox") == query_terms("fox")
    assert query_terms("The Who") == (term_id("the"), term_id("who"))


def test_terms_are_the_same_in_every_process() -> None:
    code = (
        "from multimodal.retrieval.lexical import document_weights; print(document_weights('red foxes, ß'))"
    )
    printed = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for seed in ("1", "2")
    }
    assert printed == {str(document_weights("red foxes, ß"))}


def test_repetition_saturates_and_length_counts_against() -> None:
    fox = term_id("fox")
    once, often = document_weights("fox")[fox], document_weights("fox " * 50)[fox]
    assert once < often < K1 + 1
    assert document_weights("fox " + "word " * 200)[fox] < once
    average = document_weights("fox " + " ".join(f"w{n}" for n in range(AVERAGE_TERMS - 1)))
    assert average[fox] == pytest.approx(1.0)


def test_rare_terms_weigh_more_and_none_is_negative() -> None:
    weights = query_weights([1, 2, 3], {1: 1, 2: 10, 3: 0}, 10)
    assert list(weights) == [1, 2]
    assert weights[1] == pytest.approx(math.log(1 + 9.5 / 1.5))
    assert 0 < weights[2] < weights[1]
    assert query_weights([1], {1: 5}, 4)[1] > 0, "a segment came between the counts"


def test_terms_are_bounded() -> None:
    long = " ".join(f"w{n}" for n in range(10_000))
    assert len(document_weights(long)) == MAX_SEGMENT_TERMS
    assert len(query_terms(long)) == MAX_QUERY_TERMS


@given(st.text())
def test_any_text_has_weights_and_finds_itself(text: str) -> None:
    weights = document_weights(text)
    assert all(0 <= term < 2**32 and 0 < weight < K1 + 1 for term, weight in weights.items())
    assert set(query_terms(text)) <= weights.keys()
