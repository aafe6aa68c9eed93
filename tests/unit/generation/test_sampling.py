"""Errors of the engine on their way to a client."""

from __future__ import annotations

import pytest

from multimodal.generation.sampling import MAX_ERROR_CHARACTERS, first_line


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (
            "No grammar: [19:57:37] /project/cpp/converter.cc:4944: Unsupported type\n  at frame 1",
            "No grammar: Unsupported type.",
        ),
        ("top_p must be in (0, 1].", "top_p must be in (0, 1]."),
        ("x" * 1000, "x" * MAX_ERROR_CHARACTERS + "."),
    ],
)
def test_an_error_becomes_one_sentence_without_a_place_in_code(said: str, told: str) -> None:
    assert first_line(ValueError(said)) == told
