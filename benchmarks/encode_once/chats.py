"""Text chats, and what is measured of them, while others may keep the server busy."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from typing import TypedDict

from benchmarks.encode_once.flooding import Flooded
from benchmarks.load import HttpAsker, SseReader

GRACE_S = 4.0
"""After a turn, chats under way may take so much longer. What then is not there counts as if it were:
latencies of a side that is slower than that are at least what is shown."""

LONGEST_MS = 1e3 * GRACE_S
"""At least what it took where no chat of a turn had a piece of text, so no time between two."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chat:
    """A text chat. Times are seconds on one clock."""

    sent_s: float
    began_s: float | None
    """First token."""
    arrivals_s: tuple[float, ...]
    """Pieces of text."""
    ended_s: float
    finished: bool


class Turn(TypedDict):
    """Text chats with one server."""

    ttft_ms: list[float]
    """Of each chat."""
    itl_ms: list[float]
    """Between two pieces of text of one answer, all answers together."""
    cut: int
    """Chats that were not finished GRACE_S after the turn."""
    pieces_per_s: float
    """Of text: tokens, mostly."""
    flood: Flooded | None
    cores: dict[str, float]


async def chat(asker: HttpAsker, prompt: str, until_s: float) -> Chat:
    """One answer, or what there is of it at that time of the clock."""
    reader, sent_s, finished = SseReader(), time.perf_counter(), False
    with suppress(TimeoutError):
        async with asyncio.timeout(until_s - sent_s):
            await asker.chat([{"role": "user", "content": prompt}], reader=reader)
            finished = True
    return Chat(
        sent_s=sent_s,
        began_s=reader.began_s,
        arrivals_s=tuple(reader.arrivals_s),
        ended_s=time.perf_counter(),
        finished=finished,
    )


def turn_of(chats: Sequence[Chat], seconds: float, cores: dict[str, float]) -> Turn:
    """Without a flood. A chat that was cut off has waited for its next piece of text until then, at least."""
    gaps_s: list[float] = []
    for one in chats:
        last = () if one.finished or not one.arrivals_s else (one.ended_s,)
        gaps_s += [later - sooner for sooner, later in pairwise([*one.arrivals_s, *last])]
    return Turn(
        ttft_ms=[1e3 * ((one.began_s or one.ended_s) - one.sent_s) for one in chats],
        itl_ms=[1e3 * gap_s for gap_s in gaps_s],
        cut=sum(not one.finished for one in chats),
        pieces_per_s=sum(len(one.arrivals_s) for one in chats) / seconds,
        flood=None,
        cores=cores,
    )
