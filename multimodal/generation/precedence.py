"""Whose turn it is in the engine: text first, and prompts with media in small pieces beside it.

A step of the engine takes as long as all that is read and written in it. So a text that is being written
waits, at each token, for the prompts that others have just sent; those with media are long, and many. What
a request is, its vLLM priority says, of which the lower is served first.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from math import ceil
from typing import Protocol

MEDIA_TOKENS = "media_prefill_tokens"
"""In vLLM's `additional_config`: the limit of `MediaShare`."""

LEAST_SHARE = 0.25
"""Of the limit, beside texts whose prompts alone are as long: else prompts with media could wait for ever."""

PAUSE_S = 2.0
"""After a text, the next one is expected for so long."""
PAUSE_FACTOR = 2
"""Of the limit, meanwhile: nobody is held up but who comes just then."""


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


class MediaShare:
    """How much of prompts with media each step of an engine may read, tokens.

    While there are texts, `limit` together with the prompts of these. For a moment after the last one, a
    little more, as the next is likely to come soon: else all that waits would be read in one long step, and
    the next text would wait for it.
    """

    def __init__(self, limit: int, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._limit = limit
        self._clock_s = clock_s
        self._text_until_s = float("-inf")

    def tokens(self, running: Iterable[Asked], waiting: Iterable[Asked]) -> int | None:
        """Of the next step; None: as many as fit into it."""
        going_on = [one for one in running if _is_text(one)]
        new = [one for one in waiting if _is_text(one)]
        now_s = self._clock_s()
        if not (going_on or new):
            return PAUSE_FACTOR * self._limit if now_s < self._text_until_s else None
        self._text_until_s = now_s + PAUSE_S
        read = [*(one for one in going_on if one.is_prefill_chunk), *new]
        read_tokens = sum(map(_missing_tokens, read))
        return max(self._limit - read_tokens, ceil(self._limit * LEAST_SHARE))


def _is_text(one: Asked) -> bool:
    """Whether it is live, and without media."""
    return one.priority == priority(0, media=False)


def _missing_tokens(one: Asked) -> int:
    known = one.num_tokens_with_spec + one.num_output_placeholders
    return max(1, known - one.num_computed_tokens)
