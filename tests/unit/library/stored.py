"""A real library in a folder of its own, with a clock that tests move."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import select

from multimodal.config import AppArgs, LibraryArgs
from multimodal.errors import MultimodalError
from multimodal.library.records import FileRecord
from multimodal.library.shelf import StoredLibrary, open_library
from multimodal.metadata.database import Database, open_database
from multimodal.metadata.tables import Content, ContentState, File, Tenant
from multimodal.retrieval.types import Scalar
from multimodal.types import MediaKind

ORPHAN_S = 3600.0


def recognise(head: bytes, filename: str) -> tuple[MediaKind | None, str]:
    """As `multimodal.media.sniff` does, by the first byte alone."""
    if head.startswith(b"?"):
        return None, "application/octet-stream"
    return MediaKind.DOCUMENT, "text/markdown" if filename.endswith(".md") else "text/plain"


@dataclass
class Clock:
    """Stands still until it is moved."""

    now_s: float = field(default_factory=time.time)

    def __call__(self) -> float:
        return self.now_s

    def advance(self, seconds: float) -> None:
        self.now_s += seconds


@dataclass
class Stored:
    """One library: `library` is as one process has it, `open` as another one would."""

    home: Path
    args: LibraryArgs
    clock: Clock = field(default_factory=Clock)
    opened: list[StoredLibrary] = field(default_factory=list)
    beside: Database | None = None

    @property
    def library(self) -> StoredLibrary:
        return self.opened[0] if self.opened else self.open()

    def open(self) -> StoredLibrary:
        args = AppArgs(library=self.args)
        self.opened.append(open_library(args, self.home, now=self.clock, recognise=recognise))
        return self.opened[-1]

    def close(self) -> None:
        for library in self.opened:
            library.close()
        self.opened.clear()
        if self.beside is not None:
            self.beside.close()
            self.beside = None

    async def sweep_all(self) -> int:
        """Let everything grow old, and sweep it; rows of what was doomed go the second time."""
        swept = 0
        for _ in range(2):
            self.clock.advance(ORPHAN_S * 2)
            swept += await self.library.sweep()
        return swept

    def objects(self) -> set[str]:
        """Keys of all that is in the content store."""
        return {key for key, _ in self.library.contents.written()}

    def rows(self) -> Rows:
        """What the database has, read beside the library."""
        if self.beside is None:
            self.beside = open_database(self.args.database_url, self.home)
        return _rows(self.beside)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """Rows that matter when nothing may be lost or left behind."""

    contents: Mapping[str, ContentState]
    """By key."""
    files: Mapping[str, bool]
    """By id: whether it exists, deleted ones not purged being the others."""
    used: Mapping[str, tuple[int, int]]
    """By tenant: files and bytes, as they are counted."""


def _rows(database: Database) -> Rows:
    with database.read() as session:
        return Rows(
            contents={one.key: ContentState(one.state) for one in session.scalars(select(Content))},
            files={one.id: one.deleted_us is None for one in session.scalars(select(File))},
            used={one.name: (one.files, one.bytes) for one in session.scalars(select(Tenant))},
        )


async def add(
    library: StoredLibrary,
    data: bytes,
    *,
    tenant: str = "ann",
    filename: str = "notes.txt",
    purpose: str = "user_data",
    metadata: Mapping[str, Scalar] | None = None,
) -> FileRecord:
    """Upload a file, as the API does."""
    upload = library.begin(tenant)
    upload.write(data)
    try:
        return await library.add(tenant, upload, filename=filename, purpose=purpose, metadata=metadata or {})
    except MultimodalError:
        upload.abort()
        raise


async def read(library: StoredLibrary, record: FileRecord, start: int = 0, end: int | None = None) -> bytes:
    """All pieces together."""
    return b"".join([piece async for piece in library.read(record, start, end)])
