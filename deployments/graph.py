"""The graph as its callers see it: `Stages` over Ray Serve handles.

Every call goes by reference: what a deployment returns stays in the object store, and a result that is handed
to the next call as a top-level argument never passes through the caller. The mode is said explicitly, because
Serve's throughput-optimised mode would otherwise copy by value over gRPC (4 MiB at most).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncGenerator, Collection, Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields, replace
from typing import Generic, TypeAlias, TypedDict, TypeVar, cast

import ray
import ray.exceptions
from ray import serve
from ray.serve import exceptions as serve_exceptions
from ray.serve._private.router import AsyncioRouter
from ray.serve.context import _get_global_client
from ray.serve.handle import DeploymentHandle, DeploymentResponse, DeploymentResponseGenerator

from deployments.batching import in_replica
from deployments.lanes import in_background
from multimodal.config import AppArgs
from multimodal.encode_once import EncodeOnce
from multimodal.errors import DeadlineExceeded, LostMedia, MultimodalError, Overloaded, StageUnavailable
from multimodal.identity import FeatureKey
from multimodal.retrieval.types import Found, Search, Segment
from multimodal.stages import Seen, Sound
from multimodal.types import (
    Deferred,
    DocumentFeatures,
    GenerateRequest,
    GenerationStep,
    GeneratorEmbedding,
    ImageFeatures,
    ImageText,
    Media,
    MediaSource,
    Ready,
    RequestContext,
    Spans,
    SpeechHints,
    SpeechPlan,
    StageState,
    TextEmbeddings,
    Transcript,
    VideoFeatures,
    Visual,
)

logger = logging.getLogger(__name__)

T = TypeVar("T")

Handle: TypeAlias = "DeploymentHandle[object]"

RETRY_S = 5
"""What a client is told to wait for a full queue."""

GRACE_S = 5.0
"""How long after the deadline of an answer nothing more is expected of the engine."""

LOOK_AGAIN_S = 1.0
"""How often a caller that waits for its first token looks whether the generator is still there."""

METRICS_TIMEOUT_S = 2.0
"""For all replicas of one deployment to report."""

WAITERS = 64
"""Threads in which arrivals are waited for. When all are taken, stages are reported late, and that is all."""


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
        _abandon(self.response)

    async def arrival(self, waiters: ThreadPoolExecutor) -> None:
        """Return when the result is there, or has failed. Not fetched: it may lie on another machine."""
        reference = await self.response._to_object_ref()
        timeout_s = max(0.0, self._deadline_s - time.time())
        await asyncio.get_running_loop().run_in_executor(
            waiters, lambda: ray.wait([reference], timeout=timeout_s, fetch_local=False)
        )


class Call(Generic[T]):
    """One method of one deployment."""

    def __init__(self, handle: Handle, method: str, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._handle = handle.options(method_name=method, _by_reference=True)
        self._stage = handle.deployment_name

    def __call__(self, ctx: RequestContext, *args: object, affinity: str = "") -> Pending[T]:
        """Call it; arguments that are on their way travel by reference.

        Calls of the same affinity meet at one replica, where the deployment's router is AffinityRouter.
        Work in the background has until its own deadline: it gives way to live requests, for how long
        nobody knows.
        """
        deadline_s = ctx.deadline_s
        if not in_background(ctx):
            deadline_s = min(deadline_s, time.time() + self._timeout_s)
        try:
            handle = self._handle.options(session_id=affinity) if affinity else self._handle
            response = handle.remote(replace(ctx, deadline_s=deadline_s), *map(_reference, args))
        except Exception as error:
            raise translate(error, self._stage) from None
        return Pending(cast("DeploymentResponse[T]", response), self._stage, deadline_s)


class IndexCalls:
    """Retriever's methods."""

    def __init__(self, retriever: Handle, timeout_s: float) -> None:
        self.name = retriever.deployment_name
        self.handle = retriever
        self.store = Call[None](retriever, "store_segments", timeout_s)
        self.forget = Call[None](retriever, "forget_files", timeout_s)
        self.search = Call[Found](retriever, "search", timeout_s)
        self.segments_of = Call[Sequence[Segment]](retriever, "segments_of", timeout_s)
        self.look_alikes = Call[Sequence[Sequence[tuple[Segment, int]]]](retriever, "look_alikes", timeout_s)
        self.indexed_files = Call[Mapping[str, Sequence[str]]](retriever, "indexed_files", timeout_s)


