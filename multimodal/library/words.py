"""Texts of segments as vectors, however many and however long."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from multimodal.config import AppArgs
from multimodal.deadlines import within
from multimodal.embedding import Embedder
from multimodal.errors import InvalidRequest
from multimodal.retrieval.types import Vector
from multimodal.stages import Stages
from multimodal.types import RequestContext

TEXTS_AT_ONCE = 16
"""Texts of one call: chunks of 120 words fill about half a batch of TextEncoder, so live texts wait for less
than one."""


class Words:
    """Gives texts their vectors, with TextEncoder."""

    def __init__(self, stages: Stages, args: AppArgs) -> None:
        self._stages = stages
        self._embedder = Embedder(stages, args)

    async def vectors(
        self, ctx: RequestContext, texts: Sequence[str], param: str, on_progress: Callable[[float], None]
    ) -> list[Vector]:
        """One for each text, in order: of one that is too long for the model, the mean of its pieces.

        `on_progress` is told which share is done. Raises what TextEncoder raises, and DeadlineExceeded.
        """
        found: list[Vector] = []
        for start in range(0, len(texts), TEXTS_AT_ONCE):
            found += await self._some(ctx, texts[start : start + TEXTS_AT_ONCE], param)
            on_progress(len(found) / len(texts))
        return found

    async def _some(self, ctx: RequestContext, texts: Sequence[str], param: str) -> list[Vector]:
        try:
            return list((await within(ctx, self._stages.embed_text(ctx, texts))).vectors)
        except InvalidRequest:  # one of them is too long
            return [(await self._embedder.long_text(ctx, [text], param)).vectors[0] for text in texts]
