from __future__ import annotations

import asyncio
import os

import pytest

from benchmarks.encode_once.sender import Burst, Sender
from tests.unit.benchmarks.encode_once.conftest import Serve
from tests.unit.benchmarks.encode_once.world import FakeServer


async def test_another_process_sends_each_body_as_often_as_it_is_in_the_order(
    serve: Serve, sending: Sender
) -> None:
    fake = FakeServer()
    server = await serve(fake)
    burst = Burst(
        url=f"{server.url}/v1/embeddings", bodies=(b'{"input":0}', b'{"input":1}'), order=(1, 0, 1), clients=1
    )
    sent = await asyncio.to_thread(sending.send, burst)
    assert [body["input"] for body in fake.bodies] == [1, 0, 1]
    assert len(sent["times_ms"]) == 3
    assert sum(sent["times_ms"]) <= 1e3 * sent["seconds"]
    assert sending.process.pid != os.getpid()


async def test_there_are_never_more_requests_than_clients(serve: Serve, sending: Sender) -> None:
    fake = FakeServer()
    server = await serve(fake)
    burst = Burst(url=f"{server.url}/v1/embeddings", bodies=(b'{"input":0}',), order=(0,) * 9, clients=3)
    await asyncio.to_thread(sending.send, burst)
    assert fake.most_running == 3


async def test_a_refusal_fails_the_run_and_the_process_lives_on(serve: Serve, sending: Sender) -> None:
    server = await serve(FakeServer(fails=True))
    chat = Burst(url=f"{server.url}/v1/chat/completions", bodies=(b"{}",), order=(0, 0), clients=2)
    with pytest.raises(RuntimeError, match=r"503.*restarting"):
        await asyncio.to_thread(sending.send, chat)
    nowhere = Burst(url="http://127.0.0.1:9/", bodies=(b"{}",), order=(0,), clients=1)
    with pytest.raises(RuntimeError, match="did not answer"):
        await asyncio.to_thread(sending.send, nowhere)
    assert sending.process.is_running()
