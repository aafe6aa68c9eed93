from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multimodal.generation.asked import MOST_MOMENTS, moments_asked


@pytest.mark.parametrize(
    ("question", "moments_s"),
    [
        ("What is shown at 3 seconds?", [3]),
        ("What is shown at second 3?", [3]),
        ("And at 2.5 s?", [2.5]),
        ("the 10-second mark", [10]),
        ("What happens at 0:05 and at 1:30?", [5, 90]),
        ("at 1:02:03", [3723]),
        ("in minute 2", [120]),
        ("after 1 minute", [60]),
        ("Compare 4s with second 1.", [4, 1]),
        ("At second 3, yes, 3 seconds", [3]),
        ("What is in this video?", []),
        ("Are there 3 dogs in the second picture?", []),
        ("Read the 42 EUR receipt of 2026", []),
        ("Is 10.0.0.1 shown?", []),
    ],
)
def test_moments_that_a_question_names(question: str, moments_s: list[float]) -> None:
    assert list(moments_asked(question)) == moments_s


def test_more_moments_than_the_notes_can_hold_are_left_out() -> None:
    asked = " and ".join(f"at {second} s" for second in range(100))
    assert moments_asked(asked) == tuple(map(float, range(MOST_MOMENTS)))


@given(st.text(max_size=200))
def test_any_text_is_read(question: str) -> None:
    found = moments_asked(question)
    assert len(set(found)) == len(found) <= MOST_MOMENTS
    assert all(moment_s >= 0 for moment_s in found)
