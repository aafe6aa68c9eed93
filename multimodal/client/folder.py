"""The files of a folder that are worth sending."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from multimodal.filenames import clean_filename


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalFile:
    """A file of the folder."""

    path: Path
    shown: str
    """Where it lies in the folder, to show."""
    size_bytes: int

    @property
    def name(self) -> str:
        """What the server calls it."""
        return clean_filename(self.path.name)

    def sha256(self) -> str:
        """Hex digest of its bytes. Blocks; raises OSError."""
        with self.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()


def find_files(folder: Path, unreadable: Callable[[str], None]) -> Iterator[LocalFile]:
    """Regular files in the folder and below, in the order of their names.

    Hidden files and folders are left out, and so is what links lead to outside of the folder; links to
    folders are not followed at all. `unreadable` is told of what could not be looked at.
    """
    root = folder.resolve()

    def tell(error: OSError) -> None:
        unreadable(_shown(Path(error.filename), root))

    for parent, folders, names in os.walk(root, onerror=tell):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(parent, name)
            if name.startswith(".") or not _is_inside(path, root):
                continue
            try:
                found = path.stat()
            except OSError as error:
                tell(error)
                continue
            if stat.S_ISREG(found.st_mode):
                yield LocalFile(path=path, shown=_shown(path, root), size_bytes=found.st_size)


def _is_inside(path: Path, root: Path) -> bool:
    return not path.is_symlink() or path.resolve().is_relative_to(root)


def _shown(path: Path, root: Path) -> str:
    """Names that are no text on this system are shown as well as they can be."""
    relative = path.relative_to(root) if path.is_relative_to(root) else path
    return os.fsencode(relative).decode("utf-8", "replace")
