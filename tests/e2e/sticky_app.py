"""A graph in which one sees where calls meet: Front calls three replicas of Worker about keys.

Without `from __future__ import annotations`: FastAPI reads the annotations of a class that Serve has wrapped.
"""

import asyncio
import os
import time
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Literal, cast
from uuid import uuid4

from fastapi import FastAPI
from pydantic import BaseModel
from ray import serve
from ray.serve import Deployment
from ray.serve.handle import DeploymentHandle, DeploymentResponse, DeploymentResponseGenerator

from multimodal.cache.flights import Flights
from multimodal.identity import Feature, FeatureKey
from multimodal.types import MediaKind, RequestContext
from tests.e2e.obedient import Gate

PATIENCE_S = 30.0

http = FastAPI()


class Ask(BaseModel):
    """One call for each key, all at the same time."""

    keys: list[str]
    gate: Path
    how: Literal["value", "reference", "stream"] = "value"


class Seen(BaseModel):
    """Who answered a call."""

    replica: str
    run: str
    """The same for calls that shared their work."""


def context() -> RequestContext:
    """Of any request."""
    return RequestContext(request_id="r", tenant="t", deadline_s=time.time() + PATIENCE_S)


def feature(key: str) -> FeatureKey:
    """Of any medium."""
    return FeatureKey(feature=Feature.IMAGE, modality=MediaKind.IMAGE, digest=key, affinity=key)


class Worker:
    """Shares its work."""

    def __init__(self) -> None:
        self._flights = Flights()

    async def work(self, key: str, gate: Path) -> Seen:
        """Is done once the gate is open."""

        async def run() -> Seen:
            while key and not Gate(gate).is_open:
                await asyncio.sleep(0.02)
            return Seen(replica=serve.get_replica_context().replica_id.unique_id, run=uuid4().hex)

        Gate(gate).queue()
        return await self._flights.join(context(), feature(key), run)

    async def stream(self, key: str, gate: Path) -> AsyncGenerator[Seen, None]:
        """The same, said twice."""
        yield await self.work(key, gate)
        yield await self.work(key, gate)

    def die(self) -> None:
        """At once."""
        os._exit(1)


@serve.ingress(http)
class Front:
    """Says whom it met."""

    def __init__(self, worker: DeploymentHandle[Worker]) -> None:
        self._worker = worker
        self._flights = Flights()

    @http.get("/readyz")
    def ready(self) -> str:
        """As soon as it is there."""
        return "ready"

    @http.post("/ask")
    async def ask(self, ask: Ask) -> list[Seen]:
        """All answers, in order."""
        return list(await asyncio.gather(*(self._call(key, ask) for key in ask.keys)))

    @http.post("/share")
    async def share(self, ask: Ask) -> Seen:
        """The answer about the first key, shared with who asks at the same time."""
        Gate(ask.gate.with_name("asked")).queue()
        try:
            return await self._flights.join(context(), feature("front"), lambda: self._call(ask.keys[0], ask))
        except asyncio.CancelledError:
            Gate(ask.gate.with_name("gone")).queue()
            raise

    @http.post("/die")
    async def die(self, key: str) -> bool:
        """End the replica of a key."""
        try:
            await self._worker.options(session_id=key).die.remote()
        except Exception:  # whatever Ray calls it
            return True
        return False

    async def _call(self, key: str, ask: Ask) -> Seen:
        if ask.how == "stream":
            streaming = self._worker.options(session_id=key, stream=True)
            answers = cast("DeploymentResponseGenerator[Seen]", streaming.stream.remote(key, ask.gate))
            first, second = [seen async for seen in answers]
            assert first.replica == second.replica
            return first
        handle = self._worker.options(session_id=key, _by_reference=ask.how == "reference")
        return await cast("DeploymentResponse[Seen]", handle.work.remote(key, ask.gate))


def _deployment(cls: type) -> Deployment:
    return serve.deployment(name=cls.__name__)(cls)


app = _deployment(Front).bind(_deployment(Worker).bind())
