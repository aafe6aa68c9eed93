"""A process that sends requests: what it takes of an interpreter is nothing that measures or waits."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import time
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypedDict

import aiohttp
import psutil

REQUEST_TIMEOUT_S = 600.0
_JSON = {"Content-Type": "application/json"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Burst:
    """Requests, and how they are sent."""

    url: str
    bodies: tuple[bytes, ...] = field(repr=False)
    """JSON."""
    order: tuple[int, ...]
    """Indices of bodies; one may be sent often."""
    clients: int
    """Each waits for its answer before it sends the next; as many as requests: all at once."""


class Sent(TypedDict):
    """What came of it."""

    seconds: float
    """From the first byte to the end of the last answer."""
    times_ms: list[float]
    """Of each request, in order."""


class Sender:
    """That process."""

    def __init__(self, pool: ProcessPoolExecutor) -> None:
        self._pool = pool
        self.process = psutil.Process(pool.submit(os.getpid).result())

    def send(self, burst: Burst) -> Sent:
        """Blocks. Raises RuntimeError for anything but an answer."""
        return self._pool.submit(_send, burst).result()


@contextmanager
def sender() -> Iterator[Sender]:
    """It lives until the block is left."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield Sender(pool)


def chat_url(base_url: str) -> str:
    """Where `chat_body` goes."""
    return f"{base_url}/v1/chat/completions"


def chat_body(model: str, part: Mapping[str, object], question: str) -> dict[str, object]:
    """One medium, one question, one token."""
    content = [part, {"type": "text", "text": question}]
    messages = [{"role": "user", "content": content}]
    return {"model": model, "max_tokens": 1, "temperature": 0, "ignore_eos": True, "messages": messages}


def client_session() -> aiohttp.ClientSession:
    """Any number of connections, which stay open while another side has its turn."""
    return aiohttp.ClientSession(
        timeout=aiohttp.ClientTimeout(total=REQUEST_TIMEOUT_S),
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=60),
    )


async def post(session: aiohttp.ClientSession, url: str, body: bytes) -> float:
    """Milliseconds until the whole answer was there. Raises RuntimeError for anything but an answer."""
    started_s = time.perf_counter()
    try:
        async with session.post(url, data=body, headers=_JSON) as response:
            text = await response.read()
            if response.status != 200:
                raise RuntimeError(f"The server answered {response.status}: {text[:500]!r}")
    except aiohttp.ClientError as error:
        # Not all of aiohttp's errors can be sent to another process.
        raise RuntimeError(f"The server did not answer: {error}") from None
    return 1e3 * (time.perf_counter() - started_s)


def _send(burst: Burst) -> Sent:
    return asyncio.run(_all(burst))


async def _all(burst: Burst) -> Sent:
    times_ms = [0.0] * len(burst.order)
    waiting = iter(enumerate(burst.order))
    async with client_session() as session:
        started_s = time.perf_counter()

        async def work() -> None:
            for index, which in waiting:
                times_ms[index] = await post(session, burst.url, burst.bodies[which])

        await together([work() for _ in range(burst.clients)])
        return Sent(seconds=time.perf_counter() - started_s, times_ms=times_ms)


async def together(work: Sequence[Coroutine[None, None, None]]) -> None:
    """The first failure ends the rest, and is raised as it is: a group of errors tells less."""
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
