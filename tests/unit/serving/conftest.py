from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.serving.workspace import FakeWorkspace


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeWorkspace:
    monkeypatch.chdir(tmp_path)
    return FakeWorkspace(tmp_path)
