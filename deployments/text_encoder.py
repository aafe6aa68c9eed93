"""TextEncoder: sentences to unit vectors, batched by padded tokens."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from deployments.batching import batched
from deployments.lanes import Lane
from deployments.replica import TEXT, ReportsMetrics, count_batch, refuse_if_late
from multimodal.config import AppArgs
from multimodal.errors import InvalidRequest
from multimodal.stages import TextBackend
from multimodal.types import RequestContext, TextEmbeddings


@dataclass(frozen=True, slots=True)
class Sentence:
    """A text and what it costs."""

    text: str
    tokens: int


def padded_tokens(batch: Sequence[Sentence]) -> int:
    """Cost of a batch, at most: all towers but a BERT without padding pad every row to the longest."""
    return len(batch) * max(sentence.tokens for sentence in batch)


class TextEncoder(ReportsMetrics):
    """Encodes the texts of all requests together."""

    def __init__(self, args: AppArgs, make: Callable[[AppArgs], TextBackend]) -> None:
        self._backend = make(args)
        self._limit_tokens = args.text.max_tokens
        self._lane = Lane()
        self._encode = batched(
            self._encode_batch, size=args.text.batch_tokens, wait_s=args.text.batch_wait_s, cost=padded_tokens
        )

    async def encode(self, ctx: RequestContext, texts: Sequence[str]) -> TextEmbeddings:
        """One row for each text, in order. Raises InvalidRequest for a text that is too long."""
        refuse_if_late(ctx)
        async with self._lane(ctx):
            sentences = await asyncio.to_thread(self._measure, texts)
            rows = await asyncio.gather(*map(self._encode, sentences))
        return TextEmbeddings(
            vectors=np.concatenate([row.vectors for row in rows]), tokens=sum(row.tokens for row in rows)
        )

    def _measure(self, texts: Sequence[str]) -> list[Sentence]:
        return [self._measured(text, f"input.{index}") for index, text in enumerate(texts)]

    def _measured(self, text: str, param: str) -> Sentence:
        try:
            sentence = Sentence(text, self._backend.count_tokens(text))
        except InvalidRequest as error:
            error.param = param
            raise
        if sentence.tokens > self._limit_tokens:
            raise InvalidRequest(
                f"A text has {sentence.tokens} tokens, but the model reads {self._limit_tokens}. "
                "Split it into shorter texts.",
                param=param,
            )
        return sentence

    async def _encode_batch(self, batch: list[Sentence]) -> list[TextEmbeddings]:
        count_batch(self, TEXT, len(batch))
        return await asyncio.to_thread(self._backend.encode, [sentence.text for sentence in batch])
