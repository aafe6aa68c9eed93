"""Work in flight is done once, and ends with the last who waits for it."""

from __future__ import annotations

import asyncio
import gc
import time
import weakref
from collections import Counter
from contextvars import ContextVar
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multimodal.cache.flights import MOST_FAILURES, Flights
from multimodal.errors import (
    DeadlineExceeded,
    FileUnknown,
    InvalidMedia,
    MediaTooLarge,
    MultimodalError,
    StageUnavailable,
    UnsupportedMedia,
)
from multimodal.identity import Feature, FeatureKey
from multimodal.library.background import PRIORITY
from multimodal.types import MediaKind, RequestContext

LIVE, BACKGROUND = 0, PRIORITY


def key(name: str = "a") -> FeatureKey:
    return FeatureKey(feature=Feature.IMAGE, modality=MediaKind.IMAGE, digest=name, affinity=name)


def context(priority: int = LIVE, seconds: float = 60.0) -> RequestContext:
    return RequestContext(request_id="r", tenant="t", deadline_s=time.time() + seconds, priority=priority)


async def settle() -> None:
    """Let everything run that can."""
    for _ in range(20):
        await asyncio.sleep(0)


@dataclass(eq=False)
class Work:
    """Ends when and how it is told to."""

    priority: int = LIVE
    holds_on: bool = False
    """Whether it takes time to be cancelled."""
    name: str = "a"
    runs: int = 0
    running: int = 0
    cancelled: int = 0
    end: asyncio.Future[str] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    let_go: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self) -> str:
        self.runs += 1
        self.running += 1
        try:
            return await asyncio.shield(self.end)
        except asyncio.CancelledError:
            self.cancelled += 1
            if self.holds_on:
                await self.let_go.wait()
            raise
        finally:
            self.running -= 1


class Joined:
    """A caller with work of its own."""

    def __init__(
        self, flights: Flights, work: Work | None = None, *, priority: int = LIVE, seconds: float = 60.0
    ) -> None:
        self.work = work or Work(priority)
        self.task = asyncio.create_task(
            flights.join(context(priority, seconds), key(self.work.name), self.work)
        )

    @property
    def leads(self) -> bool:
        return self.work.running > 0

    def error(self) -> BaseException:
        error = self.task.exception()
        assert error is not None
        return error


async def join(flights: Flights, count: int, *, priority: int = LIVE, seconds: float = 60.0) -> list[Joined]:
    found = [Joined(flights, priority=priority, seconds=seconds) for _ in range(count)]
    await settle()
    return found


def leader(callers: list[Joined]) -> Joined:
    (found,) = [one for one in callers if one.leads]
    return found


async def test_all_who_join_get_the_result_of_one() -> None:
    flights = Flights()
    callers = await join(flights, 64)
    assert len(flights) == 1
    leader(callers).work.end.set_result("seen")
    assert await asyncio.gather(*(one.task for one in callers)) == ["seen"] * 64
    assert sum(one.work.runs for one in callers) == 1
    assert len(flights) == 0


async def test_other_keys_do_not_wait() -> None:
    flights = Flights()
    one, other = Joined(flights, Work(name="a")), Joined(flights, Work(name="b"))
    await settle()
    other.work.end.set_result("b")
    assert await other.task == "b"
    assert not one.task.done()
    one.work.end.set_result("a")
    assert await one.task == "a"


async def test_what_has_ended_is_not_remembered() -> None:
    flights = Flights()
    for said in ("first", "second"):
        (one,) = await join(flights, 1)
        one.work.end.set_result(said)
        assert await one.task == said


async def test_followers_get_the_result_although_the_leader_has_gone() -> None:
    flights = Flights()
    first, *others = await join(flights, 3)
    first.task.cancel()
    await settle()
    assert first.task.cancelled()
    first.work.end.set_result("seen")
    assert await asyncio.gather(*(one.task for one in others)) == ["seen"] * 2
    assert first.work.cancelled == 0
    assert [one.work.runs for one in others] == [0, 0]


async def test_the_work_does_not_run_in_the_context_of_the_request_that_leads() -> None:
    request: ContextVar[str] = ContextVar("request", default="none")
    request.set("of the leader")

    async def work() -> str:
        return request.get()

    assert await Flights().join(context(), key(), work) == "none"


