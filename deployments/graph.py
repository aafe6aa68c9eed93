"""The graph as its callers see it: `Stages` over Ray Serve handles.

Every call goes by reference: what a deployment returns stays in the object store, and a result that is handed
to the next call as a top-level argument never passes through the caller. The mode is said explicitly, because
Serve's throughput-optimised mode would otherwise copy by value over gRPC (4 MiB at most).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Generator, Mapping, Sequence
from dataclasses import replace
from typing import Generic, TypeAlias, TypeVar, cast

import ray.exceptions
from ray import serve
from ray.serve import exceptions as serve_exceptions
from ray.serve.handle import DeploymentHandle, DeploymentResponse, DeploymentResponseGenerator
from ray.serve.schema import DeploymentStatusOverview

from deployments.batching import in_replica
from multimodal.config import AppArgs
from multimodal.errors import DeadlineExceeded, LostMedia, MultimodalError, Overloaded, StageUnavailable
from multimodal.types import (
    Deferred,
    GenerateRequest,
    GenerationStep,
    ImageFeatures,
    ImageText,
    Media,
    MediaSource,
    RequestContext,
    StageState,
    TextEmbeddings,
    Transcript,
    VideoFeatures,
    Visual,
)

T = TypeVar("T")

Handle: TypeAlias = "DeploymentHandle[object]"

RETRY_S = 5
"""What a client is told to wait for a full queue."""

RESTART_S = 20
"""What a client is told to wait for a deployment that has no running replica."""


class Pending(Generic[T]):
    """A result on its way. Awaiting it raises our errors; passing it on passes the reference."""

    def __init__(self, response: DeploymentResponse[T], stage: str, deadline_s: float) -> None:
        self.response = response
        self._stage = stage
        self._deadline_s = deadline_s

    def __await__(self) -> Generator[object, None, T]:
        return self._result().__await__()

    async def _result(self) -> T:
        try:
            async with asyncio.timeout(self._deadline_s - time.time()):
                return await self.response
        except TimeoutError:
            self.response.cancel()  # type: ignore[no-untyped-call]
            raise DeadlineExceeded(
                f"{self._stage} did not finish in time. Send less media, or try again later."
            ) from None
        except Exception as error:
            raise translate(error, self._stage) from error


class Call(Generic[T]):
    """One method of one deployment."""

    def __init__(self, handle: Handle, method: str, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._handle = handle.options(method_name=method, _by_reference=True)
        self._stage = handle.deployment_name

    def __call__(self, ctx: RequestContext, *args: object) -> Pending[T]:
        """Call it; arguments that are on their way travel by reference."""
        deadline_s = min(ctx.deadline_s, time.time() + self._timeout_s)
        try:
            response = self._handle.remote(replace(ctx, deadline_s=deadline_s), *map(_reference, args))
        except Exception as error:
            raise translate(error, self._stage) from error
        return Pending(cast("DeploymentResponse[T]", response), self._stage, deadline_s)


class Graph:
    """Implements `multimodal.stages.Stages`."""

    def __init__(
        self,
        *,
        media_loader: Handle,
        text_encoder: Handle,
        image_encoder: Handle,
        audio_encoder: Handle,
        video_encoder: Handle,
        reader: Handle,
        generator: Handle,
        vision_tower: Handle | None,
        args: AppArgs,
    ) -> None:
        self._load = Call[Media](media_loader, "load", args.loader.timeout_s)
        self._encode_text = Call[TextEmbeddings](text_encoder, "encode", args.text.timeout_s)
        self._encode_image = Call[ImageFeatures](image_encoder, "encode", args.image.timeout_s)
        self._transcribe = Call[Transcript](audio_encoder, "transcribe", args.audio.timeout_s)
        self._watch = Call[VideoFeatures](video_encoder, "watch", args.video.timeout_s)
        self._read = Call[ImageText](reader, "read", args.reader.timeout_s)
        self._see = None if vision_tower is None else Call[Visual](vision_tower, "see", args.image.timeout_s)
        self._generator = generator.options(method_name="generate", stream=True, _by_reference=True)
        handles = [media_loader, text_encoder, image_encoder, audio_encoder, video_encoder, reader, generator]
        self._handles = handles if vision_tower is None else [*handles, vision_tower]
        self._monitor = StateMonitor([handle.deployment_name for handle in self._handles])

    def load(self, ctx: RequestContext, source: MediaSource) -> Deferred[Media]:
        return self._load(ctx, source)

    def encode_image(self, ctx: RequestContext, image: Deferred[Media]) -> Deferred[ImageFeatures]:
        return self._encode_image(ctx, image)

    def read(self, ctx: RequestContext, image: Deferred[Media]) -> Deferred[ImageText]:
        return self._read(ctx, image)

    def transcribe(self, ctx: RequestContext, audio: Deferred[Media]) -> Deferred[Transcript]:
        return self._transcribe(ctx, audio)

    def watch(self, ctx: RequestContext, video: Deferred[Media]) -> Deferred[VideoFeatures]:
        return self._watch(ctx, video)

    def embed_text(self, ctx: RequestContext, texts: Sequence[str]) -> Deferred[TextEmbeddings]:
        return self._encode_text(ctx, list(texts))

    @property
    def has_vision_tower(self) -> bool:
        return self._see is not None

    def see(
        self, ctx: RequestContext, image: Deferred[Media], features: Deferred[ImageFeatures]
    ) -> Deferred[Visual]:
        if self._see is None:
            raise StageUnavailable("This server has no vision tower.")
        return self._see(ctx, image, features)

    async def generate(
        self, ctx: RequestContext, request: GenerateRequest, visuals: Sequence[Deferred[Visual]]
    ) -> AsyncGenerator[GenerationStep, None]:
        name = self._generator.deployment_name
        if (await self._monitor.states())[name] is not StageState.READY:
            raise _restarting(name)
        steps = cast(
            "DeploymentResponseGenerator[GenerationStep]",
            self._generator.remote(ctx, request, *map(_reference, visuals)),
        )
        try:
            async for step in steps:
                yield step
        except Exception as error:
            raise translate(error, name) from error
        finally:
            # Does nothing once the stream has ended; before, it aborts the request in the engine.
            steps.cancel()  # type: ignore[no-untyped-call]

    async def states(self) -> Mapping[str, StageState]:
        return await self._monitor.states()

    async def metrics(self) -> Mapping[str, Sequence[str]]:
        """Metrics text of every running replica, by deployment, as of now."""
        answers = [handle.broadcast("metrics").results_async() for handle in self._handles]
        texts = await asyncio.gather(*answers)
        return {handle.deployment_name: list(text) for handle, text in zip(self._handles, texts, strict=True)}


class StateMonitor:
    """Whether deployments have running replicas, asked of Serve's controller once a second at most."""

    MAX_AGE_S = 1.0

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names
        self._states: Mapping[str, StageState] = {}
        self._as_of_s = float("-inf")
        self._lock = asyncio.Lock()

    async def states(self) -> Mapping[str, StageState]:
        """State of every deployment by name."""
        async with self._lock:
            if time.monotonic() - self._as_of_s > self.MAX_AGE_S:
                self._states = await asyncio.to_thread(self._ask)
                self._as_of_s = time.monotonic()
        return self._states

    def _ask(self) -> Mapping[str, StageState]:
        if not in_replica():
            # Local testing mode: replicas are threads of this process.
            return dict.fromkeys(self._names, StageState.READY)
        app_name = serve.get_replica_context().app_name
        deployments = serve.status().applications[app_name].deployments
        found = {name: deployments[name] for name in self._names}
        return {name: _state(one) for name, one in found.items()}


