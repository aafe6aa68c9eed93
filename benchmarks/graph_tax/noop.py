"""Backends that do nothing: every answer was made beforehand, and has the size of a real one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence

import numpy as np

from multimodal.errors import UnsupportedMedia
from multimodal.stages import Seen
from multimodal.types import (
    Audio,
    ColourShare,
    Delta,
    GenerateRequest,
    GenerationStep,
    GeneratorEmbedding,
    Image,
    ImageFeatures,
    ImageText,
    Media,
    MediaKind,
    MediaSource,
    RequestContext,
    SpeechHints,
    SpeechPlan,
    SpeechWindow,
    TextEmbeddings,
    TextLine,
    Transcript,
    Usage,
    Visual,
)

DIMENSIONS = 384
"""Of the retrieval vectors of the embedded models."""
ROWS, WIDTH = 8, 576
"""What VisionTower says of a picture: some words, in the embeddings of the embedded generator."""
SIDE_PX = 64
"""Of the decoded picture: small, so that nothing here is about copying pixels."""
STEPS = 16
"""Tokens of an answer that does not say how many it wants."""
PIECE = " word"
"""A token."""
PROMPT_TOKENS = 64

_UNIT = np.full(DIMENSIONS, DIMENSIONS**-0.5, np.float32)
_PIXELS = np.full((SIDE_PX, SIDE_PX, 3), 127, np.uint8)
_EMBEDDING = GeneratorEmbedding(rows=np.zeros((ROWS, WIDTH), np.float32))
_TEXT = ImageText(lines=(TextLine(text="TOTAL 42", confidence=1.0, box=(0.0, 0.0, 1.0, 0.5)),))
_COLOURS = (ColourShare(name="grey", share=1.0),)


class Loader:
    """Every picture is the same grey one; other media are refused."""

    async def load(self, ctx: RequestContext, source: MediaSource) -> Media:
        """At once. Raises UnsupportedMedia for anything but a picture."""
        if source.kind is not MediaKind.IMAGE:
            raise UnsupportedMedia("This server knows pictures only.", param=source.param)
        return Image(sha256=source.sha256 or "", pixels=_PIXELS, width=SIDE_PX, height=SIDE_PX, format="png")

    def check_health(self) -> None:
        """Always well."""

    def start(self) -> None:
        """Nothing to start."""

    async def close(self) -> None:
        """Nothing runs."""


class ImageTower:
    """Sees grey."""

    def encode(self, images: Sequence[Image]) -> list[ImageFeatures]:
        """Features with a vector (DIMENSIONS,)."""
        return [
            ImageFeatures(
                sha256=image.sha256,
                width=image.width,
                height=image.height,
                colours=_COLOURS,
                vector=_UNIT,
                logit_scale=100.0,
            )
            for image in images
        ]


class Reader:
    """Reads one line."""

    def read(self, images: Sequence[Image]) -> list[ImageText]:
        """The same of every picture."""
        return [_TEXT] * len(images)


class Vision:
    """Shows the generator (ROWS, WIDTH) zeros."""

    def see(self, batch: Sequence[tuple[Seen, Sequence[float]]]) -> list[GeneratorEmbedding]:
        """The same of every medium."""
        return [_EMBEDDING] * len(batch)


class Text:
    """A token is a word; all texts mean the same."""

    def count_tokens(self, text: str) -> int:
        """Words."""
        return len(text.split())

    def encode(self, texts: Sequence[str]) -> list[TextEmbeddings]:
        """One (1, DIMENSIONS) for each text."""
        return [TextEmbeddings(vectors=_UNIT[None], tokens=self.count_tokens(text)) for text in texts]


class Ears:
    """Hears nobody."""

    def plan(self, audio: Audio, hints: SpeechHints) -> SpeechPlan:
        """No windows."""
        return SpeechPlan(windows=(), language=hints.language or "en", duration_s=audio.duration_s)

    def transcribe(self, windows: Sequence[SpeechWindow]) -> list[Transcript]:
        """Silence."""
        return [Transcript(segments=(), language="en", duration_s=0.0) for _ in windows]


class Generator:
    """As many steps of one token as the request wants, STEPS where it does not say, one after the other."""

    async def generate(
        self, ctx: RequestContext, request: GenerateRequest, visuals: Sequence[Visual]
    ) -> AsyncGenerator[GenerationStep, None]:
        """At once, but each step on a turn of its own of the event loop, as an engine's are."""
        tokens = request.sampling.max_tokens or STEPS
        yield GenerationStep()
        for _ in range(tokens):
            await asyncio.sleep(0)
            yield GenerationStep(deltas=(Delta(index=0, text=PIECE, tokens=1),))
        yield GenerationStep(
            deltas=(Delta(index=0, text="", tokens=0, finish_reason="length"),),
            usage=Usage(prompt_tokens=PROMPT_TOKENS, completion_tokens=tokens, cached_tokens=0),
        )

    async def check_health(self) -> None:
        """Always well."""

    def close(self) -> None:
        """Nothing runs."""
