from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import psutil
import pytest
from aiohttp.test_utils import TestServer

from benchmarks.encode_once.profile import Profile
from benchmarks.encode_once.sender import Sender, sender
from benchmarks.encode_once.served import Served
from multimodal.config import AppArgs
from tests.unit.benchmarks.encode_once.world import FakeServer


@pytest.fixture(scope="session")
def sending() -> Iterator[Sender]:
    with sender() as process:
        yield process


Serve = Callable[[FakeServer], "asyncio.Future[Served]"]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Serves a fake until the test ends."""
    async with AsyncExitStack() as stack:

        async def start(fake: FakeServer) -> Served:
            server = await stack.enter_async_context(TestServer(fake.app()))
            profile = Profile(path=Path("serve_config.yaml"), args=AppArgs())
            return Served(
                url=str(server.make_url("")).rstrip("/"),
                model="m",
                root=psutil.Process(),
                profile=profile,
            )

        yield lambda fake: asyncio.ensure_future(start(fake))
