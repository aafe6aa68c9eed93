"""For tests of the library."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import fsspec  # type: ignore[import-untyped]
import pytest

from multimodal.config import LibraryArgs
from multimodal.library.shelf import StoredLibrary
from tests.postgres import Postgres
from tests.unit.library.stored import ORPHAN_S, Stored


@pytest.fixture(params=["sqlite and a folder", "postgresql and memory"])
def stored(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stored]:
    """An empty library on each of the databases and filesystems."""
    args = LibraryArgs(orphan_s=ORPHAN_S, lease_s=30, attempts=3, tenant_files=50, tenant_bytes=50 * 2**20)
    if request.param == "sqlite and a folder":
        made = Stored(tmp_path, args)
        yield made
        made.close()
        return
    server: Postgres = request.getfixturevalue("postgres")
    folder = f"memory://{uuid4().hex}"
    with server.database() as url:
        made = Stored(tmp_path, args.model_copy(update={"database_url": url, "storage_url": folder}))
        yield made
        made.close()
    memory = fsspec.filesystem("memory")
    if memory.exists(folder):
        memory.rm(folder, recursive=True)


@pytest.fixture
def library(stored: Stored) -> StoredLibrary:
    """As one process has it."""
    return stored.library
