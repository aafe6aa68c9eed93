"""Live requests go first, and work in the background is done nevertheless."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager

import pytest

from deployments.lanes import Few, Lane
from deployments.text_encoder import TextEncoder
from multimodal.config import AppArgs
from multimodal.library.background import PRIORITY
from multimodal.types import RequestContext, TextEmbeddings
from tests.encoder_fakes import FakeTextEncoder

NEVER_S = 1e6
LIVE, BACKGROUND = 0, PRIORITY


def context(priority: int) -> RequestContext:
    return RequestContext(request_id="r", tenant="t", deadline_s=time.time() + 60, priority=priority)


class Calls:
    """Calls that stay in a lane until they are told to leave."""

    def __init__(self, lane: Lane | Few) -> None:
        self._lane = lane
        self._leave: dict[str, asyncio.Event] = {}
        self.entered: list[str] = []
        self.inside: set[str] = set()
        self.tasks: dict[str, asyncio.Task[None]] = {}

    async def begin(self, name: str, priority: int) -> None:
        self._leave[name] = asyncio.Event()
        self.tasks[name] = asyncio.create_task(self._run(name, self._lane(context(priority))))
        await settle()

    async def end(self, name: str) -> None:
        self._leave[name].set()
        await self.tasks[name]
        await settle()

    async def _run(self, name: str, place: AbstractAsyncContextManager[None]) -> None:
        async with place:
            self.entered.append(name)
            self.inside.add(name)
            try:
                await self._leave[name].wait()
            finally:
                self.inside.remove(name)


async def settle() -> None:
    """Let everything run that can."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_live_calls_enter_at_once() -> None:
    calls = Calls(Lane(patience_s=NEVER_S))
    for name in "abc":
        await calls.begin(name, LIVE)
    assert calls.inside == {"a", "b", "c"}
    for name in "abc":
        await calls.end(name)


async def test_a_live_call_does_not_wait_for_the_background() -> None:
    calls = Calls(Lane(patience_s=NEVER_S))
    await calls.begin("slow", BACKGROUND)
    await calls.begin("live", LIVE)
    assert calls.inside == {"slow", "live"}
    await calls.end("live")
    await calls.end("slow")


async def test_the_background_waits_until_no_live_call_is_left() -> None:
    calls = Calls(Lane(patience_s=NEVER_S))
    await calls.begin("live 1", LIVE)
    await calls.begin("slow", BACKGROUND)
    await calls.begin("live 2", LIVE)
    await calls.end("live 1")
    assert calls.inside == {"live 2"}
    await calls.end("live 2")
    assert calls.inside == {"slow"}
    await calls.end("slow")


async def test_the_background_goes_one_by_one_in_order() -> None:
    calls = Calls(Lane(patience_s=NEVER_S))
    for name in "abc":
        await calls.begin(name, BACKGROUND)
    assert calls.inside == {"a"}
    await calls.begin("live", LIVE)
    await calls.end("a")
    assert calls.inside == {"live"}
    await calls.end("live")
    await calls.end("b")
    await calls.end("c")
    assert calls.entered == ["a", "live", "b", "c"]


async def test_the_background_is_not_starved() -> None:
    calls = Calls(Lane(patience_s=0.0))
    await calls.begin("live", LIVE)
    await calls.begin("a", BACKGROUND)
    await calls.begin("b", BACKGROUND)
    await until(lambda: "a" in calls.inside)
    assert calls.inside == {"live", "a"}  # one at a time, even so
    await calls.end("a")
    await until(lambda: "b" in calls.inside)
    await calls.end("b")
    await calls.end("live")


@pytest.mark.parametrize("priority", [LIVE, BACKGROUND])
async def test_a_call_that_is_cancelled_leaves_the_lane(priority: int) -> None:
    calls = Calls(Lane(patience_s=NEVER_S))
    await calls.begin("first", priority)
    await calls.begin("next", BACKGROUND)
    assert calls.inside == {"first"}
    calls.tasks["first"].cancel()
    await settle()
    assert calls.inside == {"next"}
    await calls.end("next")


async def test_a_call_that_is_cancelled_while_it_waits_gives_up_its_place() -> None:
    calls = Calls(Lane(patience_s=NEVER_S))
    await calls.begin("live", LIVE)
    await calls.begin("impatient", BACKGROUND)
    await calls.begin("next", BACKGROUND)
    calls.tasks["impatient"].cancel()
    await settle()
    assert calls.tasks["impatient"].cancelled()
    await calls.end("live")
    assert calls.inside == {"next"}
    await calls.end("next")


@pytest.mark.parametrize("priority", [LIVE, BACKGROUND])
async def test_a_call_that_fails_leaves_the_lane(priority: int) -> None:
    lane = Lane(patience_s=NEVER_S)
    with pytest.raises(ValueError, match="broken"):
        async with lane(context(priority)):
            raise ValueError("broken")
    async with asyncio.timeout(10), lane(context(BACKGROUND)):
        pass


async def test_few_calls_of_the_background_are_on_the_way_and_all_live_ones() -> None:
    calls = Calls(Few(2))
    for name in "abc":
        await calls.begin(name, BACKGROUND)
    await calls.begin("live 1", LIVE)
    await calls.begin("live 2", LIVE)
    assert calls.inside == {"a", "b", "live 1", "live 2"}
    await calls.end("a")
    assert "c" in calls.inside
    for name in ("b", "c", "live 1", "live 2"):
        await calls.end(name)


class GatedText(FakeTextEncoder):
    """Encodes when it is told to, and remembers what it was given in which order."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.begun: list[str] = []

    def encode(self, texts: Sequence[str]) -> list[TextEmbeddings]:
        self.begun += texts
        self.go.wait()
        return super().encode(texts)


async def test_an_encoder_takes_live_requests_first() -> None:
    backend = GatedText()
    encoder = TextEncoder(AppArgs(), lambda args: backend)
    first = asyncio.create_task(encoder.encode(context(LIVE), ["first"]))
    await until(lambda: backend.begun == ["first"])
    slow = asyncio.create_task(encoder.encode(context(BACKGROUND), ["slow"]))
    await settle()
    second = asyncio.create_task(encoder.encode(context(LIVE), ["second"]))
    await until(lambda: "second" in backend.begun)
    backend.go.set()
    await asyncio.gather(first, second, slow)
    assert backend.begun == ["first", "second", "slow"]


async def until(holds: Callable[[], bool]) -> None:
    while not holds():
        await asyncio.sleep(0)
