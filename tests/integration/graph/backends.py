"""Backends without weights, for the graph."""

from __future__ import annotations

from deployments.backends import Backends
from multimodal.config import AppArgs
from multimodal.stages import (
    AudioBackend,
    GeneratorBackend,
    ImageBackend,
    LoaderBackend,
    ReaderBackend,
    TextBackend,
)
from tests.encoder_fakes import FakeAudioEncoder, FakeImageEncoder, FakeReader, FakeTextEncoder
from tests.fakes import FakeGenerator, FakeLoader


def loader(args: AppArgs) -> LoaderBackend:
    return FakeLoader()


def text(args: AppArgs) -> TextBackend:
    return FakeTextEncoder()


def image(args: AppArgs) -> ImageBackend:
    return FakeImageEncoder()


def audio(args: AppArgs) -> AudioBackend:
    return FakeAudioEncoder()


def reader(args: AppArgs) -> ReaderBackend:
    return FakeReader()


def generator(args: AppArgs) -> GeneratorBackend:
    return FakeGenerator()


FAKES = Backends(loader=loader, text=text, image=image, audio=audio, reader=reader, generator=generator)
