"""Tokens on their way from a Generator to a Gateway: one message for each engine step, not for each answer.

A stream of Serve's costs a message, and two tasks that wake, for each token. So each Gateway keeps one call
of each Generator open, the channel, and what an engine step has produced for all answers of that Gateway
comes through it together. The call of an answer itself yields its first step, raises its errors, and says at
the end how many steps have gone through the channel. Where there is no channel (yet), it yields all of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextvars import Context
from dataclasses import dataclass
from typing import TypeAlias, cast

from ray.serve.handle import DeploymentResponseGenerator

from deployments.affinity import of_replica
from deployments.calls import Handle, abandon
from deployments.states import running_replicas
from multimodal.errors import StageUnavailable
from multimodal.types import Delta, GenerationStep

logger = logging.getLogger(__name__)

LOOK_AGAIN_S = 1.0
"""How often an open channel looks whether its Generator is about to stop."""

REOPEN_S = 30.0
"""How soon a channel that ended is opened again."""

IDLE_S = 600.0
"""A channel that has had nothing to deliver for so long is closed; the next answer opens another."""

LATE_S = 5.0
"""How long after the end of an answer steps in the channel are waited for."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where the steps of one answer go: through the channel of which Gateway, and under which number."""

    gateway: str
    answer: int


@dataclass(frozen=True, slots=True)
class Sent:
    """The end of an answer of which so many steps have gone through the channel."""

    steps: int


class OutOfTime(Exception):
    """An answer was not finished in time, and its engine has not said so."""


Packed: TypeAlias = "GenerationStep | tuple[tuple[int, str, int, str | None], ...]"
"""A step on its way; of one that has nothing but deltas, their fields. As frozen dataclasses they would take
over ten times as long to pickle, in Generator, and to read, in Gateway."""

Batch: TypeAlias = "tuple[tuple[int, Packed], ...]"
"""Steps of many answers, each with the number of its answer, in order."""


def packed(step: GenerationStep) -> Packed:
    """For the way."""
    if step.usage is not None or step.shortened:
        return step
    return tuple((one.index, one.text, one.tokens, one.finish_reason) for one in step.deltas)


def unpacked(given: Packed) -> GenerationStep:
    """At the other end."""
    if isinstance(given, GenerationStep):
        return given
    return GenerationStep(
        deltas=tuple(
            Delta(index=index, text=text, tokens=tokens, finish_reason=reason)
            for index, text, tokens, reason in given
        )
    )


# --- in Generator ------------------------------------------------------------------------------


class Outboxes:
    """Of one Generator: what is to go through its channels."""

    def __init__(self) -> None:
        self._open: dict[str, _Outbox] = {}

    async def channel(self, gateway: str) -> AsyncGenerator[Batch, None]:
        """Everything for one Gateway, until it closes the channel. Of several the last one counts."""
        outbox = self._open[gateway] = _Outbox()
        try:
            while batch := await outbox.take():
                yield batch
        finally:
            outbox.close()
            if self._open.get(gateway) is outbox:
                del self._open[gateway]

    async def deliver(
        self, address: Address, steps: AsyncIterator[GenerationStep]
    ) -> AsyncGenerator[GenerationStep | Sent, None]:
        """What the call of an answer yields."""
        outbox = self._open.get(address.gateway)
        sent, first = 0, True
        async for step in steps:
            if sent and outbox is not None and outbox.lost:
                raise _lost()
            if first or outbox is None or outbox.closed:
                yield step
            else:
                outbox.put(address.answer, step)
                sent += 1
            first = False
        yield Sent(sent)


class _Outbox:
    def __init__(self) -> None:
        self.closed = False
        self.lost = False
        """It was closed while it had something to deliver."""
        self._steps: list[tuple[int, Packed]] = []
        self._filled = asyncio.Event()

    def put(self, answer: int, step: GenerationStep) -> None:
        self._steps.append((answer, packed(step)))
        self._filled.set()

    def close(self) -> None:
        self.closed, self.lost = True, bool(self._steps)

    async def take(self) -> Batch:
        """All there is, once there is something: what one engine step has produced is put in one turn of the
        event loop, before this goes on. Nothing where there is nothing for IDLE_S: a Gateway that has died
        leaves its channel open, if that goes by reference."""
        if not self._filled.is_set():
            # Not `wait_for`: of steps and a cancellation at the same time it drops the cancellation.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(IDLE_S):
                    await self._filled.wait()
        self._filled.clear()
        steps, self._steps = tuple(self._steps), []
        return steps


