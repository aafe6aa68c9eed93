"""The graph as its callers see it: `Stages` over Ray Serve handles."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import dataclass, fields
from typing import cast

import ray.exceptions
from ray import serve
from ray.serve import exceptions as serve_exceptions
from ray.serve.handle import DeploymentResponseGenerator

from deployments.batching import in_replica
from deployments.calls import Call, Handle, Pending, abandon, are_small, passed_on, translate
from deployments.loopback import reaches_replicas
from deployments.pictures import Picture, hand_on, may_be_small
from deployments.states import StateMonitor, is_down
from deployments.token_channel import Channels, OutOfTime, Sent
from multimodal.config import AppArgs
from multimodal.encode_once import EncodeOnce
from multimodal.errors import DeadlineExceeded, StageUnavailable
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

GRACE_S = 5.0
"""How long after the deadline of an answer nothing more is expected of the engine."""

LOOK_AGAIN_S = 1.0
"""How often a caller that waits for its first token looks whether the generator is still there."""

METRICS_TIMEOUT_S = 2.0
"""For all replicas of one deployment to report."""

WAITERS = 64
"""Threads in which arrivals are waited for. When all are taken, stages are reported late, and that is all."""


class IndexCalls:
    """Retriever's methods."""

    def __init__(self, retriever: Handle, timeout_s: float) -> None:
        self.name = retriever.deployment_name
        self.handle = retriever
        self.store = Call[None](retriever, "store_segments", timeout_s)
        self.forget = Call[None](retriever, "forget_files", timeout_s)
        self.search = Call[Found](retriever, "search", timeout_s)
        self.segments_of = Call[Sequence[Segment]](retriever, "segments_of", timeout_s, bulky=True)
        self.look_alikes = Call[Sequence[Sequence[tuple[Segment, int]]]](retriever, "look_alikes", timeout_s)
        self.indexed_files = Call[Mapping[str, Sequence[str]]](
            retriever, "indexed_files", timeout_s, bulky=True
        )


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
            if isinstance(result, Pending | Picture):
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
        self._load = Call[Media](handles.media_loader, "load", args.loader.timeout_s, bulky=True)
        self._load_small = Call[Media | None](handles.media_loader, "load_small", args.loader.timeout_s)
        self._encode_text = Call[TextEmbeddings](handles.text_encoder, "encode", args.text.timeout_s)
        self._encode_image = Call[ImageFeatures](handles.image_encoder, "encode", args.image.timeout_s)
        self._watch = Call[VideoFeatures](handles.video_encoder, "watch", args.video.timeout_s, bulky=True)
        self._read_document = Call[DocumentFeatures](
            handles.document_encoder, "read", args.document.timeout_s, bulky=True
        )
        self._read = Call[ImageText](handles.reader, "read", args.reader.timeout_s)
        self._index = IndexCalls(handles.retriever, args.retriever.timeout_s)
        self._see = None
        if handles.vision_tower is not None and args.vision is not None:
            self._see = Call[GeneratorEmbedding](
                handles.vision_tower, "see", args.vision.timeout_s, bulky=args.vision.source == "tower"
            )
        self._generate_timeout_s = args.generator.timeout_s
        self._generator = None
        self._channels = None
        if handles.generator is not None:
            # Plain pickle does what cloudpickle does for messages, in half the time.
            self._generator = handles.generator.options(
                method_name="generate",
                stream=True,
                request_serialization="pickle",
                response_serialization="pickle",
            )
            self._channels = Channels(handles.generator, by_reference=not reaches_replicas())
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
        def load() -> Pending[Media]:
            return self._load(ctx, source, key, affinity=_affinity(key))

        if key is None or not may_be_small(source) or not reaches_replicas():
            return load()
        return Picture(self._load_small(ctx, source, key, affinity=_affinity(key)), load)

    def encode_image(
        self, ctx: RequestContext, image: Deferred[Media], key: FeatureKey | None = None
    ) -> Deferred[ImageFeatures]:
        return hand_on(image, lambda given: self._encode_image(ctx, given, key, affinity=_affinity(key)))

    def read(
        self, ctx: RequestContext, image: Deferred[Media], key: FeatureKey | None = None
    ) -> Deferred[ImageText]:
        return hand_on(image, lambda given: self._read(ctx, given, key, affinity=_affinity(key)))

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
        if isinstance(result, Picture):
            with contextlib.suppress(Exception):  # whoever wants the result gets the error
                result = await result.arrived()
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
        see, moments = self._see, tuple(moments_s)
        if isinstance(seen, Picture):
            return hand_on(seen, lambda given: see(ctx, given, moments, key, affinity=_affinity(key)))
        return see(ctx, seen, moments, key, affinity=_affinity(key))

    async def generate(
        self,
        ctx: RequestContext,
        request: GenerateRequest,
        visuals: Sequence[Deferred[Visual]],
        affinity: str = "",
    ) -> AsyncGenerator[GenerationStep, None]:
        if self._generator is None or self._channels is None:
            raise StageUnavailable("This part of the graph has no generator.")
        generator = self._generator
        name = generator.deployment_name
        if is_down(generator):
            raise StageUnavailable.restarting(name)
        # The engine ends at the deadline itself; this is for when it does not answer at all.
        until_s = min(ctx.deadline_s, time.time() + self._generate_timeout_s) + GRACE_S
        given = [visual.now() if isinstance(visual, Picture) else visual for visual in visuals]
        by_value = reaches_replicas() and are_small([request, *given])
        self._generating += 1
        call = None
        try:
            with self._channels.inbox() as inbox:
                handle = generator.options(session_id=affinity, _by_reference=not by_value)
                call = cast(
                    "DeploymentResponseGenerator[GenerationStep | Sent]",
                    handle.remote(ctx, inbox.address, request, *map(passed_on, given)),
                )
                first = await self._first_step(call, generator, until_s)
                if isinstance(first, Sent):
                    return
                yield first
                async with aclosing(inbox.steps(call, until_s)) as steps:
                    async for step in steps:
                        yield step
        except OutOfTime:
            raise DeadlineExceeded(f"{name} did not answer in time. Try again later.") from None
        except Exception as error:
            raise translate(error, name) from None
        finally:
            self._generating -= 1
            if call is not None:
                # Does nothing once the stream has ended; before, it aborts the request in the engine.
                abandon(call)

    async def _first_step(
        self,
        call: DeploymentResponseGenerator[GenerationStep | Sent],
        generator: Handle,
        until_s: float,
    ) -> GenerationStep | Sent:
        """A call that finds no replica waits for one to start, for minutes. Callers are told before.

        Raises StageUnavailable, and OutOfTime.
        """
        step = asyncio.ensure_future(anext(call))
        try:
            while not (await asyncio.wait([step], timeout=LOOK_AGAIN_S))[0]:
                if is_down(generator):
                    raise StageUnavailable.restarting(generator.deployment_name)
                if time.time() >= until_s:
                    raise OutOfTime
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


def _affinity(key: FeatureKey | None) -> str:
    return key.affinity if key else ""


async def _settled(result: Deferred[object]) -> None:
    with contextlib.suppress(Exception):  # whoever wants the result gets the error
        await result
