"""What the pipeline and the HTTP surface need of the graph, and what each stage promises.

`deployments/` implements `Stages` with Ray Serve handles, tests with coroutines. A `Deferred` result may be
handed to the next stage without waiting for it: with Ray it then travels by reference, through the object
store, and never through the caller.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from typing import Protocol, TypeAlias

from multimodal.encode_once import EncodeOnce
from multimodal.identity import FeatureKey
from multimodal.retrieval.types import Found, Search, Segment
from multimodal.types import (
    Audio,
    Deferred,
    DocumentFeatures,
    GenerateRequest,
    GenerationStep,
    GeneratorEmbedding,
    Image,
    ImageFeatures,
    ImageText,
    Media,
    MediaSource,
    RequestContext,
    Spans,
    SpeechHints,
    SpeechPlan,
    SpeechWindow,
    StageState,
    TextEmbeddings,
    Transcript,
    VideoFeatures,
    Visual,
)

Sound: TypeAlias = Deferred[Media] | Audio
"""A recording: on its way from the loader, or the sound of a video at hand."""

Seen: TypeAlias = ImageFeatures | VideoFeatures | Media
"""What VisionTower looks at: what ImageEncoder's tower saw, or with its own tower, a decoded medium."""


class Ears(Protocol):
    """AudioEncoder as its callers see it. See `multimodal.hearing`, which puts the two calls together."""

    def transcribe(
        self, ctx: RequestContext, audio: Sound, hints: SpeechHints, key: FeatureKey | None = None
    ) -> Deferred[Transcript | SpeechPlan]:
        """Turn speech into text with times; of a long recording, only find out where somebody speaks."""
        ...

    def transcribe_part(
        self,
        ctx: RequestContext,
        audio: Sound,
        windows: Sequence[Spans],
        hints: SpeechHints,
        key: FeatureKey | None = None,
    ) -> Deferred[Transcript]:
        """Some windows of a long recording, each part on another replica."""
        ...

    def abandon(self, *results: Deferred[object]) -> None:
        """Stop the work on results that nobody wants any more; does nothing to those that are there."""
        ...


class Stages(Ears, Protocol):
    """The graph as its callers see it. Calls return at once; errors surface where the result is awaited.

    Calls with the same key meet at one replica, which does the work once. Without a key they go anywhere.
    """

    @property
    def once(self) -> EncodeOnce:
        """What this process knows of media already."""
        ...

    @property
    def generating(self) -> int:
        """Answers that this process is having generated now."""
        ...

    def load(
        self, ctx: RequestContext, source: MediaSource, key: FeatureKey | None = None
    ) -> Deferred[Media]:
        """Decode one medium once, in a process that can be killed."""
        ...

    async def arrival(self, result: Deferred[object]) -> None:
        """Return when a result is there, or has failed, without fetching it."""
        ...

    def encode_image(
        self, ctx: RequestContext, image: Deferred[Media], key: FeatureKey | None = None
    ) -> Deferred[ImageFeatures]:
        """Retrieval vector (where the profile has an image tower), size and colours."""
        ...

    def read(
        self, ctx: RequestContext, image: Deferred[Media], key: FeatureKey | None = None
    ) -> Deferred[ImageText]:
        """Find the text in a picture."""
        ...

    def watch(
        self,
        ctx: RequestContext,
        video: Deferred[Media],
        hints: SpeechHints,
        key: FeatureKey | None = None,
    ) -> Deferred[VideoFeatures]:
        """Encode and read the frames of a video and transcribe its sound, on one time line."""
        ...

    def read_document(
        self, ctx: RequestContext, document: Deferred[Media], key: FeatureKey | None = None
    ) -> Deferred[DocumentFeatures]:
        """Cut the pages of a document into chunks, read scanned ones, and look at all of them."""
        ...

    def store_segments(self, ctx: RequestContext, segments: Sequence[Segment]) -> Deferred[None]:
        """Put segments of the context's tenant into the index; they are durable and can be found when this
        returns."""
        ...

    def forget_files(self, ctx: RequestContext, file_ids: Collection[str]) -> Deferred[None]:
        """Take all segments of these files of the context's tenant out of the index, durably."""
        ...

    def search(self, ctx: RequestContext, search: Search) -> Deferred[Found]:
        """Find segments of the context's tenant. Deterministic."""
        ...

    def segments_of(
        self, ctx: RequestContext, file_id: str, with_vectors: bool
    ) -> Deferred[Sequence[Segment]]:
        """All segments of one file of the context's tenant, in order."""
        ...

    def look_alikes(
        self, ctx: RequestContext, perceptual_hashes: Sequence[int]
    ) -> Deferred[Sequence[Sequence[tuple[Segment, int]]]]:
        """For each hash, segments of the context's tenant that differ in few bits (`duplicate_bits`), and in
        how many, the nearest first."""
        ...

    def indexed_files(self, ctx: RequestContext) -> Deferred[Mapping[str, Sequence[str]]]:
        """Ids of all files that have segments, by tenant: for the sweep that repairs what crashes left."""
        ...

    def embed_text(self, ctx: RequestContext, texts: Sequence[str]) -> Deferred[TextEmbeddings]:
        """Sentence vectors, in order.

        Raises InvalidRequest for a text that is too long; its param counts the texts of this call: "input.1".
        """
        ...

    @property
    def has_vision_tower(self) -> bool:
        """Whether `see` can be called: VisionTower is in the graph."""
        ...

    def see(
        self,
        ctx: RequestContext,
        seen: Seen | Deferred[Media],
        moments_s: Sequence[float],
        key: FeatureKey | None = None,
    ) -> Deferred[GeneratorEmbedding]:
        """Generator embeddings of a medium; `moments_s` are asked about, none: all of it."""
        ...

    def generate(
        self,
        ctx: RequestContext,
        request: GenerateRequest,
        visuals: Sequence[Deferred[Visual]],
        affinity: str = "",
    ) -> AsyncGenerator[GenerationStep, None]:
        """Stream the answer. Closing the iterator early aborts the request in the engine.

        Requests of the same affinity prefer the same replica, which has what they begin with in its KV cache.
        """
        ...

    async def metrics(self) -> Mapping[str, Mapping[str, str]]:
        """Metrics in Prometheus' text format, by deployment and replica, current."""
        ...

    async def states(self) -> Mapping[str, StageState]:
        """State of every deployment by name, at most a second or two old."""
        ...