# --- in Gateway --------------------------------------------------------------------------------


class Channels:
    """Of one Gateway: one to each running Generator."""

    def __init__(self, generator: Handle, *, by_reference: bool) -> None:
        self._gateway = uuid.uuid4().hex
        self._generator = generator
        # Plain pickle does what cloudpickle does for messages, in half the time.
        self._handle = generator.options(
            method_name="tokens",
            stream=True,
            _by_reference=by_reference,
            request_serialization="pickle",
            response_serialization="pickle",
        )
        self._open: dict[str, asyncio.Task[None]] = {}
        self._inboxes: dict[int, Inbox] = {}
        self._numbers = itertools.count()

    @contextlib.contextmanager
    def inbox(self) -> Iterator[Inbox]:
        """For a new answer. Opens the channels that are missing; this answer may be too early for them."""
        for replica in running_replicas(self._generator) - self._open.keys():
            # Ray Serve keeps in the context which request a call is made for, and cancels the calls with it.
            listening = asyncio.get_running_loop().create_task(self._listen(replica), context=Context())
            self._open[replica] = listening
        inbox = Inbox(Address(self._gateway, next(self._numbers)))
        self._inboxes[inbox.address.answer] = inbox
        try:
            yield inbox
        finally:
            del self._inboxes[inbox.address.answer]

    async def _listen(self, replica: str) -> None:
        watching = asyncio.ensure_future(self._watch(replica))
        batches = cast(
            "DeploymentResponseGenerator[Batch]",
            self._handle.options(session_id=of_replica(replica)).remote(replica, self._gateway),
        )
        reopen_s = REOPEN_S
        try:
            async for batch in batches:
                for answer, step in batch:
                    if (inbox := self._inboxes.get(answer)) is not None:
                        inbox.replica = replica
                        inbox.put(unpacked(step))
            reopen_s = 0.0
        except Exception as error:
            # Its answers go on without it, or fail with their Generator.
            logger.warning("the channel of %s ended: %s", replica, type(error).__name__)
        finally:
            watching.cancel()
            abandon(batches)
            asyncio.get_running_loop().call_later(reopen_s, self._open.pop, replica, None)

    async def _watch(self, replica: str) -> None:
        """A Generator that is to stop waits until nothing asks it any more, the channel included."""
        while replica in running_replicas(self._generator) or self._is_used(replica):
            await asyncio.sleep(LOOK_AGAIN_S)
        self._open[replica].cancel()

    def _is_used(self, replica: str) -> bool:
        return any(inbox.replica in ("", replica) for inbox in self._inboxes.values())


class Inbox:
    """The steps of one answer, from wherever they come."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self.replica = ""
        """Whose channel has brought any."""
        self._items: asyncio.Queue[tuple[GenerationStep | Sent | BaseException, bool]] = asyncio.Queue()

    def put(self, step: GenerationStep) -> None:
        """One that came through a channel."""
        self._items.put_nowait((step, True))

    async def steps(
        self, call: AsyncIterator[GenerationStep | Sent], until_s: float
    ) -> AsyncGenerator[GenerationStep, None]:
        """What the call of the answer yields, and what comes through the channel.

        Raises what the call raises, OutOfTime at `until_s` (UNIX time), and StageUnavailable where steps
        are lost.
        """
        loop = asyncio.get_running_loop()
        timers = [loop.call_later(until_s - time.time(), self._end, OutOfTime())]
        reading = asyncio.ensure_future(self._read(call))
        received, sent = 0, -1
        try:
            while received != sent:
                item, through_channel = await self._items.get()
                if isinstance(item, Sent):
                    sent = item.steps
                    timers.append(loop.call_later(LATE_S, self._end, _lost()))
                elif isinstance(item, BaseException):
                    raise item
                else:
                    received += through_channel
                    yield item
        finally:
            reading.cancel()
            for timer in timers:
                timer.cancel()

    async def _read(self, call: AsyncIterator[GenerationStep | Sent]) -> None:
        try:
            async for item in call:
                self._items.put_nowait((item, False))
                if isinstance(item, Sent):
                    return
            self._end(_lost())
        except asyncio.CancelledError:
            self._end(_lost())  # it was cancelled at the other end, or nobody reads this any more
            raise
        except Exception as error:
            self._end(error)

    def _end(self, error: BaseException) -> None:
        self._items.put_nowait((error, False))


def _lost() -> StageUnavailable:
    return StageUnavailable("A part of the answer was lost. Try again.", retry_after_s=1)
