"""Whose turn it is in the engine: text first, and prompts with media in small pieces beside it.

A step of the engine takes as long as all that is read and written in it. So a text that is being written
waits, at each token, for the prompts that others have just sent; those with media are long, and many. What
a request is, its vLLM priority says, of which the lower is served first.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import ceil
from typing import Protocol

MEDIA_TOKENS = "media_prefill_tokens"
"""In vLLM's `additional_config`: the limit of `media_tokens`."""

LEAST_SHARE = 0.25
"""Of the limit, beside texts whose prompts alone are as long: else prompts with media could wait for ever."""

CROWD_FACTOR = 4
"""Of the limit, for several prompts with media and no text: a text that comes waits for one step. One alone
is read as fast as it can be."""


class Asked(Protocol):
    """A request, as far as this looks at vLLM's."""

    priority: int
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


def media_tokens(running: Iterable[Asked], waiting: Iterable[Asked], limit: int) -> int | None:
    """How much of prompts with media the next step of an engine may read; None: as much as fits into it.

    While there are texts, `limit` together with the prompts of these.
    """
    going_on, new = list(running), list(waiting)
    texts = [one for one in (*going_on, *new) if _is_text(one)]
    if not texts:
        return CROWD_FACTOR * limit if len(going_on) + len(new) > 1 else None
    read = [one for one in going_on if one.is_prefill_chunk] + new
    text_tokens = sum(_missing_tokens(one) for one in read if _is_text(one))
    return max(limit - text_tokens, ceil(limit * LEAST_SHARE))


def _is_text(one: Asked) -> bool:
    """Whether it is live, and without media."""
    return one.priority == priority(0, media=False)


def _missing_tokens(one: Asked) -> int:
    known = one.num_tokens_with_spec + one.num_output_placeholders
    return max(1, known - one.num_computed_tokens)
