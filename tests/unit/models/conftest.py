"""A tiny embedded model, as a wheel that can be downloaded, and a catalog that lists it."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib import resources
from pathlib import Path

import pytest

from multimodal.models import catalog
from multimodal.models.catalog import EmbeddedModel, WheelFile

FILES = {
    "tiny_model/model/config.json": b'{"layers": 1}\n',
    "tiny_model/model/weights.bin": bytes(range(256)) * 64,
}
_METADATA = (
    b"Metadata-Version: 2.1\nName: tiny-model\nVersion: 1.0\nRequires-Dist: a-package-that-is-nowhere\n"
)

MakeWheel = Callable[[Path, Mapping[str, bytes]], Path]


@pytest.fixture
def make_wheel() -> MakeWheel:
    """Write a wheel of the package `tiny-model` 1.0 that holds the given files."""

    def make(folder: Path, files: Mapping[str, bytes]) -> Path:
        path = folder / "tiny_model-1.0-py3-none-any.whl"
        info = "tiny_model-1.0.dist-info"
        with zipfile.ZipFile(path, "w") as archive:
            for member, content in files.items():
                archive.writestr(member, content)
            archive.writestr(f"{info}/METADATA", _METADATA)
            archive.writestr(
                f"{info}/WHEEL", b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
            )
            archive.writestr(f"{info}/RECORD", b"")
        return path

    return make


@pytest.fixture
def wheel_files() -> Mapping[str, bytes]:
    """What the wheel of the tiny model holds, by member."""
    return FILES


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> EmbeddedModel:
    """The tiny model; the catalog lists it, and only it."""
    files = tuple(
        WheelFile(member=member, size_bytes=len(content), sha256=hashlib.sha256(content).hexdigest())
        for member, content in FILES.items()
    )
    entry = EmbeddedModel(
        name="tiny", purpose="tests", licence="MIT", package="tiny-model", version="1.0", files=files
    )
    list_only(entry, monkeypatch)
    return entry


@pytest.fixture
def relist(monkeypatch: pytest.MonkeyPatch) -> Callable[[EmbeddedModel], None]:
    """Put a changed entry into the catalog, as a new release would."""
    return lambda entry: list_only(replace(entry), monkeypatch)


@pytest.fixture
def bundled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> EmbeddedModel:
    """A model that comes with this package; the catalog lists it, and only it."""
    data = tmp_path / "package" / "data" / "own"
    data.mkdir(parents=True)
    (data / "weights.bin").write_bytes(b"weights")
    monkeypatch.setattr(resources, "files", lambda name: tmp_path / "package")
    file = WheelFile(member="own/weights.bin", size_bytes=7, sha256=hashlib.sha256(b"weights").hexdigest())
    entry = EmbeddedModel(
        name="own",
        purpose="tests",
        licence="MIT",
        package="multimodal",
        version="1",
        files=(file,),
        bundled=True,
    )
    list_only(entry, monkeypatch)
    return entry


def list_only(entry: EmbeddedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the catalog hold this one entry."""
    monkeypatch.setattr(catalog, "CATALOG", {entry.name: entry})