class ImageBackend(Protocol):
    """The model behind ImageEncoder."""

    def encode(self, images: Sequence[Image]) -> list[ImageFeatures]:
        """Features of each picture, in order. One forward pass; thread-safe is not required."""
        ...


class VisionBackend(Protocol):
    """The connector, or the tower and projector, behind VisionTower."""

    def see(self, batch: Sequence[tuple[Seen, Sequence[float]]]) -> list[GeneratorEmbedding]:
        """Rows for the generator, in order: of each medium, or of a video at the moments that are asked about
        (none: at all). One batch; thread-safe is not required. Keys are left empty."""
        ...


class TextBackend(Protocol):
    """The model behind TextEncoder."""

    def count_tokens(self, text: str) -> int:
        """Tokens of the text, special tokens included."""
        ...

    def encode(self, texts: Sequence[str]) -> list[TextEmbeddings]:
        """One TextEmbeddings with one row for each text, in order."""
        ...


class ReaderBackend(Protocol):
    """The model behind Reader."""

    def read(self, images: Sequence[Image]) -> list[ImageText]:
        """Text of each picture, in order."""
        ...


class AudioBackend(Protocol):
    """The model behind AudioEncoder: `plan`, then `transcribe` in batches. `hearing.join` does the rest."""

    def plan(self, audio: Audio, hints: SpeechHints) -> SpeechPlan:
        """Where somebody speaks, in windows of at most 30 s of sound, by voice activity; none for silence.

        Raises InvalidRequest for a language that the model does not know.
        """
        ...

    def transcribe(self, windows: Sequence[SpeechWindow]) -> list[Transcript]:
        """One transcript for each window, times counted from the start of the recording. One batch."""
        ...


class LoaderBackend(Protocol):
    """The decoders behind MediaLoader."""

    async def load(self, ctx: RequestContext, source: MediaSource) -> Media:
        """Decode, or raise InvalidMedia, UnsupportedMedia, MediaTooLarge or DeadlineExceeded."""
        ...

    def check_health(self) -> None:
        """Raise when no worker can be had."""
        ...

    def start(self) -> None:
        """Start the workers, so that the first request need not wait for them."""
        ...

    async def close(self) -> None:
        """End every worker."""
        ...


class GeneratorBackend(Protocol):
    """The engine behind Generator."""

    def generate(
        self,
        ctx: RequestContext,
        request: GenerateRequest,
        visuals: Sequence[Visual],
    ) -> AsyncGenerator[GenerationStep, None]:
        """Stream the answer; the first step carries no deltas and comes once the prompt is accepted."""
        ...

    async def check_health(self) -> None:
        """Raise when the engine cannot serve any more."""
        ...

    def close(self) -> None:
        """End the engine."""
        ...