def _state(deployment: DeploymentStatusOverview) -> StageState:
    # Annotated as enum members, but plain strings once they have crossed a process boundary.
    replicas = cast(Mapping[str, int], deployment.replica_states)
    if replicas.get("RUNNING", 0) > 0:
        return StageState.READY
    if deployment.status in ("DEPLOY_FAILED", "UNHEALTHY"):
        return StageState.UNAVAILABLE
    return StageState.STARTING


def translate(error: Exception, stage: str) -> Exception:
    """Our error for what Ray raised; anything unknown stays as it is and becomes a 500 at the Gateway."""
    cause: BaseException = error
    while isinstance(cause, ray.exceptions.RayTaskError):
        cause = cause.cause
    if isinstance(cause, MultimodalError):
        return cause
    if isinstance(cause, serve_exceptions.BackPressureError):
        return Overloaded(f"{stage} has too much to do. Try again in {RETRY_S} s.", retry_after_s=RETRY_S)
    if isinstance(cause, ray.exceptions.ObjectLostError):
        return LostMedia("Decoded media were lost. Try again.", retry_after_s=1)
    if isinstance(cause, ray.exceptions.RayActorError | serve_exceptions.DeploymentUnavailableError):
        return _restarting(stage)
    return error


def _restarting(stage: str) -> StageUnavailable:
    return StageUnavailable(f"{stage} is restarting. Try again in {RESTART_S} s.", retry_after_s=RESTART_S)


def _reference(argument: object) -> object:
    return argument.response if isinstance(argument, Pending) else argument
