"""A process that changes an index until it is killed, and prints each change once it was acknowledged.

`python -m tests.integration.retrieval.writer FOLDER FIRST`; `hold FOLDER` opens it and waits for a line.
"""

from __future__ import annotations

import os
import random
import sys
from itertools import count
from pathlib import Path

from multimodal.config import RetrieverArgs
from multimodal.retrieval.edge import EdgeStore
from tests.unit.retrieval.segments import POOL, SIZES, segment

ARGS = RetrieverArgs(index_from=50, optimize_s=0.01, lock_timeout_s=60)
"""Graphs are built all the time."""


def say(*words: object) -> None:
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


def change(folder: Path, first: int) -> None:
    store = EdgeStore(folder, ARGS, SIZES)
    choose = random.Random(first)
    for number in count(first):
        size = choose.choice((1, 2, 30))
        file_id = f"file-{number}"
        store.upsert(
            [
                segment(1000 * number + n, file_id=file_id, words=POOL[n % 7], text=f"of {number}")
                for n in range(size)
            ]
        )
        say("stored", file_id, size)
        if choose.random() < 0.3:
            gone = f"file-{choose.randrange(first, number + 1)}"
            say("deleting", gone)
            store.delete_files("ann", [gone])
            say("deleted", gone)


def hold(folder: Path) -> None:
    store = EdgeStore(folder, ARGS, SIZES)
    store.upsert([segment(0)])
    say("open")
    sys.stdin.readline()
    store.close()


if __name__ == "__main__":
    if sys.argv[1] == "hold":
        hold(Path(sys.argv[2]))
    else:
        change(Path(sys.argv[1]), int(sys.argv[2]))
