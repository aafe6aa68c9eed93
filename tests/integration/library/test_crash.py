"""Processes that are killed: every file that was acknowledged is there, and nothing is left over."""

from __future__ import annotations

import hashlib
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from multimodal.config import LibraryArgs
from multimodal.errors import FileUnknown
from multimodal.metadata.tables import ContentState
from tests.unit.library.stored import ORPHAN_S, Stored, add, read


@dataclass
class Told:
    """What processes were told before they died."""

    added: dict[str, str] = field(default_factory=dict)
    """SHA-256 by file id."""
    deleting: set[str] = field(default_factory=set)

    def hear(self, line: str) -> None:
        match line.split():
            case ["added", file_id, sha256]:
                self.added[file_id] = sha256
            case ["deleting", file_id]:
                self.deleting.add(file_id)


@contextmanager
def uploading(home: Path, seed: int, line: int = 0) -> Iterator[subprocess.Popen[str]]:
    """A process that works on the library of this folder."""
    command = [sys.executable, "-m", "tests.integration.library.uploading", str(home), str(seed), str(line)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def rest(process: subprocess.Popen[str]) -> Sequence[str]:
    """All that it still says, until it is dead."""
    assert process.stdout is not None
    return process.stdout.readlines()


@pytest.fixture
def stored(tmp_path: Path) -> Iterator[Stored]:
    made = Stored(tmp_path, LibraryArgs(orphan_s=ORPHAN_S))
    yield made
    made.close()


async def check(stored: Stored, told: Told) -> None:
    """Every acknowledged file is whole, and after the sweep there are no other bytes, nor rows."""
    library = stored.library
    for file_id, sha256 in told.added.items():
        try:
            file = await library.get("ann", file_id)
        except FileUnknown:
            assert file_id in told.deleting
            continue
        assert hashlib.sha256(await read(library, file)).hexdigest() == sha256
    for tenant, file_id in await library.deleted():
        await library.purge(tenant, file_id)
    await stored.sweep_all()
    files = (await library.list("ann", limit=10_000)).files
    kept = {file.content.key for file in files}
    assert {key.partition(".d/")[0] for key in stored.objects()} == kept
    assert stored.rows().contents == dict.fromkeys(kept, ContentState.LIVE)
    assert stored.rows().used.get("ann", (0, 0))[0] == len(files)
    assert await read(library, await add(library, b"life goes on")) == b"life goes on"


@pytest.mark.parametrize("line", [40, 90, 150, 333, 512, 777, 1201, 1666, 2500, 3201])
async def test_a_process_that_is_killed_between_any_two_lines(stored: Stored, line: int) -> None:
    told = Told()
    with uploading(stored.home, line, line) as process:
        for said in rest(process):
            told.hear(said)
    assert process.returncode == -signal.SIGKILL
    await check(stored, told)


async def test_processes_that_are_killed_at_any_moment_again_and_again(stored: Stored) -> None:
    """Two at a time work on one library, and both die in the middle of something."""
    told = Told()
    for count in (3, 8):
        with uploading(stored.home, count) as one, uploading(stored.home, count + 1) as other:
            assert one.stdout is not None
            for _ in range(count):
                told.hear(one.stdout.readline())
            for process in (one, other):
                process.kill()
            for said in (*rest(one), *rest(other)):
                told.hear(said)
    assert len(told.added) >= 8
    await check(stored, told)
