"""A library is told from others."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from multimodal.config import LibraryArgs
from multimodal.errors import ConfigError
from multimodal.library.identity import library_id


def test_a_library_of_this_machine_keeps_its_id(tmp_path: Path) -> None:
    first = library_id(LibraryArgs(), tmp_path / "one")
    assert library_id(LibraryArgs(), tmp_path / "one") == first
    assert library_id(LibraryArgs(), tmp_path / "two") != first


def test_processes_that_start_together_agree(tmp_path: Path) -> None:
    with ThreadPoolExecutor(16) as pool:
        found = set(pool.map(lambda _: library_id(LibraryArgs(), tmp_path), range(64)))
    assert len(found) == 1
    assert [one.name for one in (tmp_path / "library").iterdir()] == ["id"]


def test_a_database_on_a_server_is_the_same_library_from_everywhere(tmp_path: Path) -> None:
    def of(url: str, state: str) -> str:
        return library_id(LibraryArgs(database_url=url), tmp_path / state)

    one = of("postgresql+psycopg://ann:secret@db:5432/media", "one")
    assert of("postgresql+psycopg://bob:other@db:5432/media", "two") == one
    assert of("postgresql+psycopg://ann:secret@db:5432/others", "one") != one
    with pytest.raises(ConfigError):
        of("no url", "one")