class AudioCalls:
    """Implements `multimodal.stages.Ears`."""

    def __init__(self, audio_encoder: Handle, args: AppArgs) -> None:
        timeout_s = args.audio.timeout_s
        self._transcribe = Call[Transcript | SpeechPlan](audio_encoder, "transcribe", timeout_s)
        self._transcribe_part = Call[Transcript](audio_encoder, "transcribe_part", timeout_s)

    def transcribe(
        self, ctx: RequestContext, audio: Sound, hints: SpeechHints, key: FeatureKey | None = None
    ) -> Deferred[Transcript | SpeechPlan]:
        return self._transcribe(ctx, audio, hints, key, affinity=_affinity(key))

    def transcribe_part(
        self,
        ctx: RequestContext,
        audio: Sound,
        windows: Sequence[Spans],
        hints: SpeechHints,
        key: FeatureKey | None = None,
    ) -> Deferred[Transcript]:
        # Each part meets those of other requests for it, and the parts of one recording are shared out.
        affinity = f"{key.affinity}-{windows[0][0][0]:g}" if key else ""
        return self._transcribe_part(ctx, audio, tuple(windows), hints, key, affinity=affinity)

    def abandon(self, *results: Deferred[object]) -> None:
        for result in results:
            if isinstance(result, Pending):
                result.abandon()


@dataclass(frozen=True, kw_only=True)
class Handles:
    """Of the deployments behind the Gateway. Those of a profile without them are None."""

    media_loader: Handle
    text_encoder: Handle
    image_encoder: Handle
    audio_encoder: Handle
    video_encoder: Handle
    document_encoder: Handle
    reader: Handle
    retriever: Handle
    generator: Handle | None = None
    vision_tower: Handle | None = None
    ingestor: Handle | None = None

    def all(self) -> list[Handle]:
        """Those there are."""
        found = (getattr(self, one.name) for one in fields(self))
        return [handle for handle in found if handle is not None]


