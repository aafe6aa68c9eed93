"""Backends without weights, for the graph."""

from __future__ import annotations

from deployments.backends import Backends
from tests.encoder_fakes import FakeAudioEncoder, FakeImageEncoder, FakeReader, FakeTextEncoder, FakeVision
from tests.fakes import FakeGenerator, FakeLoader

FAKES = Backends(
    loader=lambda args: FakeLoader(),
    text=lambda args: FakeTextEncoder(),
    image=lambda args: FakeImageEncoder(),
    audio=lambda args: FakeAudioEncoder(),
    reader=lambda args: FakeReader(),
    vision=lambda args: FakeVision(),
    generator=lambda args: FakeGenerator(),
)
