"""Steps of answers arrive in order and once, through the channel or without it, and nothing waits forever."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import fields
from types import SimpleNamespace
from typing import cast

import pytest
from ray.serve._private.common import DeploymentID, ReplicaID
from ray.serve._private.request_router.request_router import RequestRouter
from ray.serve._private.router import AsyncioRouter

from deployments import token_channel
from deployments.affinity import of_replica
from deployments.calls import Handle
from deployments.token_channel import (
    Address,
    Batch,
    Channels,
    Inbox,
    Outboxes,
    OutOfTime,
    Sent,
    packed,
    unpacked,
)
from multimodal.errors import StageUnavailable
from multimodal.types import Delta, GenerationStep, Shortened, Usage


def step(text: str) -> GenerationStep:
    return GenerationStep(deltas=(Delta(index=0, text=text, tokens=1),))


def text_of(one: GenerationStep) -> str:
    return "".join(delta.text for delta in one.deltas)


async def engine(texts: str, error: Exception | None = None) -> AsyncGenerator[GenerationStep, None]:
    for text in texts:
        await asyncio.sleep(0)
        yield step(text)
    if error:
        raise error


class World:
    """Generators and the Gateway's handle of them, without Ray."""

    def __init__(self, *replicas: str) -> None:
        self.outboxes = {name: Outboxes() for name in replicas}
        self.channels_opened: list[str] = []
        self.cancelled: list[str] = []
        router = AsyncioRouter.__new__(AsyncioRouter)
        router._running_replicas_populated = True
        deployment = DeploymentID("Generator", "multimodal")
        self.running = {ReplicaID(name, deployment): object() for name in replicas}
        router._request_router = cast(RequestRouter, SimpleNamespace(curr_replicas=self.running))
        self.handle = SimpleNamespace(_router=SimpleNamespace(_asyncio_router=router), options=self._options)
        self.channels = Channels(cast(Handle, self.handle), by_reference=False)

    def _options(self, **options: object) -> object:
        return SimpleNamespace(
            options=lambda session_id: SimpleNamespace(remote=lambda *args: self._open(session_id, *args))
        )

    def _open(self, session_id: str, replica: str, gateway: str) -> object:
        assert session_id == of_replica(replica)
        self.channels_opened.append(replica)
        return Call(self.outboxes[replica].channel(gateway), lambda: self.cancelled.append(replica))

    def gone(self, replica: str) -> None:
        for name in [name for name in self.running if name.unique_id == replica]:
            del self.running[name]

    async def answer(
        self, replica: str, texts: str, error: Exception | None = None, until_s: float = 10
    ) -> AsyncIterator[str]:
        """As Graph.generate does."""
        with self.channels.inbox() as inbox:
            async with aclosing(self.outboxes[replica].deliver(inbox.address, engine(texts, error))) as call:
                first = await anext(call)
                assert isinstance(first, GenerationStep)
                yield text_of(first)
                async with aclosing(inbox.steps(call, time.time() + until_s)) as steps:
                    async for one in steps:
                        yield text_of(one)


class Call:
    """In the place of a DeploymentResponseGenerator."""

    def __init__(self, batches: AsyncGenerator[Batch, None], on_cancel: Callable[[], object]) -> None:
        self._batches, self._on_cancel = batches, on_cancel

    def __aiter__(self) -> AsyncIterator[Batch]:
        return self._batches

    def cancel(self) -> None:
        self._on_cancel()


async def whole(answer: AsyncIterator[str]) -> str:
    return "".join([text async for text in answer])


@pytest.fixture
def world() -> Iterator[World]:
    with _world("one", "two") as made:
        yield made


@contextmanager
def _world(*replicas: str) -> Iterator[World]:
    made = World(*replicas)
    yield made
    for task in made.channels._open.values():
        task.cancel()


async def test_the_first_answer_does_not_wait_for_the_channel(world: World) -> None:
    assert await whole(world.answer("one", "abc")) == "abc"
    await asyncio.sleep(0)
    assert sorted(world.channels_opened) == ["one", "two"]


async def test_answers_go_through_the_channel_whole_and_in_order(world: World) -> None:
    await whole(world.answer("one", "x"))
    await asyncio.sleep(0.01)
    texts = ["".join(chr(97 + (number + place) % 26) for place in range(50)) for number in range(20)]
    replicas = ["one", "two"] * 10
    answers = [whole(world.answer(where, text)) for where, text in zip(replicas, texts, strict=True)]
    assert await asyncio.gather(*answers) == texts
    assert sorted(world.channels_opened) == ["one", "two"]


async def test_what_one_turn_produces_travels_together() -> None:
    outboxes = Outboxes()
    batches = outboxes.channel("gateway")
    taking = asyncio.ensure_future(anext(batches))
    await asyncio.sleep(0)
    calls = [outboxes.deliver(Address("gateway", number), engine("ab")) for number in range(3)]
    for call in calls:
        await anext(call)
    ends = await asyncio.gather(*(anext(call) for call in calls))
    assert [number for number, _ in await taking] == [0, 1, 2]
    assert ends == [Sent(1)] * 3
    await batches.aclose()