async def test_work_ends_with_the_last_who_waits() -> None:
    flights = Flights()
    callers = await join(flights, 3)
    work = leader(callers).work
    for one in callers:
        assert work.running == 1
        one.task.cancel()
        await settle()
    assert (work.running, work.cancelled, len(flights)) == (0, 1, 0)


async def test_who_comes_while_abandoned_work_ends_has_it_done_anew() -> None:
    flights = Flights()
    gone = Joined(flights, Work(holds_on=True))
    await settle()
    gone.task.cancel()
    await settle()
    late = await join(flights, 2)
    assert [one.work.runs for one in late] == [0, 0]
    gone.work.let_go.set()
    await settle()
    leader(late).work.end.set_result("seen")
    assert await asyncio.gather(*(one.task for one in late)) == ["seen"] * 2
    assert sum(one.work.runs for one in late) == 1
    assert len(flights) == 0


@pytest.mark.parametrize(
    "error",
    [
        StageUnavailable.restarting("ImageEncoder"),
        DeadlineExceeded("Too late."),
        MediaTooLarge("For an upload it is not."),
        FileUnknown.of("file-1"),
        RuntimeError("anything"),
    ],
)
async def test_what_may_be_the_leader_s_own_failure_is_not_that_of_others(error: Exception) -> None:
    flights = Flights()
    callers = await join(flights, 3)
    failed = leader(callers)
    failed.work.end.set_exception(error)
    await settle()
    assert failed.error() is error
    callers.remove(failed)
    leader(callers).work.end.set_result("seen")
    assert await asyncio.gather(*(one.task for one in callers)) == ["seen"] * 2
    assert len(flights) == 0


async def test_after_some_failures_nobody_tries_again() -> None:
    flights = Flights()
    callers = await join(flights, 20)
    for _ in range(MOST_FAILURES):
        failed = leader(callers)
        failed.work.end.set_exception(StageUnavailable.restarting("Reader"))
        await settle()
    errors = [one.error() for one in callers]
    assert {str(error) for error in errors} == {str(StageUnavailable.restarting("Reader"))}
    assert {error.retry_after_s for error in errors if isinstance(error, MultimodalError)} == {30}
    assert sum(one.work.runs for one in callers) == MOST_FAILURES
    assert len(flights) == 0


async def test_abandoned_work_is_no_failure() -> None:
    flights = Flights()
    gone = Joined(flights, Work(holds_on=True))
    await settle()
    gone.task.cancel()
    await settle()
    late = await join(flights, MOST_FAILURES + 1)
    gone.work.let_go.set()
    await settle()
    for _ in range(MOST_FAILURES - 1):
        leader(late).work.end.set_exception(StageUnavailable.restarting("Reader"))
        await settle()
    leader(late).work.end.set_result("seen")
    await settle()
    assert [one.task.result() for one in late if one.task.exception() is None] == ["seen"] * 2


async def test_who_comes_as_work_fails_has_it_done_anew() -> None:
    flights = Flights()
    end: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def fail() -> str:
        return await end

    async def succeed() -> str:
        return "seen"

    first = asyncio.create_task(flights.join(context(), key(), fail))
    await settle()
    end.set_exception(StageUnavailable.restarting("Reader"))
    late = asyncio.create_task(flights.join(context(), key(), succeed))
    assert await late == "seen"
    with pytest.raises(StageUnavailable):
        await first


@pytest.mark.parametrize("kind", [InvalidMedia, UnsupportedMedia])
async def test_what_is_wrong_with_the_medium_is_the_answer_for_all(kind: type[MultimodalError]) -> None:
    flights = Flights()
    callers = await join(flights, 8)
    failed = leader(callers)
    failed.work.end.set_exception(kind("It is damaged.", param="messages[0].content[1]"))
    await settle()
    errors = [one.error() for one in callers]
    assert len({id(error) for error in errors}) == 8
    assert [type(error) for error in errors] == [kind] * 8
    named = [error.param for error in errors if isinstance(error, MultimodalError)]
    assert Counter(named) == {None: 7, "messages[0].content[1]": 1}
    assert sum(one.work.runs for one in callers) == 1
    assert len(flights) == 0


async def test_a_follower_waits_until_its_own_deadline() -> None:
    flights = Flights()
    (patient,) = await join(flights, 1)
    (hurried,) = await join(flights, 1, seconds=0.05)
    with pytest.raises(DeadlineExceeded):
        await hurried.task
    assert hurried.work.runs == 0
    patient.work.end.set_result("seen")
    assert await patient.task == "seen"


