"""Only the pinned bytes are taken, and only the listed files of them."""

from __future__ import annotations

import base64
import hashlib
import io
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from multimodal.errors import ConfigError
from multimodal.training.fetch import fetch
from multimodal.training.sources import Package


def _tarball(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


CONTENT = _tarball({"package/icons.json": b"{}", "package/other.js": b"1", "../evil": b"2"})
PACKAGE = Package(
    name="@set/tiny",
    version="1.0.0",
    integrity="sha512-" + base64.b64encode(hashlib.sha512(CONTENT).digest()).decode(),
    licence="MIT",
    attribution="Nobody",
)


def _pack(package: Package, folder: Path) -> Path:
    path = folder / "tiny.tgz"
    path.write_bytes(CONTENT)
    return path


def test_the_listed_files_are_taken_out(tmp_path: Path) -> None:
    folder = fetch(PACKAGE, tmp_path / "root", ["icons.json"], ["chars.json"], _pack)
    assert [path.name for path in folder.iterdir()] == ["icons.json"]
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["icons.json"]


def test_other_bytes_are_refused(tmp_path: Path) -> None:
    other = replace(PACKAGE, integrity="sha512-" + base64.b64encode(bytes(64)).decode())
    with pytest.raises(ConfigError, match="pinned"):
        fetch(other, tmp_path, ["icons.json"], [], _pack)
    assert not (tmp_path / "tiny").exists()


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no chars\.json"):
        fetch(PACKAGE, tmp_path, ["chars.json"], [], _pack)


def test_what_is_there_is_not_fetched_again(tmp_path: Path) -> None:
    fetch(PACKAGE, tmp_path, ["icons.json"], [], _pack)

    def never(package: Package, folder: Path) -> Path:
        raise AssertionError

    assert fetch(PACKAGE, tmp_path, ["icons.json"], [], never) == tmp_path / "tiny"