@pytest.mark.parametrize(
    "sent",
    [
        GenerationStep(),
        step("one"),
        GenerationStep(deltas=(Delta(index=1, text="", tokens=0, finish_reason="stop"), *step("two").deltas)),
        GenerationStep(shortened=(Shortened(param="messages.0", kept_tokens=1, dropped_tokens=2),)),
        GenerationStep(usage=Usage(prompt_tokens=1, completion_tokens=2, cached_tokens=0)),
    ],
)
def test_a_step_is_the_same_at_the_other_end(sent: GenerationStep) -> None:
    assert unpacked(packed(sent)) == sent


def test_packing_knows_all_that_a_step_may_have() -> None:
    assert {field.name for field in fields(GenerationStep)} == {"deltas", "usage", "shortened"}
    assert [field.name for field in fields(Delta)] == ["index", "text", "tokens", "finish_reason"]


async def test_an_error_of_the_engine_comes_after_its_steps(world: World) -> None:
    await whole(world.answer("one", "x"))
    await asyncio.sleep(0.01)
    answer = world.answer("one", "abc", StageUnavailable("broken"))
    assert await anext(answer) == "a"
    with pytest.raises(StageUnavailable, match="broken"):
        await whole(answer)


async def test_an_answer_that_nobody_reads_any_more_leaves_nothing(world: World) -> None:
    await whole(world.answer("one", "x"))
    await asyncio.sleep(0.01)
    answer = world.answer("one", "abc" * 100)
    await anext(answer)
    await cast("AsyncGenerator[str, None]", answer).aclose()
    await asyncio.sleep(0.01)
    assert world.channels._inboxes == {}


async def test_a_channel_that_breaks_costs_no_answer(world: World) -> None:
    await whole(world.answer("one", "x"))
    await asyncio.sleep(0.01)
    for task in world.channels._open.values():
        task.cancel()
    await asyncio.sleep(0.01)
    assert await whole(world.answer("one", "abc")) == "abc"
    assert world.cancelled


async def test_a_channel_that_has_long_been_idle_is_opened_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(token_channel, "IDLE_S", 0.02)
    await whole(world.answer("one", "x"))
    await asyncio.sleep(0.1)
    assert world.channels._open == {}
    assert await whole(world.answer("one", "abc")) == "abc"
    assert world.channels_opened.count("one") == 2


async def test_steps_that_a_closed_channel_has_not_delivered_are_said_to_be_lost_at_once() -> None:
    outboxes = Outboxes()
    batches = outboxes.channel("gateway")
    taking = asyncio.ensure_future(anext(batches))
    await asyncio.sleep(0)
    call = outboxes.deliver(Address("gateway", 0), _with_a_break(outboxes, batches, taking))
    await anext(call)
    with pytest.raises(StageUnavailable, match="lost"):
        await anext(call)


async def _with_a_break(
    outboxes: Outboxes, batches: AsyncGenerator[Batch, None], taking: asyncio.Future[Batch]
) -> AsyncGenerator[GenerationStep, None]:
    """The channel closes between two steps, with one that nobody has taken."""
    yield step("a")
    yield step("b")
    taking.cancel()
    await asyncio.wait([taking])
    await batches.aclose()
    yield step("c")


async def test_a_call_that_is_cancelled_at_the_other_end_is_an_error() -> None:
    async def call() -> AsyncGenerator[GenerationStep | Sent, None]:
        yield step("a")
        raise asyncio.CancelledError

    with pytest.raises(StageUnavailable, match="lost"):
        async for _ in Inbox(Address("gateway", 0)).steps(call(), time.time() + 10):
            pass


async def test_lost_steps_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_channel, "LATE_S", 0.05)

    async def call() -> AsyncGenerator[GenerationStep | Sent, None]:
        yield Sent(3)

    inbox = Inbox(Address("gateway", 0))
    inbox.put(step("a"))
    with pytest.raises(StageUnavailable, match="lost"):
        async for _ in inbox.steps(call(), time.time() + 10):
            pass


async def test_a_call_that_ends_without_saying_so_is_an_error() -> None:
    async def call() -> AsyncGenerator[GenerationStep | Sent, None]:
        yield step("a")

    with pytest.raises(StageUnavailable, match="lost"):
        async for _ in Inbox(Address("gateway", 0)).steps(call(), time.time() + 10):
            pass


async def test_an_answer_ends_at_its_deadline() -> None:
    async def call() -> AsyncGenerator[GenerationStep | Sent, None]:
        await asyncio.sleep(10)
        yield step("a")

    with pytest.raises(OutOfTime):
        async for _ in Inbox(Address("gateway", 0)).steps(call(), time.time() + 0.05):
            pass


async def test_the_channel_of_a_generator_that_stops_is_closed_when_its_answers_are_out(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(token_channel, "LOOK_AGAIN_S", 0.01)
    await whole(world.answer("one", "x"))
    await asyncio.sleep(0.01)
    answer = world.answer("one", "abc" * 20)
    started = [await anext(answer) for _ in range(3)]
    world.gone("one")
    await asyncio.sleep(0.05)
    assert world.cancelled == []
    assert "".join(started) + await whole(answer) == "abc" * 20
    await asyncio.sleep(0.05)
    assert world.cancelled == ["one"]


async def test_without_replicas_to_name_everything_comes_with_the_call() -> None:
    with _world("one") as world:
        world.gone("one")
        assert await whole(world.answer("one", "abc")) == "abc"
        assert world.channels_opened == []