class Graph(AudioCalls):
    """Implements `multimodal.stages.Stages`."""

    def __init__(self, handles: Handles, args: AppArgs, once: EncodeOnce) -> None:
        super().__init__(handles.audio_encoder, args)
        self._load = Call[Media](handles.media_loader, "load", args.loader.timeout_s)
        self._encode_text = Call[TextEmbeddings](handles.text_encoder, "encode", args.text.timeout_s)
        self._encode_image = Call[ImageFeatures](handles.image_encoder, "encode", args.image.timeout_s)
        self._watch = Call[VideoFeatures](handles.video_encoder, "watch", args.video.timeout_s)
        self._read_document = Call[DocumentFeatures](
            handles.document_encoder, "read", args.document.timeout_s
        )
        self._read = Call[ImageText](handles.reader, "read", args.reader.timeout_s)
        self._index = IndexCalls(handles.retriever, args.retriever.timeout_s)
        self._see = None
        if handles.vision_tower is not None and args.vision is not None:
            self._see = Call[GeneratorEmbedding](handles.vision_tower, "see", args.vision.timeout_s)
        self._generate_timeout_s = args.generator.timeout_s
        self._generator = None
        if handles.generator is not None:
            self._generator = handles.generator.options(
                method_name="generate", stream=True, _by_reference=True
            )
        self._handles = handles.all()
        self._monitor = StateMonitor([handle.deployment_name for handle in self._handles])
        self._waiters = ThreadPoolExecutor(WAITERS, thread_name_prefix="arrival")
        self._once = once
        self._generating = 0

    @property
    def once(self) -> EncodeOnce:
        return self._once

    @property
    def generating(self) -> int:
        return self._generating

    def load(
        self, ctx: RequestContext, source: MediaSource, key: FeatureKey | None = None
    ) -> Deferred[Media]:
        return self._load(ctx, source, key, affinity=_affinity(key))

    def encode_image(
        self, ctx: RequestContext, image: Deferred[Media], key: FeatureKey | None = None
    ) -> Deferred[ImageFeatures]:
        return self._encode_image(ctx, image, key, affinity=_affinity(key))

    def read(
        self, ctx: RequestContext, image: Deferred[Media], key: FeatureKey | None = None
    ) -> Deferred[ImageText]:
        return self._read(ctx, image, key, affinity=_affinity(key))

    def watch(
        self, ctx: RequestContext, video: Deferred[Media], hints: SpeechHints, key: FeatureKey | None = None
    ) -> Deferred[VideoFeatures]:
        return self._watch(ctx, video, hints, key, affinity=_affinity(key))

    def read_document(
        self, ctx: RequestContext, document: Deferred[Media], key: FeatureKey | None = None
    ) -> Deferred[DocumentFeatures]:
        return self._read_document(ctx, document, key, affinity=_affinity(key))

    def store_segments(self, ctx: RequestContext, segments: Sequence[Segment]) -> Deferred[None]:
        return self._index.store(ctx, tuple(segments))

    async def forget_files(self, ctx: RequestContext, file_ids: Collection[str]) -> None:
        await self._require_index()
        await self._index.forget(ctx, tuple(file_ids))

    async def search(self, ctx: RequestContext, search: Search) -> Found:
        await self._require_index()
        return await self._index.search(ctx, search)

    async def _require_index(self) -> None:
        """Callers need not wait for a Retriever that restarts. Raises StageUnavailable."""
        if is_down(self._index.handle):
            raise StageUnavailable.restarting(self._index.name)

    def segments_of(
        self, ctx: RequestContext, file_id: str, with_vectors: bool
    ) -> Deferred[Sequence[Segment]]:
        return self._index.segments_of(ctx, file_id, with_vectors)

    def look_alikes(
        self, ctx: RequestContext, perceptual_hashes: Sequence[int]
    ) -> Deferred[Sequence[Sequence[tuple[Segment, int]]]]:
        return self._index.look_alikes(ctx, tuple(perceptual_hashes))

    def indexed_files(self, ctx: RequestContext) -> Deferred[Mapping[str, Sequence[str]]]:
        return self._index.indexed_files(ctx)

    async def arrival(self, result: Deferred[object]) -> None:
        if isinstance(result, Pending) and in_replica():
            await result.arrival(self._waiters)
        else:
            # Local testing mode has no object store.
            await asyncio.wait([asyncio.ensure_future(_settled(result))])

    def embed_text(self, ctx: RequestContext, texts: Sequence[str]) -> Deferred[TextEmbeddings]:
        return self._encode_text(ctx, list(texts))

    @property
    def has_vision_tower(self) -> bool:
        return self._see is not None

    def see(
        self,
        ctx: RequestContext,
        seen: Seen | Deferred[Media],
        moments_s: Sequence[float],
        key: FeatureKey | None = None,
    ) -> Deferred[GeneratorEmbedding]:
        if self._see is None:
            raise StageUnavailable("This server has no vision tower.")
        return self._see(ctx, seen, tuple(moments_s), key, affinity=_affinity(key))

    async def generate(
        self,
        ctx: RequestContext,
        request: GenerateRequest,
        visuals: Sequence[Deferred[Visual]],
        affinity: str = "",
    ) -> AsyncGenerator[GenerationStep, None]:
        generator = self._generator
        if generator is None:
            raise StageUnavailable("This part of the graph has no generator.")
        name = generator.deployment_name
        if is_down(generator):
            raise StageUnavailable.restarting(name)
        try:
            generator = generator.options(session_id=affinity) if affinity else generator
            steps = cast(
                "DeploymentResponseGenerator[GenerationStep]",
                generator.remote(ctx, request, *map(_reference, visuals)),
            )
        except Exception as error:
            raise translate(error, name) from None
        deadline_s = min(ctx.deadline_s, time.time() + self._generate_timeout_s)
        begun = False
        self._generating += 1
        try:
            while True:
                # The engine ends at the deadline itself; this is for when it does not answer at all.
                async with asyncio.timeout(deadline_s + GRACE_S - time.time()) as limit:
                    step = await (anext(steps, None) if begun else self._first_step(steps, generator))
                if step is None:
                    return
                begun = True
                yield step
        except TimeoutError as error:
            if limit.expired():
                raise DeadlineExceeded(f"{name} did not answer in time. Try again later.") from None
            raise translate(error, name) from None
        except Exception as error:
            raise translate(error, name) from None
        finally:
            self._generating -= 1
            # Does nothing once the stream has ended; before, it aborts the request in the engine.
            _abandon(steps)

    async def _first_step(
        self, steps: DeploymentResponseGenerator[GenerationStep], generator: Handle
    ) -> GenerationStep | None:
        """A call that finds no replica waits for one to start, for minutes. Callers are told before.

        Raises StageUnavailable.
        """
        step = asyncio.ensure_future(anext(steps, None))
        try:
            while not (await asyncio.wait([step], timeout=LOOK_AGAIN_S))[0]:
                if is_down(generator):
                    raise StageUnavailable.restarting(generator.deployment_name)
            return step.result()
        finally:
            step.cancel()

    async def states(self) -> Mapping[str, StageState]:
        return await self._monitor.states()

    async def metrics(self) -> Mapping[str, Mapping[str, str]]:
        """Metrics text of every running replica, by deployment and name of the replica, as of now."""
        handles = [*self._handles, *_own_handle()]
        texts = await asyncio.gather(*map(_replica_metrics, handles))
        return {handle.deployment_name: found for handle, found in zip(handles, texts, strict=True)}


