"""What the HTTP surface needs of the product behind it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Protocol

from multimodal.types import ChatEvent, ChatRequest, RequestContext, StageState, TextEmbeddings


class Service(Protocol):
    """The assistant as its HTTP surface sees it."""

    def chat(self, ctx: RequestContext, request: ChatRequest) -> AsyncGenerator[ChatEvent, None]:
        """Stream what happens to a request.

        The first GenerationStep has no deltas and says that the prompt was accepted; the last has the usage.
        Errors are raised from the generator. Closing it aborts everything that runs for the request.
        """
        ...

    async def embed(self, ctx: RequestContext, texts: Sequence[str]) -> TextEmbeddings:
        """Sentence vectors, in order."""
        ...

    async def states(self) -> Mapping[str, StageState]:
        """State of every stage by name."""
        ...

    async def metrics(self) -> Mapping[str, Sequence[str]]:
        """Metrics of every replica behind this surface, in Prometheus' text format, by deployment."""
        ...
