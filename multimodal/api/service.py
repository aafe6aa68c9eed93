"""What the HTTP surface needs of the product behind it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Protocol

from multimodal.library.files import FileLibrary, Upload
from multimodal.library.records import FileRecord, Retrieval, SearchAnswer, SearchRequest
from multimodal.retrieval.types import Scalar
from multimodal.types import (
    AnalysisEvent,
    AnalysisRequest,
    ChatEvent,
    ChatRequest,
    Classification,
    ClassifyRequest,
    Embeddings,
    Emit,
    FileReference,
    MediaSource,
    RequestContext,
    StageState,
)


class LibraryService(Protocol):
    """Uploaded files and search."""

    @property
    def files(self) -> FileLibrary:
        """To list and read files. `add` and `delete` below do more than those of the library."""
        ...

    async def add(
        self,
        ctx: RequestContext,
        upload: Upload,
        *,
        filename: str,
        purpose: str,
        metadata: Mapping[str, Scalar],
    ) -> FileRecord:
        """Keep a file; it is processed in the background. Its `duplicates` name files that have the same
        bytes, or, for pictures, look the same."""
        ...

    async def delete(self, ctx: RequestContext, file_id: str) -> None:
        """Delete a file, its segments and, with the last file that has them, its bytes.

        Raises FileUnknown.
        """
        ...

    async def search(self, ctx: RequestContext, request: SearchRequest, emit: Emit) -> SearchAnswer:
        """Find segments; `emit` is told of the stages of the media of the query."""
        ...


class Service(Protocol):
    """The assistant as its HTTP surface sees it."""

    @property
    def library(self) -> LibraryService:
        """Uploaded files and search."""
        ...

    def chat(
        self, ctx: RequestContext, request: ChatRequest, retrieval: Retrieval | None = None
    ) -> AsyncGenerator[ChatEvent, None]:
        """Stream what happens to a request. With `retrieval`, what is found in uploaded files is told to the
        generator, and one Sources says what that was.

        The first GenerationStep has no deltas and says that the prompt was accepted; the last has the usage.
        Errors are raised from the generator. Closing it aborts everything that runs for the request.
        """
        ...

    def analyze(self, ctx: RequestContext, request: AnalysisRequest) -> AsyncGenerator[AnalysisEvent, None]:
        """Stream what becomes of one recording or video, and the answer to a question about it.

        A recording: TranscriptPart as they come, then one Transcript. A video: one VideoFeatures. With a
        question, GenerationStep as in `chat` follow. Errors are raised from the generator; closing it aborts.
        """
        ...

    async def embed(
        self, ctx: RequestContext, inputs: Sequence[str | MediaSource | FileReference], emit: Emit
    ) -> Embeddings:
        """One unit vector for each input, in order; `emit` is told of the stages of the media."""
        ...

    async def classify(self, ctx: RequestContext, request: ClassifyRequest, emit: Emit) -> Classification:
        """How well each label fits a picture or a video, the best first."""
        ...

    async def states(self) -> Mapping[str, StageState]:
        """State of every stage by name."""
        ...

    async def metrics(self) -> Mapping[str, Mapping[str, str]]:
        """Metrics in Prometheus' text format, by deployment and replica, this surface's own among them."""
        ...
