"""Calls of deployments, and what becomes of them.

Small calls go by value over gRPC, which takes less than half of what Ray's object store does. Decoded media
go by reference: what a deployment returns stays in the object store, and a result that is handed to the next
call as a top-level argument never passes through the caller (`python -m benchmarks.transport`). The mode is
always said explicitly, because Serve's default depends on its environment.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Generator, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import is_dataclass, replace
from typing import Generic, TypeAlias, TypeVar, cast

import grpc  # type: ignore[import-untyped]
import numpy as np
import ray
import ray.exceptions
from ray.serve import exceptions as serve_exceptions
from ray.serve.handle import DeploymentHandle, DeploymentResponse, DeploymentResponseGenerator

from deployments.lanes import in_background
from deployments.loopback import reaches_replicas
from multimodal.errors import DeadlineExceeded, LostMedia, MultimodalError, Overloaded, StageUnavailable
from multimodal.types import Ready, RequestContext

T = TypeVar("T")

Handle: TypeAlias = "DeploymentHandle[object]"

RETRY_S = 5
"""What a client is told to wait for a full queue."""


BY_VALUE_BYTES = 1024 * 1024
"""Arguments that are larger go by reference, and so do large media. Handed on to one deployment, they are
faster in the object store from 1.8 MiB on, and take less of the processor from 3 MiB on
(`python -m benchmarks.transport`); a picture goes to two, by value as a copy each."""


class Pending(Generic[T]):
    """A result on its way. Awaiting it raises our errors; handed on by reference, it is not fetched."""

    def __init__(self, response: DeploymentResponse[T], stage: str, deadline_s: float) -> None:
        self.response = response
        self._stage = stage
        self._deadline_s = deadline_s

    def __await__(self) -> Generator[object, None, T]:
        return self._result().__await__()

    async def _result(self) -> T:
        try:
            async with asyncio.timeout(self._deadline_s - time.time()) as limit:
                return await self.response
        except asyncio.CancelledError:
            # Ray goes on with a call whose caller stops waiting, unless it is told.
            self.abandon()
            task = asyncio.current_task()
            if task is not None and task.cancelling() == 0:
                raise StageUnavailable.restarting(self._stage) from None  # it was cancelled at the other end
            raise
        except TimeoutError as error:
            if not limit.expired():
                raise translate(error, self._stage) from None
            self.abandon()
            raise DeadlineExceeded(
                f"{self._stage} did not finish in time. Send less, or try again later."
            ) from None
        except Exception as error:
            raise translate(error, self._stage) from None

    def abandon(self) -> None:
        """Nobody wants the result any more."""
        abandon(self.response)

    async def arrival(self, waiters: ThreadPoolExecutor) -> None:
        """Return when the result is there, or has failed. Not fetched: it may lie on another machine.

        Only of results by reference.
        """
        reference = await self.response._to_object_ref()
        timeout_s = max(0.0, self._deadline_s - time.time())
        await asyncio.get_running_loop().run_in_executor(
            waiters, lambda: ray.wait([reference], timeout=timeout_s, fetch_local=False)
        )


class Call(Generic[T]):
    """One method of one deployment. Of a `bulky` one the results are large, and go by reference."""

    def __init__(self, handle: Handle, method: str, timeout_s: float, *, bulky: bool = False) -> None:
        self._timeout_s = timeout_s
        self._by_reference = handle.options(method_name=method, _by_reference=True)
        self._by_value = None
        if not bulky and reaches_replicas():
            self._by_value = handle.options(method_name=method, _by_reference=False)
        self._stage = handle.deployment_name

    def __call__(self, ctx: RequestContext, *args: object, affinity: str = "") -> Pending[T]:
        """Call it; arguments that are on their way are handed over without waiting.

        Calls of the same affinity meet at one replica, where the deployment's router is AffinityRouter.
        Work in the background has until its own deadline: it gives way to live requests, for how long
        nobody knows.
        """
        deadline_s = ctx.deadline_s
        if not in_background(ctx):
            deadline_s = min(deadline_s, time.time() + self._timeout_s)
        try:
            handle = self._by_reference
            if self._by_value is not None and are_small(args):
                handle = self._by_value
            handle = handle.options(session_id=affinity) if affinity else handle
            response = handle.remote(replace(ctx, deadline_s=deadline_s), *map(passed_on, args))
        except Exception as error:
            raise translate(error, self._stage) from None
        return Pending(cast("DeploymentResponse[T]", response), self._stage, deadline_s)


def translate(error: BaseException, stage: str) -> BaseException:
    """Our error for what Ray raised; anything unknown stays as it is and becomes a 500 at the Gateway.

    Our own errors are copied: the original is chained to Ray's and that to it, a cycle that would keep the
    media of a failed request in the object store until the next garbage collection.
    """
    cause: BaseException = error
    while isinstance(cause, ray.exceptions.RayTaskError):
        cause = cause.cause
    if isinstance(cause, MultimodalError):
        return type(cause)(cause.message, param=cause.param, retry_after_s=cause.retry_after_s)
    if isinstance(cause, serve_exceptions.BackPressureError):
        return Overloaded(f"{stage} has too much to do. Try again in {RETRY_S} s.", retry_after_s=RETRY_S)
    if isinstance(cause, ray.exceptions.ObjectLostError) or isinstance(cause.__cause__, _DIED):
        # The second: Serve's word for an argument whose replica died while it was made.
        return LostMedia("Decoded media were lost. Try again.", retry_after_s=1)
    if isinstance(cause, (*_DIED, *_EXHAUSTED, serve_exceptions.DeploymentUnavailableError)):
        return StageUnavailable.restarting(stage)
    if isinstance(cause, grpc.aio.AioRpcError) and cause.code() in _BROKEN:
        return StageUnavailable.restarting(stage)
    return error


_DIED = (ray.exceptions.RayActorError, ray.exceptions.WorkerCrashedError, ray.exceptions.NodeDiedError)

_BROKEN = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
"""What a call by value says where its replica died."""

_EXHAUSTED = (
    ray.exceptions.OutOfMemoryError,
    ray.exceptions.ObjectStoreFullError,
    ray.exceptions.OutOfDiskError,
)


def abandon(response: DeploymentResponse[T] | DeploymentResponseGenerator[T]) -> None:
    """Cancel a call that may also have ended, or never have begun: then it raises why, which is known."""
    with contextlib.suppress(Exception):
        response.cancel()  # type: ignore[no-untyped-call]


def are_small(args: Sequence[object]) -> bool:
    """Whether they had better go by value."""
    left = BY_VALUE_BYTES
    for arg in args:
        if isinstance(arg, Pending) and arg.response.by_reference:
            return False
        left -= _bulk_bytes(arg.value if isinstance(arg, Ready) else arg, left)
        if left < 0:
            return False
    return True


def _bulk_bytes(value: object, enough: int) -> int:
    """Of the arrays, bytes and text in a message, as far as they are more than `enough`."""
    if isinstance(value, np.ndarray):
        return value.nbytes
    if isinstance(value, bytes | str):
        return len(value)
    parts: Iterable[object] = ()
    if isinstance(value, list | tuple):
        parts = value
    elif is_dataclass(value):
        parts = (getattr(value, name) for name in value.__dataclass_fields__)
    total = 0
    for part in parts:
        total += _bulk_bytes(part, enough - total)
        if total > enough:
            break
    return total


def passed_on(argument: object) -> object:
    """What is given to Serve in the place of an argument that is on its way, or there."""
    if isinstance(argument, Ready):
        return argument.value
    return argument.response if isinstance(argument, Pending) else argument
