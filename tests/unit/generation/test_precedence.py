"""How much of prompts with media a step of the engine reads."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from multimodal.generation.precedence import CROWD_FACTOR, media_tokens, priority

LIMIT = 32
LEAST = LIMIT // 4
TEXT, MEDIA = priority(0, media=False), priority(0, media=True)
BACKGROUND = priority(1, media=False)


@dataclass(eq=False)
class Request:
    """One of so many tokens that are not computed yet."""

    priority: int
    num_tokens_with_spec: int = 1
    is_prefill_chunk: bool = False
    num_computed_tokens: int = 0
    num_output_placeholders: int = 0


def prompt(of: int, tokens: int) -> Request:
    """Which is being read."""
    return Request(of, tokens, is_prefill_chunk=True)


def share(running: list[Request], *waiting: Request) -> int | None:
    return media_tokens(running, waiting, LIMIT)


def test_text_is_served_before_media_and_both_before_the_background() -> None:
    assert TEXT < MEDIA < BACKGROUND < priority(1, media=True)


def test_a_prompt_alone_is_read_at_once_and_of_several_not_too_much() -> None:
    assert share([]) is None
    assert share([prompt(MEDIA, 5000)]) is None
    assert share([], Request(BACKGROUND, 5000)) is None
    assert share([prompt(MEDIA, 5000), Request(MEDIA)]) == CROWD_FACTOR * LIMIT
    assert share([prompt(MEDIA, 5000)], Request(MEDIA, 5000)) == CROWD_FACTOR * LIMIT


def test_prompts_with_media_are_read_in_pieces_beside_text() -> None:
    assert share([Request(TEXT), Request(TEXT), prompt(MEDIA, 5000)]) == LIMIT
    assert share([Request(TEXT, 900)], Request(MEDIA, 5000)) == LIMIT


def test_media_get_what_prompts_of_text_leave_and_a_little_always() -> None:
    assert share([Request(TEXT), prompt(MEDIA, 5000)], Request(TEXT, 10)) == LIMIT - 10
    assert share([Request(TEXT), prompt(MEDIA, 5000)], Request(TEXT, 100)) == LEAST
    assert share([prompt(TEXT, 100), prompt(MEDIA, 5000)]) == LEAST


requests = st.builds(
    Request,
    st.sampled_from([TEXT, MEDIA, BACKGROUND, priority(1, media=True)]),
    st.integers(1, 4000),
    st.booleans(),
    num_computed_tokens=st.integers(0, 4000),
    num_output_placeholders=st.integers(0, 2),
)


@given(st.lists(requests, max_size=64), st.lists(requests, max_size=8))
def test_media_always_get_something_and_little_beside_text(
    running: list[Request], waiting: list[Request]
) -> None:
    found = share(running, *waiting)
    if any(one.priority == TEXT for one in (*running, *waiting)):
        assert found is not None
        assert LEAST <= found <= LIMIT
    else:
        assert found in (None, CROWD_FACTOR * LIMIT)
