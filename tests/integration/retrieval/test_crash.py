"""`kill -9` at any moment: what was acknowledged is there, what was deleted is not, and the index is free."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from multimodal.config import RetrieverArgs
from multimodal.errors import StageUnavailable
from multimodal.retrieval.edge import EdgeStore
from multimodal.retrieval.types import SegmentFilter, VectorName
from tests.integration.retrieval.writer import ARGS
from tests.unit.retrieval.segments import POOL, SIZES, segment_id

ROOT = Path(__file__).parents[3]
IDLE = RetrieverArgs(optimize_s=3600, lock_timeout_s=60)


def start(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.integration.retrieval.writer", *arguments]
    return subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


class Known:
    """What the index must hold, by what the writer said."""

    def __init__(self) -> None:
        self.files: dict[str, int] = {}
        self.doubtful: set[str] = set()
        """Being deleted when the writer was killed."""

    def hear(self, line: str) -> None:
        match line.split():
            case ["stored", file_id, size]:
                self.files[file_id] = int(size)
            case ["deleting", file_id]:
                self.doubtful.add(file_id)
            case ["deleted", file_id]:
                self.doubtful.discard(file_id)
                self.files.pop(file_id, None)

    def check(self, store: EdgeStore) -> None:
        """Then take what the index holds for granted: the last write may or may not be in it."""
        found = set(store.files().get("ann", ()))
        assert self.files.keys() - self.doubtful <= found
        # Of what was not acknowledged, only what was under way can be there.
        assert len(found - self.files.keys()) <= 1
        for file_id in found & self.files.keys() - self.doubtful:
            segments = store.of_file("ann", file_id, with_vectors=True)
            assert len(segments) == self.files[file_id]
            assert all(one.words is not None and one.text for one in segments)
        self.files = {one: len(store.of_file("ann", one, with_vectors=False)) for one in sorted(found)}
        self.doubtful.clear()
        assert store.count("ann", SegmentFilter()) == sum(self.files.values())
        nearest = store.nearest("ann", VectorName.WORDS, POOL[0], SegmentFilter(), 10_000)
        assert len(nearest) == sum(self.files.values())


def run_and_kill(folder: Path, first: int, changes: int, known: Known) -> None:
    writer = start(str(folder), str(first))
    assert writer.stdout is not None
    for _ in range(changes):
        known.hear(writer.stdout.readline())
    writer.kill()
    for line in writer.stdout:
        known.hear(line)
    writer.communicate()


def test_every_acknowledged_change_survives_kill_9(tmp_path: Path) -> None:
    folder, known = tmp_path / "index", Known()
    for round_, changes in enumerate((1, 7, 40, 90, 160, 23)):
        run_and_kill(folder, 1000 * round_, changes, known)
        store = EdgeStore(folder, IDLE, SIZES)
        known.check(store)
        store.close()


def test_a_second_process_waits_for_the_first_and_sees_what_it_wrote(tmp_path: Path) -> None:
    holder = start("hold", str(tmp_path))
    assert holder.stdout is not None
    assert holder.stdout.readline() == "open\n"
    with pytest.raises(StageUnavailable, match="Another process still uses the index"):
        EdgeStore(tmp_path, RetrieverArgs(lock_timeout_s=0.1), SIZES)
    opened: list[EdgeStore] = []
    waiting = threading.Thread(target=lambda: opened.append(EdgeStore(tmp_path, ARGS, SIZES)))
    waiting.start()
    assert not opened
    holder.communicate("close\n")
    waiting.join()
    assert list(opened[0].get("ann", [segment_id(0)], with_vectors=False)) == [segment_id(0)]
    opened[0].close()


def test_the_lock_of_a_process_that_was_killed_is_free(tmp_path: Path) -> None:
    holder = start("hold", str(tmp_path))
    assert holder.stdout is not None
    holder.stdout.readline()
    holder.kill()
    holder.communicate()
    EdgeStore(tmp_path, RetrieverArgs(lock_timeout_s=0), SIZES).close()
