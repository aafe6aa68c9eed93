"""Backends that are held back by the requests they work on, so that a test decides when a stage is done.

`Reader@/tmp/gate`, as a word of the prompt (for Generator), as a text (TextEncoder) or as the bytes of a
medium (all others), stops that stage until the file /tmp/gate exists. Each one that begins to wait adds a
byte to /tmp/gate.waiting. Generator starts only once the file of its model (`file:/tmp/model`) exists.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

import numpy as np

from deployments.backends import Backends
from multimodal.config import AppArgs
from multimodal.stages import GeneratorBackend
from multimodal.types import (
    Audio,
    GenerateRequest,
    GenerationStep,
    Image,
    ImageFeatures,
    ImageText,
    Media,
    MediaSource,
    RequestContext,
    SpeechHints,
    SpeechPlan,
    TextEmbeddings,
    Visual,
)
from tests.encoder_fakes import FakeAudioEncoder, FakeImageEncoder, FakeReader, FakeTextEncoder, FakeVision
from tests.fakes import FakeGenerator, FakeLoader
from tests.integration.graph.backends import small_index

PATIENCE_S = 90.0
"""No stage waits longer, whatever a test forgets."""

SIDE_PX = 600
"""About 1 MB: what is under 100 KB Ray keeps in the process of the caller, and not in the object store."""


class Gate:
    """What a stage waits at."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._waiting = path.with_name(path.name + ".waiting")

    def before(self, stage: str) -> str:
        """What to say in a request."""
        return f"{stage}@{self._path}"

    @property
    def waiting(self) -> int:
        """How many have come to it so far."""
        return self._waiting.stat().st_size if self._waiting.exists() else 0

    def open(self) -> None:
        """Let all pass."""
        self._path.touch()

    @property
    def is_open(self) -> bool:
        """Whether those that wait may pass."""
        return self._path.exists()

    def queue(self) -> None:
        """One begins to wait."""
        with self._waiting.open("ab") as file:
            file.write(b".")


def until(holds: Callable[[], bool], seconds: float = 60.0) -> None:
    """Wait for something, for so long at most."""
    end_s = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end_s, "it never came to that"
        time.sleep(0.1)


def _gates(stage: str, said: str) -> list[Gate]:
    gates = [Gate(Path(path)) for path in re.findall(rf"{stage}@(\S+)", said)]
    for gate in gates:
        gate.queue()
    return gates


def _wait(stage: str, said: str) -> None:
    end_s = time.monotonic() + PATIENCE_S
    gates = _gates(stage, said)
    while not all(gate.is_open for gate in gates) and time.monotonic() < end_s:
        time.sleep(0.05)


async def _wait_async(stage: str, said: str) -> None:
    end_s = time.monotonic() + PATIENCE_S
    gates = _gates(stage, said)
    while not all(gate.is_open for gate in gates) and time.monotonic() < end_s:
        await asyncio.sleep(0.05)


class _Loader(FakeLoader):
    async def load(self, ctx: RequestContext, source: MediaSource) -> Media:
        await _wait_async("MediaLoader", source.data.decode())
        media = await super().load(ctx, source)
        if isinstance(media, Image):
            return replace(media, pixels=np.zeros((SIDE_PX, SIDE_PX, 3), np.uint8))
        return media


class _Text(FakeTextEncoder):
    def encode(self, texts: Sequence[str]) -> list[TextEmbeddings]:
        _wait("TextEncoder", " ".join(texts))
        return super().encode(texts)


class _Images(FakeImageEncoder):
    def encode(self, images: Sequence[Image]) -> list[ImageFeatures]:
        _wait("ImageEncoder", " ".join(image.sha256 for image in images))
        return super().encode(images)


class _Reader(FakeReader):
    def read(self, images: Sequence[Image]) -> list[ImageText]:
        _wait("Reader", " ".join(image.sha256 for image in images))
        return super().read(images)


class _Audio(FakeAudioEncoder):
    def plan(self, audio: Audio, hints: SpeechHints) -> SpeechPlan:
        _wait("AudioEncoder", audio.sha256)
        return super().plan(audio, hints)


class _Generator(FakeGenerator):
    async def generate(
        self, ctx: RequestContext, request: GenerateRequest, visuals: Sequence[Visual]
    ) -> AsyncGenerator[GenerationStep, None]:
        async with aclosing(super().generate(ctx, request, visuals)) as steps:
            async for step in steps:
                yield step
                await _wait_async("Generator", "".join(delta.text for delta in step.deltas))


def _generator(args: AppArgs) -> GeneratorBackend:
    source, _, path = args.generator.model.partition(":")
    while source == "file" and not Path(path).exists():
        time.sleep(0.05)
    return _Generator()


OBEDIENT = Backends(
    store=small_index,
    loader=lambda args: _Loader(),
    text=lambda args: _Text(),
    image=lambda args: _Images(),
    audio=lambda args: _Audio(),
    reader=lambda args: _Reader(),
    vision=lambda args: FakeVision(),
    generator=_generator,
)
