"""What a finished model folder says of itself: source, recipe, and the checksum of every file."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from multimodal.config import Settings

MANIFEST = "manifest.json"
_CHUNK_BYTES = 1 << 20


class FileRecord(Settings):
    """One file of a model."""

    size_bytes: int
    sha256: str


class Manifest(Settings):
    """Written last, when every other file is complete."""

    name: str
    source: str
    """What was asked for: a pinned requirement or a hub reference."""
    recipe: int
    commit: str | None = None
    """The hub's commit that the revision stood for when it was pulled."""
    files: dict[str, FileRecord]
    """By path inside the folder, with forward slashes."""

    @property
    def size_bytes(self) -> int:
        """Size of all files."""
        return sum(record.size_bytes for record in self.files.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """A file that is not as the manifest says."""

    path: str
    what: str
    """"missing", "changed" or "unexpected"."""


def digest(path: Path, on_bytes: Callable[[int], None] = lambda count: None) -> str:
    """SHA-256 of a file, in hex. `on_bytes` gets the size of each chunk read."""
    hasher = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            hasher.update(chunk)
            on_bytes(len(chunk))
    return hasher.hexdigest()


def folder_files(folder: Path) -> Iterator[tuple[str, Path]]:
    """(path inside the folder, path) of every file but the manifest, in order."""
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder).as_posix()
        if path.is_file() and relative != MANIFEST:
            yield relative, path


def record_files(folder: Path, on_bytes: Callable[[int], None] = lambda count: None) -> dict[str, FileRecord]:
    """Size and checksum of every file in the folder."""
    return {
        relative: FileRecord(size_bytes=path.stat().st_size, sha256=digest(path, on_bytes))
        for relative, path in folder_files(folder)
    }


def write(folder: Path, manifest: Manifest) -> None:
    """Put the manifest into the folder."""
    (folder / MANIFEST).write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")


def read(folder: Path) -> Manifest | None:
    """The folder's manifest; None where there is none or it cannot be understood."""
    try:
        return Manifest.model_validate_json((folder / MANIFEST).read_bytes())
    except (FileNotFoundError, NotADirectoryError, ValidationError):
        return None


def looks_complete(folder: Path, manifest: Manifest) -> bool:
    """Whether every file is there with its size: quick, for every start."""
    return all(
        (folder / path).is_file() and (folder / path).stat().st_size == record.size_bytes
        for path, record in manifest.files.items()
    )


def find_problems(
    folder: Path, manifest: Manifest, on_bytes: Callable[[int], None] = lambda count: None
) -> list[Problem]:
    """Compare every checksum: thorough, reads all bytes. An unexpected file could be loaded by a library."""
    present = dict(folder_files(folder))
    problems = [Problem(path=path, what="missing") for path in manifest.files if path not in present]
    for relative, path in present.items():
        record = manifest.files.get(relative)
        if record is None:
            problems.append(Problem(path=relative, what="unexpected"))
        elif digest(path, on_bytes) != record.sha256:
            problems.append(Problem(path=relative, what="changed"))
    return sorted(problems, key=lambda problem: problem.path)
