"""How many tokens a step of the engine may have, and who gets them."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from multimodal.generation.precedence import budget_tokens, order, priority

WHOLE, LIMIT = 2048, 32
TEXT, MEDIA = priority(0, media=False), priority(0, media=True)
BACKGROUND = priority(1, media=False)


@dataclass(eq=False)
class Request:
    """One of so many tokens that are not computed yet."""

    priority: int
    num_tokens_with_spec: int = 1
    is_prefill_chunk: bool = False
    arrival_time: float = 0.0
    num_computed_tokens: int = 0
    num_output_placeholders: int = 0


def prompt(of: int, tokens: int) -> Request:
    """Which is being read."""
    return Request(of, tokens, is_prefill_chunk=True)


def budget(running: list[Request], *waiting: Request) -> int:
    return budget_tokens(running, waiting, WHOLE, LIMIT)


def test_media_have_the_whole_step_where_there_is_no_text() -> None:
    assert budget([prompt(MEDIA, 5000), Request(MEDIA)], Request(MEDIA, 5000)) == WHOLE
    assert budget([prompt(BACKGROUND, 5000)]) == WHOLE
    assert budget([]) == WHOLE


def test_prompts_with_media_are_read_in_pieces_beside_text() -> None:
    assert budget([Request(TEXT), Request(TEXT), prompt(MEDIA, 5000)]) == 2 + LIMIT
    assert budget([Request(TEXT)], Request(MEDIA, 5000)) == 1 + LIMIT


def test_answers_about_media_go_on_beside_text() -> None:
    assert budget([Request(TEXT), Request(MEDIA), Request(BACKGROUND), prompt(MEDIA, 5000)]) == 3 + LIMIT


def test_a_prompt_of_text_is_read_at_once_and_media_get_little_beside_it() -> None:
    assert budget([Request(TEXT), prompt(MEDIA, 5000)], Request(TEXT, 100)) == 1 + 100 + LIMIT // 4
    assert budget([Request(TEXT), prompt(MEDIA, 5000)], Request(TEXT, 10)) == 1 + LIMIT


def test_text_is_the_first_to_get_tokens_and_then_who_came_first() -> None:
    late, early = Request(TEXT, arrival_time=2.0), Request(TEXT, arrival_time=1.0)
    media, background = Request(MEDIA, arrival_time=0.5), Request(BACKGROUND, arrival_time=0.1)
    assert sorted([background, media, late, early], key=order) == [early, late, media, background]


requests = st.builds(
    Request,
    st.sampled_from([TEXT, MEDIA, BACKGROUND, priority(1, media=True)]),
    st.integers(1, 4000),
    st.booleans(),
    st.floats(0, 1e9),
    num_computed_tokens=st.integers(0, 4000),
    num_output_placeholders=st.integers(0, 2),
)


@given(st.lists(requests, max_size=64), st.lists(requests, max_size=8))
def test_every_answer_gets_on_and_a_step_has_no_more_than_the_engine_allows(
    running: list[Request], waiting: list[Request]
) -> None:
    written = sum(not one.is_prefill_chunk for one in running)
    assert min(WHOLE, written + 1) <= budget(running, *waiting) <= WHOLE
