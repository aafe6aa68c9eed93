"""Whose turn it is in the engine: text first, and prompts with media in small pieces beside it.

A step of the engine takes as long as all that is read and written in it. So a text that is being written
waits, at each token, for the prompts that others have just sent; those with media are long, and many. What
a request is, its vLLM priority says, of which the lower is served first.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import ceil
from typing import Protocol

MEDIA_TOKENS = "media_prefill_tokens"
"""In vLLM's `additional_config`: the limit of `budget_tokens`."""

LEAST_SHARE = 0.25
"""Of the limit, for prompts with media where texts alone are as long: else these could wait for ever."""


class Asked(Protocol):
    """A request, as far as this looks at vLLM's."""

    priority: int
    arrival_time: float
    is_prefill_chunk: bool
    """Some of its prompt has still to be read."""
    num_computed_tokens: int
    num_output_placeholders: int

    @property
    def num_tokens_with_spec(self) -> int:
        """Of prompt and answer, as far as they are known or guessed."""


def priority(lane: int, *, media: bool) -> int:
    """Of a request. Lanes stay apart (0 is live, 1 in the background); within each, text is first."""
    return 2 * lane + media


def order(one: Asked) -> tuple[int, float]:
    """What to sort requests by, as they are to get their share of a step."""
    return one.priority, one.arrival_time


def budget_tokens(running: Sequence[Asked], waiting: Iterable[Asked], whole: int, limit: int) -> int:
    """How many tokens a step may have, of `whole` at most.

    While there are texts: what is being written, and at most `limit` that are read; more only where the texts
    themselves are longer.
    """
    written = [one for one in running if not one.is_prefill_chunk]
    read = [*(one for one in running if one.is_prefill_chunk), *waiting]
    if not any(map(_is_text, (*written, *read))):
        return whole
    text_tokens = sum(_missing_tokens(one) for one in read if _is_text(one))
    read_tokens = max(limit, text_tokens + ceil(limit * LEAST_SHARE))
    return min(whole, sum(map(_missing_tokens, written)) + read_tokens)


def _is_text(one: Asked) -> bool:
    """Whether it is live, and without media."""
    return one.priority == priority(0, media=False)


def _missing_tokens(one: Asked) -> int:
    known = one.num_tokens_with_spec + one.num_output_placeholders
    return max(1, known - one.num_computed_tokens)
