"""What callers of the graph see when Ray fails: our errors, calls that end, states that are told honestly."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Generator, Mapping
from types import SimpleNamespace
from typing import cast

import grpc  # type: ignore[import-untyped]
import pytest
import ray.exceptions
from ray.serve import exceptions as serve_exceptions
from ray.serve._private.request_router.request_router import RequestRouter
from ray.serve._private.router import AsyncioRouter
from ray.serve.handle import DeploymentResponse

from deployments.calls import Handle, Pending, translate
from deployments.states import StateMonitor, is_down
from multimodal.errors import DeadlineExceeded, InvalidMedia, LostMedia, Overloaded, StageUnavailable
from multimodal.types import StageState


class Response:
    """In the place of a DeploymentResponse."""

    def __init__(self, outcome: asyncio.Future[str], *, by_reference: bool = True) -> None:
        self._outcome = outcome
        self.by_reference = by_reference
        self.cancelled = 0

    def __await__(self) -> Generator[object, None, str]:
        return self._outcome.__await__()

    def cancel(self) -> None:
        self.cancelled += 1


def pending(seconds: float = 30.0) -> tuple[Pending[str], Response, asyncio.Future[str]]:
    outcome: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    response = Response(outcome)
    call = Pending(cast("DeploymentResponse[str]", response), "Reader", time.time() + seconds)
    return call, response, outcome


def raised_in(method: str, cause: Exception) -> Exception:
    """How an error of a replica reaches its caller."""
    wrapped = ray.exceptions.RayTaskError(method, "traceback", cause)  # type: ignore[no-untyped-call]
    return cast(Exception, wrapped)


def test_a_full_queue_says_when_to_come_back() -> None:
    error = translate(serve_exceptions.BackPressureError(256, 256), "Reader")
    assert isinstance(error, Overloaded)
    assert error.retry_after_s
    assert "Reader" in error.message


def test_a_dead_replica_is_a_stage_that_restarts() -> None:
    error = translate(ray.exceptions.RayActorError(), "Reader")
    assert type(error) is StageUnavailable
    assert error.retry_after_s


@pytest.mark.parametrize(
    ("code", "expected"),
    [(grpc.StatusCode.UNAVAILABLE, StageUnavailable), (grpc.StatusCode.INTERNAL, grpc.aio.AioRpcError)],
)
def test_a_call_by_value_whose_replica_is_gone_is_a_stage_that_restarts(
    code: grpc.StatusCode, expected: type[Exception]
) -> None:
    nothing = grpc.aio.Metadata()
    assert type(translate(grpc.aio.AioRpcError(code, nothing, nothing), "Reader")) is expected


def test_an_object_that_went_away_with_its_process_can_be_loaded_again() -> None:
    lost = ray.exceptions.ObjectLostError("00" * 28, None, "")
    assert isinstance(translate(lost, "Reader"), LostMedia)
    refused = serve_exceptions.RayServeException("no argument")
    refused.__cause__ = ray.exceptions.RayActorError()
    assert isinstance(translate(refused, "Reader"), LostMedia)


def test_our_own_error_comes_out_of_ray_whole_and_without_what_it_is_chained_to() -> None:
    ours = InvalidMedia("Damaged.", param="messages.0.content.1")
    ours.__cause__ = ValueError("deep inside")
    error = translate(raised_in("read", raised_in("load", ours)), "Reader")
    assert isinstance(error, InvalidMedia)
    assert (error.message, error.param) == ("Damaged.", "messages.0.content.1")
    assert error is not ours
    assert error.__cause__ is None


def test_what_nobody_expected_stays_what_it_is() -> None:
    error = KeyError("surprise")
    assert translate(error, "Reader") is error


async def test_a_call_past_its_deadline_is_cancelled() -> None:
    call, response, _ = pending(seconds=0.01)
    with pytest.raises(DeadlineExceeded, match="Reader"):
        await call
    assert response.cancelled


async def test_a_call_that_nobody_waits_for_any_more_is_cancelled() -> None:
    call, response, _ = pending()
    task = asyncio.ensure_future(call._result())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert response.cancelled


async def test_a_call_that_is_cancelled_at_the_other_end_does_not_cancel_its_caller() -> None:
    call, _, outcome = pending()
    outcome.cancel()
    with pytest.raises(StageUnavailable):
        await call


async def test_a_time_out_inside_a_replica_is_not_taken_for_ours() -> None:
    call, _, outcome = pending()
    outcome.set_exception(TimeoutError("theirs"))
    with pytest.raises(TimeoutError, match="theirs"):
        await call


class Monitor(StateMonitor):
    """Asks the test in the place of Serve's controller."""

    MAX_AGE_S = 0.0
    WAIT_S = 0.05

    def __init__(self) -> None:
        super().__init__(["Generator"])
        self.answer: StageState | None = StageState.READY

    def _ask(self) -> Mapping[str, StageState]:
        if self.answer is None:
            raise ray.exceptions.RayActorError()
        return {"Generator": self.answer}


async def test_states_are_what_the_controller_says() -> None:
    monitor = Monitor()
    monitor.answer = StageState.STARTING
    assert await monitor.states() == {"Generator": StageState.STARTING}


async def test_nothing_is_available_while_the_controller_is_silent() -> None:
    monitor = Monitor()
    monitor.answer = None
    assert await monitor.states() == {"Generator": StageState.UNAVAILABLE}


def routed(replicas: Mapping[str, object] | None) -> Handle:
    """A handle whose router knows of these; None: it was told nothing yet."""
    router = AsyncioRouter.__new__(AsyncioRouter)
    router._running_replicas_populated = replicas is not None
    router._request_router = cast(RequestRouter, SimpleNamespace(curr_replicas=replicas or {}))
    return cast(Handle, SimpleNamespace(_router=SimpleNamespace(_asyncio_router=router)))


def test_a_stage_without_replicas_is_down() -> None:
    assert is_down(routed({}))
    assert not is_down(routed({"one": object()}))


def test_calls_are_tried_while_nothing_is_known() -> None:
    assert not is_down(routed(None))
    assert not is_down(cast(Handle, SimpleNamespace(_router=None)))


async def test_the_last_answer_of_the_controller_holds_for_a_while() -> None:
    monitor = Monitor()
    await monitor.states()
    monitor.answer = None
    assert await monitor.states() == {"Generator": StageState.READY}
