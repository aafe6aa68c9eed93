"""Whether deployments have running replicas."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from typing import TypedDict, cast

from ray import serve
from ray.serve import exceptions as serve_exceptions
from ray.serve._private.router import AsyncioRouter
from ray.serve.context import _get_global_client

from deployments.batching import in_replica
from deployments.calls import Handle
from multimodal.types import StageState

logger = logging.getLogger(__name__)


def is_down(handle: Handle) -> bool:
    """Whether a deployment has no running replica, by what Serve's controller has last told this process of
    its own accord: asking it takes 50 ms. While it has told nothing, calls are tried."""
    router = getattr(handle._router, "_asyncio_router", None)  # in local testing mode there is none
    if not isinstance(router, AsyncioRouter) or not router.running_replicas_populated():
        return False
    return router.request_router is not None and not router.request_router.curr_replicas


def running_replicas(handle: Handle) -> frozenset[str]:
    """Unique ids of the replicas that run, as far as Serve's controller has told this process."""
    router = getattr(handle._router, "_asyncio_router", None)  # in local testing mode there is none
    if not isinstance(router, AsyncioRouter) or router.request_router is None:
        return frozenset()
    return frozenset(replica.unique_id for replica in router.request_router.curr_replicas)


class StateMonitor:
    """Whether deployments have running replicas, asked of Serve's controller once a second at most."""

    MAX_AGE_S = 1.0
    WAIT_S = 1.0
    """How long a caller waits for the controller, before the last answer has to do."""
    STALE_S = 15.0
    """An answer that is older says nothing any more."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names
        self._states: Mapping[str, StageState] = {}
        self._as_of_s = float("-inf")
        self._refresh: asyncio.Future[Mapping[str, StageState]] | None = None

    async def states(self) -> Mapping[str, StageState]:
        """State of every deployment by name; all unavailable when the controller has long been silent."""
        await self._update()
        if time.monotonic() - self._as_of_s > self.STALE_S:
            return dict.fromkeys(self._names, StageState.UNAVAILABLE)
        return self._states

    async def _update(self) -> None:
        """One question at a time, shared by all callers."""
        if time.monotonic() - self._as_of_s <= self.MAX_AGE_S:
            return
        if self._refresh is None:
            self._refresh = asyncio.ensure_future(asyncio.to_thread(self._ask))
            self._refresh.add_done_callback(self._store)
        await asyncio.wait([self._refresh], timeout=self.WAIT_S)

    def _store(self, refresh: asyncio.Future[Mapping[str, StageState]]) -> None:
        self._refresh = None
        if refresh.cancelled():
            return
        if (error := refresh.exception()) is not None:
            logger.warning("Serve's controller did not say how the deployments are: %s", type(error).__name__)
            return
        self._states, self._as_of_s = refresh.result(), time.monotonic()

    def _ask(self) -> Mapping[str, StageState]:
        if not in_replica():
            # Local testing mode: replicas are threads of this process.
            return dict.fromkeys(self._names, StageState.READY)
        client = _get_global_client()
        if client is None:
            raise serve_exceptions.RayServeException("There is no controller.")
        # As `serve.status()` does, which then builds the configuration of every deployment again from the
        # answer: 50 ms of this process.
        details = cast("_Details", client.get_serve_details())
        app_name = serve.get_replica_context().app_name
        deployments = details["applications"][app_name]["deployments"]
        return {name: _state(deployments[name]) for name in self._names}


class _Replica(TypedDict):
    state: str


class _Deployment(TypedDict):
    status: str
    replicas: list[_Replica]


class _Application(TypedDict):
    deployments: dict[str, _Deployment]


class _Details(TypedDict):
    """The part of Serve's `ServeInstanceDetails` that is looked at."""

    applications: dict[str, _Application]


def _state(deployment: _Deployment) -> StageState:
    if any(replica["state"] == "RUNNING" for replica in deployment["replicas"]):
        return StageState.READY
    if deployment["status"] in ("DEPLOY_FAILED", "UNHEALTHY"):
        return StageState.UNAVAILABLE
    return StageState.STARTING
