from collections.abc import Iterator
from pathlib import Path

import pytest

from multimodal import config
from multimodal.models.refs import EmbeddedRef, resolve
from multimodal.models.store import ModelStore


@pytest.fixture(scope="session")
def minilm() -> Path:
    """The embedded text model."""
    ModelStore(config.home()).pull(EmbeddedRef("minilm"))
    return resolve("embedded:minilm", config.home())


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fails the test when anything so much as looks up a host, even where the failure is swallowed."""
    attempts: list[object] = []

    def refuse(*args: object, **kwargs: object) -> None:
        attempts.append(args)
        raise OSError("no network in this test")

    for name in ("getaddrinfo", "create_connection"):
        monkeypatch.setattr(f"socket.{name}", refuse)
    monkeypatch.setattr("socket.socket.connect", refuse)
    yield
    assert attempts == []
