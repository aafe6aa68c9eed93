"""A process that loads a server: `python -m benchmarks.open_loop`, one Load a line on stdin, one
Loaded a line on stdout.

Open loop: requests are due at the times of a Poisson process, whatever became of those before, and the
latency of each counts from when it was due. A server that stalls so delays all that were due meanwhile, and
they count (no coordinated omission). Closed loop: so many clients, each with one request at a time.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Literal

import aiohttp
import numpy as np
import psutil
from pydantic import BaseModel, ConfigDict, Field

FIRST_EVENT = b"data: {"
END_OF_STREAM = b"data: [DONE]"
STREAM_TYPE = "text/event-stream"
_JSON = {"Content-Type": "application/json"}
_END_S = 10.0


class Message(BaseModel):
    """What travels between the two processes."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Open(Message):
    """Requests at random times, whatever the server makes of them."""

    mode: Literal["open"] = "open"
    rate_per_s: float = Field(gt=0)
    seed: int
    max_in_flight: int = Field(gt=0)
    """What is due while so many are under way is refused here, and counted."""


class Closed(Message):
    """Each client sends its next request when it has the answer to its last."""

    mode: Literal["closed"] = "closed"
    clients: int = Field(gt=0)


class Load(Message):
    """What is sent."""

    url: str
    bodies: list[str] = Field(min_length=1, repr=False)
    """JSON, in the order in which they are sent, each once."""
    pace: Annotated[Open | Closed, Field(discriminator="mode")]
    timeout_s: float = 120.0
    headers: dict[str, str] = {}


class Loaded(Message):
    """What came of it. Lists are of the answers, in the order in which they ended."""

    seconds: float
    """From the start to the end of the last answer."""
    latencies_ms: list[float] = Field(repr=False)
    """From when it was due (closed loop: sent) to its last byte."""
    first_ms: list[float] = Field(repr=False)
    """To the first event of a stream, or the first byte of the body."""
    failures: dict[str, int]
    """Requests without a complete answer, by status or error."""
    refused: int
    """Those that were due while `max_in_flight` were under way."""
    late_ms_p99: float
    """How long after it was due a request was sent, in the worst hundredth: above some milliseconds, this
    process is what was measured."""

    @property
    def per_s(self) -> float:
        """Answers."""
        return len(self.latencies_ms) / self.seconds


def arrivals_s(count: int, rate_per_s: float, seed: int) -> list[float]:
    """When each of `count` requests is due, seconds from the start: a Poisson process."""
    gaps = np.random.default_rng(seed).exponential(1 / rate_per_s, count)
    return [float(due) for due in np.cumsum(gaps)]


class Run:
    """One load."""

    def __init__(self, load: Load, session: aiohttp.ClientSession) -> None:
        self._load = load
        self._session = session
        self._started_s = time.perf_counter()
        self._latencies_ms: list[float] = []
        self._first_ms: list[float] = []
        self._late_ms: list[float] = [0.0]
        self._failures: Counter[str] = Counter()
        self._refused = 0

    async def result(self) -> Loaded:
        """When everything has ended."""
        pace = self._load.pace
        await (self._open(pace) if isinstance(pace, Open) else self._closed(pace))
        return Loaded(
            seconds=time.perf_counter() - self._started_s,
            latencies_ms=self._latencies_ms,
            first_ms=self._first_ms,
            failures=dict(self._failures),
            refused=self._refused,
            late_ms_p99=float(np.percentile(self._late_ms, 99)),
        )

    async def _open(self, pace: Open) -> None:
        bodies = self._load.bodies
        under_way: set[asyncio.Task[None]] = set()
        for due_s, body in zip(arrivals_s(len(bodies), pace.rate_per_s, pace.seed), bodies, strict=True):
            await asyncio.sleep(max(0.0, self._started_s + due_s - time.perf_counter()))
            if len(under_way) >= pace.max_in_flight:
                self._refused += 1
                continue
            task = asyncio.create_task(self._send(body, self._started_s + due_s))
            under_way.add(task)
            task.add_done_callback(under_way.discard)
        await asyncio.gather(*under_way)

    async def _closed(self, pace: Closed) -> None:
        waiting = iter(self._load.bodies)

        async def client() -> None:
            for body in waiting:
                await self._send(body, time.perf_counter())

        await asyncio.gather(*(client() for _ in range(pace.clients)))

    async def _send(self, body: str, due_s: float) -> None:
        self._late_ms.append(1e3 * (time.perf_counter() - due_s))
        try:
            first_s = await asyncio.wait_for(self._ask(body.encode()), self._load.timeout_s)
        except Unanswered as error:
            self._failures[str(error)] += 1
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            self._failures[type(error).__name__] += 1
        else:
            self._latencies_ms.append(1e3 * (time.perf_counter() - due_s))
            self._first_ms.append(1e3 * (first_s - due_s))

    async def _ask(self, body: bytes) -> float:
        """When the first of the answer was there. Raises Unanswered."""
        first_s = 0.0
        last = b""
        headers = _JSON | self._load.headers
        async with self._session.post(self._load.url, data=body, headers=headers) as response:
            if response.status != 200:
                raise Unanswered(str(response.status))
            streamed = response.content_type == STREAM_TYPE
            async for data in response.content.iter_any():
                if not first_s and (not streamed or FIRST_EVENT in data):
                    first_s = time.perf_counter()
                last = (last + data)[-64:]
        if not first_s or (streamed and END_OF_STREAM not in last):
            raise Unanswered("incomplete")
        return first_s


class Unanswered(Exception):
    """There is no complete answer."""


class Loader:
    """That process, as its user sees it."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.process = psutil.Process(process.pid)

    def run(self, load: Load) -> Loaded:
        """Blocks until all is answered. Raises RuntimeError when the process has ended."""
        stdin, stdout = self._process.stdin, self._process.stdout
        if stdin is None or stdout is None:
            raise RuntimeError("The load generator has no pipes.")
        stdin.write(load.model_dump_json() + "\n")
        stdin.flush()
        line = stdout.readline()
        if not line:
            raise RuntimeError("The load generator ended.")
        return Loaded.model_validate_json(line)


@contextmanager
def loader() -> Iterator[Loader]:
    """It lives until the block is left."""
    command = [sys.executable, "-m", __name__]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        try:
            yield Loader(process)
        finally:
            if process.stdin is not None:
                process.stdin.close()
            try:
                process.wait(_END_S)
            except subprocess.TimeoutExpired:
                process.kill()


async def run_load(load: Load) -> Loaded:
    """In this process."""
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=60)
    timeout = aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
        return await Run(load, session).result()


def main() -> None:
    """One result for each line, until there are no more."""
    for line in sys.stdin:
        if line.strip():
            print(asyncio.run(run_load(Load.model_validate_json(line))).model_dump_json(), flush=True)


if __name__ == "__main__":
    main()
