"""Three deployments: Driver asks Producer for arrays, and Consumer to take them."""

from __future__ import annotations

import asyncio
import time
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from ray import serve
from ray.serve import Application, Deployment
from ray.serve.handle import DeploymentHandle

from benchmarks.transport.turns import Turn
from deployments.loopback import keep_on_loopback

keep_on_loopback()

Handle: TypeAlias = "DeploymentHandle[object]"

PAGE_BYTES = 4096
MAX_ONGOING = 256
CPUS = 0.1


def made(size_bytes: int) -> NDArray[np.uint8]:
    """(size_bytes,) uint8."""
    return np.ones(size_bytes, dtype=np.uint8)


class Producer:
    """Has arrays ready: making one would cost the same either way."""

    def __init__(self) -> None:
        self._made: dict[int, NDArray[np.uint8]] = {}

    async def make(self, size_bytes: int) -> NDArray[np.uint8]:
        """(size_bytes,) uint8."""
        if size_bytes not in self._made:
            self._made[size_bytes] = made(size_bytes)
        return self._made[size_bytes]


class Consumer:
    """Reads one byte of each page, so that all of the array has to be there."""

    async def take(self, array: NDArray[np.uint8]) -> int:
        """How many pages it has."""
        return int(array[::PAGE_BYTES].sum(dtype=np.int64))


class Driver:
    """Makes the calls and takes the time."""

    def __init__(self, producer: Handle, consumer: Handle) -> None:
        self._producer = producer
        self._consumer = consumer

    async def run(self, turn: Turn) -> list[float]:
        """Milliseconds of each call. Raises RuntimeError where an array did not arrive as it was sent."""
        calls = _Calls(self._producer, self._consumer, turn)
        return await calls.run()


class _Calls:
    def __init__(self, producer: Handle, consumer: Handle, turn: Turn) -> None:
        by_reference = turn.way == "reference"
        self._make = producer.options(method_name="make", _by_reference=by_reference)
        self._take = consumer.options(method_name="take", _by_reference=by_reference)
        self._turn = turn
        self._argument = made(turn.case.size_bytes)
        self._pages = len(self._argument[::PAGE_BYTES])
        self._left = turn.calls

    async def run(self) -> list[float]:
        streams = [self._stream() for _ in range(self._turn.case.at_once)]
        return [call_ms for found in await asyncio.gather(*streams) for call_ms in found]

    async def _stream(self) -> list[float]:
        found = []
        while self._left > 0:
            self._left -= 1
            started_s = time.perf_counter()
            pages = await self._once()
            found.append(1e3 * (time.perf_counter() - started_s))
            if pages != self._pages:
                raise RuntimeError(f"{pages} pages arrived, not {self._pages}.")
        return found

    async def _once(self) -> object:
        if self._turn.case.kind == "call":
            return await self._take.remote(self._argument)
        return await self._take.remote(self._make.remote(self._turn.case.size_bytes))


def app() -> Application:
    """Driver is the ingress."""
    return _deployment(Driver).bind(_deployment(Producer).bind(), _deployment(Consumer).bind())


def _deployment(cls: type) -> Deployment:
    options = {"num_cpus": CPUS}
    return serve.deployment(name=cls.__name__, ray_actor_options=options, max_ongoing_requests=MAX_ONGOING)(
        cls
    )
