"""Manifests: every difference between a folder and its manifest is found."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given
from hypothesis import strategies as st

from multimodal.models import manifest
from multimodal.models.manifest import Manifest, Problem

CONTENTS = st.dictionaries(
    st.sampled_from(["a.json", "b.safetensors", "sub/c.txt", "sub/d.bin"]), st.binary(max_size=40), min_size=1
)


def fill(folder: Path, contents: Mapping[str, bytes]) -> Manifest:
    for path, content in contents.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    found = Manifest(name="m", source="s==1", recipe=1, files=manifest.record_files(folder))
    manifest.write(folder, found)
    return found


@given(CONTENTS)
def test_a_manifest_read_back_describes_the_folder(contents: dict[str, bytes]) -> None:
    with TemporaryDirectory() as name:
        folder = Path(name)
        written = fill(folder, contents)
        assert manifest.read(folder) == written
        assert {path: record.sha256 for path, record in written.files.items()} == {
            path: hashlib.sha256(content).hexdigest() for path, content in contents.items()
        }
        assert written.size_bytes == sum(map(len, contents.values()))
        assert manifest.find_problems(folder, written) == []


@given(CONTENTS, st.data())
def test_one_flipped_bit_is_found_and_named(contents: dict[str, bytes], data: st.DataObject) -> None:
    contents["b.safetensors"] = b"weights"
    position = data.draw(st.integers(0, 6))
    with TemporaryDirectory() as name:
        folder = Path(name)
        written = fill(folder, contents)
        flipped = bytearray(b"weights")
        flipped[position] ^= 1
        (folder / "b.safetensors").write_bytes(flipped)
        assert manifest.looks_complete(folder, written)
        problems = manifest.find_problems(folder, written)
    assert problems == [Problem(path="b.safetensors", what="changed")]


def test_missing_and_unexpected_files_are_found(tmp_path: Path) -> None:
    written = fill(tmp_path, {"a.json": b"{}", "b.safetensors": b"weights"})
    (tmp_path / "b.safetensors").rename(tmp_path / "pytorch_model.bin")
    assert not manifest.looks_complete(tmp_path, written)
    assert manifest.find_problems(tmp_path, written) == [
        Problem(path="b.safetensors", what="missing"),
        Problem(path="pytorch_model.bin", what="unexpected"),
    ]


def test_a_truncated_file_is_noticed_without_reading_it(tmp_path: Path) -> None:
    written = fill(tmp_path, {"b.safetensors": b"weights"})
    (tmp_path / "b.safetensors").write_bytes(b"weight")
    assert not manifest.looks_complete(tmp_path, written)


def test_a_manifest_with_unknown_fields_is_not_understood(tmp_path: Path) -> None:
    fill(tmp_path, {"a.json": b"{}"})
    text = (tmp_path / manifest.MANIFEST).read_text()
    (tmp_path / manifest.MANIFEST).write_text(text.replace('"recipe"', '"receipt"'))
    assert manifest.read(tmp_path) is None
