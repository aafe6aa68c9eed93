"""A client that goes away takes its work with it."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest
from fastapi import FastAPI

from multimodal.api.disconnect import AbortOnDisconnect
from multimodal.api.errors import ClientDisconnected
from tests.unit.api.fakes import ACCEPTED, Caller, FakeService, Item, chat_body, image_part, tokens

CHAT = "/v1/chat/completions"


@pytest.mark.parametrize(
    "before",
    [(), (ACCEPTED,), (ACCEPTED, *tokens("Hel"))],
    ids=["before the prompt is accepted", "before the first token", "while tokens flow"],
)
@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
async def test_chat_is_aborted(
    app: FastAPI, service: FakeService, before: tuple[Item, ...], stream: bool
) -> None:
    service.script = (*before, asyncio.Event())
    caller = Caller(app, CHAT, chat_body(stream=stream))
    await service.waiting.wait()

    caller.go_away()

    await asyncio.wait_for(service.closed.wait(), 10)
    await asyncio.wait_for(caller.task, 10)
    assert service.ended_in == [caller.task]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/embeddings", {"model": "text", "input": "a"}),
        ("/v1/classify", {"input": image_part(), "labels": ["a", "b"]}),
    ],
)
async def test_vectors_and_classes_are_aborted(
    app: FastAPI, service: FakeService, path: str, body: dict[str, object]
) -> None:
    service.gate = asyncio.Event()
    caller = Caller(app, path, body)
    await service.waiting.wait()

    caller.go_away()

    await asyncio.wait_for(service.closed.wait(), 10)
    await asyncio.wait_for(caller.task, 10)


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
async def test_chat_is_aborted_when_the_server_cancels_the_request(
    app: FastAPI, service: FakeService, stream: bool
) -> None:
    service.script = (ACCEPTED, *tokens("Hel"), asyncio.Event())
    caller = Caller(app, CHAT, chat_body(stream=stream))
    await service.waiting.wait()

    caller.task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await caller.task
    assert service.closed.is_set()


async def test_a_broken_pipe_ends_the_stream(app: FastAPI, service: FakeService) -> None:
    service.script = (ACCEPTED, *tokens("Hel"), asyncio.Event())
    caller = Caller(app, CHAT, chat_body(stream=True), pipe_breaks_after=1)

    await asyncio.wait_for(caller.task, 10)

    assert service.closed.is_set()
    assert not service.waiting.is_set()


class Wire:
    """A receive channel that can break."""

    def __init__(self) -> None:
        self.gone = asyncio.Event()
        self.error: Exception | None = None

    async def receive(self) -> dict[str, object]:
        await self.gone.wait()
        if self.error is not None:
            raise self.error
        return {"type": "http.disconnect"}


async def test_context_raises_when_the_client_goes() -> None:
    wire = Wire()
    wire.gone.set()
    with pytest.raises(ClientDisconnected):
        async with AbortOnDisconnect(wire.receive):
            await asyncio.Event().wait()
    assert _task().cancelling() == 0


async def test_context_takes_a_broken_transport_for_a_client_that_is_gone() -> None:
    wire = Wire()
    wire.error = RuntimeError()
    wire.gone.set()
    with pytest.raises(ClientDisconnected):
        async with AbortOnDisconnect(wire.receive):
            await asyncio.Event().wait()


async def test_context_raises_even_when_its_body_swallows_the_cancellation() -> None:
    wire = Wire()
    wire.gone.set()

    async def swallow() -> None:
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()

    with pytest.raises(ClientDisconnected):
        async with AbortOnDisconnect(wire.receive):
            await swallow()
    assert _task().cancelling() == 0
    await asyncio.sleep(0)


async def test_context_passes_errors_and_results_on() -> None:
    wire = Wire()
    with pytest.raises(KeyError):
        async with AbortOnDisconnect(wire.receive):
            raise KeyError
    async with AbortOnDisconnect(wire.receive):
        result = 1
    assert result == 1


async def test_context_lets_a_cancellation_from_outside_through() -> None:
    wire = Wire()

    async def body() -> None:
        async with AbortOnDisconnect(wire.receive):
            await asyncio.Event().wait()

    task = asyncio.ensure_future(body())
    await asyncio.sleep(0)
    wire.gone.set()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def _task() -> asyncio.Task[object]:
    task = asyncio.current_task()
    assert task is not None
    return task