def _own_handle() -> list[Handle]:
    """Of the deployment that this process is a replica of: its other replicas have metrics, too."""
    if not in_replica():
        return []
    here = serve.get_replica_context()
    return [cast(Handle, serve.get_deployment_handle(here.deployment, here.app_name))]


async def _replica_metrics(handle: Handle) -> dict[str, str]:
    """Of every replica by name; none where there is no replica now, or one does not answer."""
    try:
        async with asyncio.timeout(METRICS_TIMEOUT_S):
            return dict(await handle.options(_by_reference=True).broadcast("metrics").results_async())
    except (TimeoutError, serve_exceptions.RayServeException, ray.exceptions.RayError) as error:
        logger.warning("no metrics of %s: %s", handle.deployment_name, type(error).__name__)
        return {}


def is_down(handle: Handle) -> bool:
    """Whether a deployment has no running replica, by what Serve's controller has last told this process of
    its own accord: asking it takes 50 ms. While it has told nothing, calls are tried."""
    router = getattr(handle._router, "_asyncio_router", None)  # in local testing mode there is none
    if not isinstance(router, AsyncioRouter) or not router.running_replicas_populated():
        return False
    return router.request_router is not None and not router.request_router.curr_replicas


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
    return error


_DIED = (ray.exceptions.RayActorError, ray.exceptions.WorkerCrashedError, ray.exceptions.NodeDiedError)

_EXHAUSTED = (
    ray.exceptions.OutOfMemoryError,
    ray.exceptions.ObjectStoreFullError,
    ray.exceptions.OutOfDiskError,
)


def _abandon(response: DeploymentResponse[T] | DeploymentResponseGenerator[T]) -> None:
    """Cancel a call that may also have ended, or never have begun: then it raises why, which is known."""
    with contextlib.suppress(Exception):
        response.cancel()  # type: ignore[no-untyped-call]


async def _settled(result: Deferred[object]) -> None:
    with contextlib.suppress(Exception):  # whoever wants the result gets the error
        await result


def _reference(argument: object) -> object:
    if isinstance(argument, Ready):
        return argument.value
    return argument.response if isinstance(argument, Pending) else argument


def _affinity(key: FeatureKey | None) -> str:
    return key.affinity if key else ""