async def test_live_requests_do_not_wait_for_work_in_the_background() -> None:
    flights = Flights()
    (slow,) = await join(flights, 1, priority=BACKGROUND)
    (live,) = await join(flights, 1)
    assert live.leads
    live.work.end.set_result("seen")
    assert await live.task == "seen"
    assert not slow.task.done()
    slow.work.end.set_result("late")
    assert await slow.task == "late"


async def test_work_in_the_background_is_shared() -> None:
    flights = Flights()
    callers = await join(flights, 2, priority=BACKGROUND)
    leader(callers).work.end.set_result("seen")
    assert await asyncio.gather(*(one.task for one in callers)) == ["seen"] * 2


async def test_requests_in_the_background_wait_for_live_ones() -> None:
    flights = Flights()
    (live,) = await join(flights, 1)
    (slow,) = await join(flights, 1, priority=BACKGROUND)
    live.work.end.set_result("seen")
    assert await slow.task == "seen"
    assert slow.work.runs == 0


async def test_a_failure_keeps_nothing_in_memory() -> None:
    class Media:
        pass

    media = Media()
    gone = weakref.ref(media)

    async def work(media: Media) -> str:
        raise StageUnavailable.restarting("Reader")

    async def ask(media: Media) -> None:
        with pytest.raises(StageUnavailable) as caught:
            await Flights().join(context(), key(), lambda: work(media))
        del caught

    gc.disable()
    try:
        await ask(media)
        del media
        await settle()
        assert gone() is None
    finally:
        gc.enable()


ERRORS = st.sampled_from([StageUnavailable("s"), DeadlineExceeded("d"), InvalidMedia("i"), RuntimeError("r")])
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["join", "join", "join", "cancel", "succeed", "fail", "let go", "run"]),
        st.integers(0, 63),
        ERRORS,
    ),
    max_size=60,
)


@given(STEPS)
def test_whatever_happens(steps: list[tuple[str, int, Exception]]) -> None:
    """Nobody waits for nothing, nothing runs for nobody, and nothing runs twice at a time."""
    asyncio.run(_play(steps))


async def _play(steps: list[tuple[str, int, Exception]]) -> None:
    flights = Flights()
    callers: list[Joined] = []
    for step, number, error in steps:
        at = number % max(1, len(callers))
        if step == "join":
            priority = (LIVE, BACKGROUND)[number & 1]
            work = Work(priority, holds_on=bool(number & 2), name="ab"[number >> 2 & 1])
            callers.append(Joined(flights, work, priority=priority))
        elif step == "run":
            for _ in range(number % 4):
                await asyncio.sleep(0)
        elif callers:
            _do(step, callers[at], error)
        _check(callers)
    await _finish(callers)
    assert len(flights) == 0


def _do(step: str, caller: Joined, error: Exception) -> None:
    work = caller.work
    if step == "cancel":
        caller.task.cancel()
    elif step == "let go":
        work.let_go.set()
    elif not work.end.done() and work.runs:
        if step == "succeed":
            work.end.set_result(f"{work.name}{work.priority}")
        else:
            work.end.set_exception(error)


def _check(callers: list[Joined]) -> None:
    running = Counter((one.work.name, one.work.priority) for one in callers if one.work.running)
    assert all(count == 1 for count in running.values())
    assert all(one.work.runs <= 1 for one in callers)


async def _finish(callers: list[Joined]) -> None:
    while not all(one.task.done() and not one.work.running for one in callers):
        await settle()
        waited_for = {one.work.name for one in callers if not one.task.done()}
        for one in callers:
            assert one.work.cancelled or not one.work.running or one.work.name in waited_for
            one.work.let_go.set()
            if one.work.running and not one.work.end.done():
                one.work.end.set_result(f"{one.work.name}{one.work.priority}")
    for one in callers:
        if not one.task.cancelled() and one.task.exception() is None:
            live, background = (f"{one.work.name}{priority}" for priority in (LIVE, BACKGROUND))
            assert one.task.result() in ([live] if one.work.priority == LIVE else [live, background])
        if one.work.end.done() and not one.work.end.cancelled():
            one.work.end.exception()
