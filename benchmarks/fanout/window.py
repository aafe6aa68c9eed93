"""What many streams bring in a window of time, while all of them are open."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypedDict, cast

from benchmarks.fanout import ticking
from benchmarks.generator_tax.client import Client, Connection, Recorded, payloads

BEGIN_TIMEOUT_S = 60.0
"""For the first token of the last stream."""
RAMP_S = 1.0
"""Between that and the window."""
_POLL_S = 0.05
_FIRST = b"data: {"


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """What came of it."""

    seconds: float
    cpu_s: float
    """Of the server."""
    tokens: int
    events: int
    """With text; a server may put several tokens into one."""
    slowest_tokens: int
    """Of the stream that got the fewest."""


class _Delta(TypedDict, total=False):
    content: str


class _Choice(TypedDict):
    delta: _Delta


class _Chunk(TypedDict, total=False):
    choices: list[_Choice]
    error: object


async def watch(
    client: Client, bodies: Sequence[bytes], seconds: float, server_cpu_s: Callable[[], float]
) -> Window:
    """Open all streams, wait until all have begun, count for so long, and hang up.

    Raises RuntimeError when a stream does not begin, ends within the window, or is not what it should be.
    """
    streams = await asyncio.gather(*(client.open(body) for body in bodies))
    try:
        await _begun(streams)
        await asyncio.sleep(RAMP_S)
        cpu_s, start_s = server_cpu_s(), time.perf_counter()
        await asyncio.sleep(seconds)
        end_s, cpu_s = time.perf_counter(), server_cpu_s() - cpu_s
        if any(stream.ended.done() for stream in streams):
            raise RuntimeError("A stream ended within the window: let it have more tokens.")
    finally:
        for stream in streams:
            stream.abort()
    found = [counted(stream.recorded(), start_s, end_s) for stream in streams]
    return Window(
        seconds=end_s - start_s,
        cpu_s=cpu_s,
        tokens=sum(tokens for tokens, _ in found),
        events=sum(events for _, events in found),
        slowest_tokens=min(tokens for tokens, _ in found),
    )


async def _begun(streams: Sequence[Connection]) -> None:
    deadline_s = time.perf_counter() + BEGIN_TIMEOUT_S
    waiting = list(streams)
    while waiting:
        if time.perf_counter() > deadline_s or any(stream.ended.done() for stream in waiting):
            raise RuntimeError(f"{len(waiting)} of {len(streams)} streams did not begin.")
        await asyncio.sleep(_POLL_S)
        waiting = [one for one in waiting if not any(_FIRST in data for _, data in one.pieces)]


def counted(recorded: Recorded, start_s: float, end_s: float) -> tuple[int, int]:
    """Tokens and events of a stream that came within this time. Raises RuntimeError for a wrong answer."""
    tokens = events = 0
    text, rest = "", b""
    for at_s, data in payloads(recorded, whole=False):
        *lines, rest = (rest + data).split(b"\n")
        for content in filter(None, map(_content, lines)):
            text += content
            if start_s <= at_s < end_s:
                events += 1
                tokens += len(content) // ticking.TOKEN_CHARACTERS
    try:
        ticking.count(text)
    except ValueError as error:
        raise RuntimeError(str(error)) from None
    return tokens, events


def _content(line: bytes) -> str:
    if not line.startswith(_FIRST):
        return ""
    chunk = cast(_Chunk, json.loads(line[len("data: ") :]))
    if "error" in chunk:
        raise RuntimeError(f"The stream failed: {chunk['error']}")
    return "".join(choice["delta"].get("content", "") for choice in chunk.get("choices", ()))
