"""Weightless stand-ins with predictable output, for tests only."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from multimodal.cache.codec import Codec
from multimodal.cache.features import FeatureCache
from multimodal.cache.memory import MemoryTier
from multimodal.config import AppArgs, CacheArgs
from multimodal.encode_once import EncodeOnce
from multimodal.errors import InvalidMedia, InvalidRequest, MultimodalError, StageUnavailable
from multimodal.identity import FeatureKey, Identities
from multimodal.recipes import Recipes
from multimodal.retrieval.types import Found, Search, Segment
from multimodal.stages import Seen, Sound
from multimodal.types import (
    SAMPLE_RATE_HZ,
    Audio,
    Chunk,
    Deferred,
    Delta,
    Document,
    DocumentFeatures,
    GenerateRequest,
    GenerationStep,
    GeneratorEmbedding,
    Image,
    ImageFeatures,
    ImageText,
    Media,
    MediaKind,
    MediaSource,
    Page,
    PageFeatures,
    RequestContext,
    Scene,
    Spans,
    SpeechHints,
    SpeechPlan,
    StageState,
    TextBlock,
    TextEmbeddings,
    TextLine,
    TextPart,
    Transcript,
    TranscriptSegment,
    Usage,
    Video,
    VideoFeatures,
    Visual,
)
from tests.encoder_fakes import LOGIT_SCALE, FakeTextEncoder, FakeVision

T = TypeVar("T")


def decoded(source: MediaSource) -> Media:
    """A small medium whose hash is its bytes as text, so that later stages can quote it."""
    name = source.data.decode()
    if source.kind is MediaKind.IMAGE:
        return Image(sha256=name, pixels=np.zeros((4, 6, 3), np.uint8), width=6, height=4, format="png")
    if source.kind is MediaKind.AUDIO:
        return _sound(name)
    if source.kind is MediaKind.DOCUMENT:
        page = Page(number=1, blocks=(TextBlock(text=name),))
        return Document(sha256=name, format="txt", title="", pages=(page,), page_count=1)
    return Video(
        sha256=name,
        frames=np.zeros((2, 4, 6, 3), np.uint8),
        times_s=(0.25, 0.75),
        duration_s=1.0,
        width=6,
        height=4,
        format="mp4",
        audio=_sound(name),
    )


def _sound(name: str) -> Audio:
    """A second of silence; what its name says where that is "hum for 90 s"."""
    hum = re.fullmatch(r"hum for (\d+) s", name)
    seconds = int(hum[1]) if hum else 1
    samples = np.full(seconds * SAMPLE_RATE_HZ, 0.1 if hum else 0.0, np.float32)
    return Audio(sha256=name, samples=samples, duration_s=float(seconds), format="wav")


def spoken(text: str, start_s: float = 0.0) -> Transcript:
    """One segment of a second."""
    segment = TranscriptSegment(text=text, start_s=start_s, end_s=start_s + 1.0)
    return Transcript(segments=(segment,), language="en", duration_s=1.0)


def seen(vector: NDArray[np.float32] | None, name: str = "") -> ImageFeatures:
    """What an encoder says of a picture: with a tower, where there is a vector."""
    scale = None if vector is None else LOGIT_SCALE
    return ImageFeatures(sha256=name, width=6, height=4, colours=(), vector=vector, logit_scale=scale)


def scene(vector: NDArray[np.float32] | None, frames: int, start_s: float = 0.0) -> Scene:
    """A scene of which so many frames were sampled, one each second."""
    times_s = tuple(start_s + index for index in range(frames))
    return Scene(
        start_s=start_s,
        end_s=start_s + frames,
        times_s=times_s,
        image=seen(vector),
        text=ImageText(lines=()),
    )


def line(text: str) -> TextLine:
    return TextLine(text=text, confidence=1.0, box=(0.0, 0.0, 1.0, 1.0))


class FakeLoader:
    """Hands bytes through as tiny media; bytes that start with "bad" cannot be decoded."""

    async def load(self, ctx: RequestContext, source: MediaSource) -> Media:
        if source.data.startswith(b"bad"):
            raise InvalidMedia("This medium is damaged. Send it again.", param=source.param)
        return decoded(source)

    def check(self, source: MediaSource) -> None:
        """Everything is small enough."""

    def start(self) -> None:
        """Nothing to start."""

    def check_health(self) -> None:
        """Always well."""

    async def close(self) -> None:
        """Nothing runs."""


class FakeGenerator:
    """Repeats what it was told, one word at a time; "crash" among the words kills it after one word."""

    def __init__(self) -> None:
        self.running = 0
        self.healthy = True

    async def generate(
        self, ctx: RequestContext, request: GenerateRequest, visuals: Sequence[Visual]
    ) -> AsyncGenerator[GenerationStep, None]:
        words = told(request).split()
        self.running += 1
        try:
            yield GenerationStep()
            for word in words:
                yield GenerationStep(deltas=(Delta(index=0, text=word + " ", tokens=1),))
                if word == "crash":
                    raise StageUnavailable("The generator is restarting.", retry_after_s=1)
                await asyncio.sleep(0)
            usage = Usage(prompt_tokens=len(words), completion_tokens=len(words), cached_tokens=0)
            yield GenerationStep(
                deltas=(Delta(index=0, text="", tokens=0, finish_reason="stop"),), usage=usage
            )
        finally:
            self.running -= 1

    async def check_health(self) -> None:
        if not self.healthy:
            raise MultimodalError("dead")

    def close(self) -> None:
        """Nothing runs."""


def told(request: GenerateRequest) -> str:
    """Everything that a generator is told, as one line."""
    lines: list[str] = []
    for message in request.messages:
        for part in message.parts:
            lines += [part.text] if isinstance(part, TextPart) else part.lines
    return " ".join(lines)


def remembering(memory_bytes: int, args: AppArgs | None = None) -> EncodeOnce:
    """What a process knows of media, in memory alone."""
    settings = CacheArgs(memory_bytes=memory_bytes)
    identities = Identities(b"a secret of the tests")
    cache = FeatureCache(settings, Codec(identities.seal_key()), MemoryTier(memory_bytes))
    return EncodeOnce(identities, Recipes(args or AppArgs(), Path("no models")), cache)


def _returning(value: T) -> Callable[[], Awaitable[T]]:
    async def work() -> T:
        return value

    return work


@dataclass
class FakeStages:
    """The graph as coroutines. `gates` hold a stage back; `failures` make it fail a number of times."""

    gates: Mapping[str, asyncio.Event] = field(default_factory=dict)
    failures: dict[str, list[Exception]] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)
    requests: list[GenerateRequest] = field(default_factory=list)
    visuals: list[Visual] = field(default_factory=list)
    contexts: list[RequestContext] = field(default_factory=list)
    hints: list[SpeechHints] = field(default_factory=list)
    plan: SpeechPlan | None = None
    """What a recording is cut into; None: it is short."""
    transcript: Transcript | None = None
    """What is heard in a recording; None: its name."""
    picture: NDArray[np.float32] | None = None
    """The vector of every picture."""
    scenes: tuple[Scene, ...] = ()
    """What is seen in a video."""
    text_limit: int = 256
    """Tokens that a text may have."""
    embedded: list[tuple[str, ...]] = field(default_factory=list)
    """The texts of each call for vectors."""
    abandoned: int = 0
    has_vision_tower: bool = False
    generator: FakeGenerator = field(default_factory=FakeGenerator)
    once: EncodeOnce = field(default_factory=lambda: remembering(0))
    """By default nothing is remembered."""
    generating: int = 0
    affinities: list[str] = field(default_factory=list)
    """Of the answers that were generated."""

    def _start(self, stage: str, work: Callable[[], Awaitable[T]]) -> asyncio.Future[T]:
        async def run() -> T:
            self.calls.append(stage)
            try:
                if stage in self.gates:
                    await self.gates[stage].wait()
                if self.failures.get(stage):
                    raise self.failures[stage].pop(0)
                return await work()
            except asyncio.CancelledError:
                self.cancelled.append(stage)
                raise

        return asyncio.ensure_future(run())

    def load(
        self, ctx: RequestContext, source: MediaSource, key: FeatureKey | None = None
    ) -> Deferred[Media]:
        self.contexts.append(ctx)
        return self._start(f"load {source.param}", lambda: FakeLoader().load(ctx, source))

    def encode_image(
        self, ctx: RequestContext, image: Deferred[Media], key: FeatureKey | None = None
    ) -> Deferred[ImageFeatures]:
        async def encode() -> ImageFeatures:
            picture = await image
            return seen(self.picture, picture.sha256)

        return self._start("encode_image", encode)

    def read(
        self, ctx: RequestContext, image: Deferred[Media], key: FeatureKey | None = None
    ) -> Deferred[ImageText]:
        async def read() -> ImageText:
            return ImageText(lines=(line(f"text-of-{(await image).sha256}"),))

        return self._start("read", read)

    def transcribe(
        self, ctx: RequestContext, audio: Sound, hints: SpeechHints, key: FeatureKey | None = None
    ) -> Deferred[Transcript | SpeechPlan]:
        self.hints.append(hints)

        async def transcribe() -> Transcript | SpeechPlan:
            sound = await audio if isinstance(audio, Awaitable) else audio
            return self.plan or self.transcript or spoken(f"speech-of-{sound.sha256}")

        return self._start("transcribe", transcribe)

    def transcribe_part(
        self,
        ctx: RequestContext,
        audio: Sound,
        windows: Sequence[Spans],
        hints: SpeechHints,
        key: FeatureKey | None = None,
    ) -> Deferred[Transcript]:
        start_s = windows[0][0][0]

        async def transcribe() -> Transcript:
            return spoken(f"speech-from-{start_s:g}", start_s)

        return self._start(f"transcribe_part {start_s:g}", transcribe)

    async def arrival(self, result: Deferred[object]) -> None:
        await asyncio.wait([asyncio.ensure_future(result)])

    def watch(
        self, ctx: RequestContext, video: Deferred[Media], hints: SpeechHints, key: FeatureKey | None = None
    ) -> Deferred[VideoFeatures]:
        self.hints.append(hints)

        async def watch() -> VideoFeatures:
            return VideoFeatures(
                sha256=(await video).sha256,
                duration_s=1.0,
                width=6,
                height=4,
                scenes=self.scenes,
                transcript=None,
            )

        return self._start("watch", watch)

    def read_document(
        self, ctx: RequestContext, document: Deferred[Media], key: FeatureKey | None = None
    ) -> Deferred[DocumentFeatures]:
        async def read() -> DocumentFeatures:
            name = (await document).sha256
            page = PageFeatures(number=1, chunks=(Chunk(text=f"page-of-{name}", box=None),), image=None)
            return DocumentFeatures(sha256=name, title="", pages=(page,), page_count=1)

        return self._start("read_document", read)

    # An index that holds nothing.

    def store_segments(self, ctx: RequestContext, segments: Sequence[Segment]) -> Deferred[None]:
        return self._start("store_segments", _returning(None))

    def forget_files(self, ctx: RequestContext, file_ids: Collection[str]) -> Deferred[None]:
        return self._start("forget_files", _returning(None))

    def search(self, ctx: RequestContext, search: Search) -> Deferred[Found]:
        return self._start("search", _returning(Found(hits=(), more=False)))

    def segments_of(
        self, ctx: RequestContext, file_id: str, with_vectors: bool
    ) -> Deferred[Sequence[Segment]]:
        nothing: Sequence[Segment] = ()
        return self._start("segments_of", _returning(nothing))

    def look_alikes(
        self, ctx: RequestContext, perceptual_hashes: Sequence[int]
    ) -> Deferred[Sequence[Sequence[tuple[Segment, int]]]]:
        nothing: Sequence[Sequence[tuple[Segment, int]]] = [() for _ in perceptual_hashes]
        return self._start("look_alikes", _returning(nothing))

    def indexed_files(self, ctx: RequestContext) -> Deferred[Mapping[str, Sequence[str]]]:
        nothing: Mapping[str, Sequence[str]] = {}
        return self._start("indexed_files", _returning(nothing))

    def embed_text(self, ctx: RequestContext, texts: Sequence[str]) -> Deferred[TextEmbeddings]:
        self.embedded.append(tuple(texts))

        async def embed() -> TextEmbeddings:
            rows = FakeTextEncoder().encode(texts)
            for index, row in enumerate(rows):
                if row.tokens > self.text_limit:
                    raise InvalidRequest("A text is too long. Split it.", param=f"input.{index}")
            vectors = np.concatenate([row.vectors for row in rows])
            return TextEmbeddings(vectors=vectors, tokens=sum(row.tokens for row in rows))

        return self._start("embed_text", embed)

    def see(
        self,
        ctx: RequestContext,
        seen: Seen | Deferred[Media],
        moments_s: Sequence[float],
        key: FeatureKey | None = None,
    ) -> Deferred[GeneratorEmbedding]:
        async def see() -> GeneratorEmbedding:
            return FakeVision().connect(await seen if isinstance(seen, Awaitable) else seen)

        return self._start("see", see)

    async def generate(
        self,
        ctx: RequestContext,
        request: GenerateRequest,
        visuals: Sequence[Deferred[Visual]],
        affinity: str = "",
    ) -> AsyncGenerator[GenerationStep, None]:
        self.requests.append(request)
        self.affinities.append(affinity)
        self.visuals += [await visual for visual in visuals]
        async with aclosing(self.generator.generate(ctx, request, self.visuals)) as steps:
            async for step in steps:
                yield step

    def abandon(self, *results: Deferred[object]) -> None:
        self.abandoned += len(results)
        for result in results:
            if isinstance(result, asyncio.Future):
                result.cancel()

    async def metrics(self) -> Mapping[str, Mapping[str, str]]:
        return {}

    async def states(self) -> Mapping[str, StageState]:
        return {"Generator": StageState.READY}
