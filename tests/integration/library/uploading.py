"""A process that uploads and deletes files until it is killed.

    python -m tests.integration.library.uploading HOME SEED LINE

Says what it was told before it goes on: `added ID SHA256`, and `deleting ID` before it begins to. With a LINE
other than 0 it kills itself before it executes that line of the library's code, counted from the first
upload on.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import signal
import sys
import threading
from itertools import count
from pathlib import Path
from types import FrameType

import multimodal
from multimodal.config import AppArgs
from multimodal.library.records import FileRecord
from multimodal.library.shelf import StoredLibrary, open_library

CODE = tuple(str(Path(multimodal.__file__).parent / name) for name in ("storage.py", "library", "metadata"))


def say(*words: str) -> None:
    """At once, and whole: what a pipe has taken survives this process."""
    os.write(1, (" ".join(words) + "\n").encode())


def die_at(line: int) -> None:
    """Of the threads that begin from now on."""
    lines = count(1)

    def trace(frame: FrameType, event: str, argument: object) -> object:
        if not frame.f_code.co_filename.startswith(CODE):
            return None
        if event == "line" and next(lines) == line:
            os.kill(os.getpid(), signal.SIGKILL)
        return trace

    threading.settrace(trace)  # type: ignore[arg-type]


async def upload(library: StoredLibrary, data: bytes) -> FileRecord:
    upload = await asyncio.to_thread(library.begin, "ann")
    await asyncio.to_thread(upload.write, data)
    file = await library.add("ann", upload, filename="a.txt", purpose="p", metadata={})
    say("added", file.id, hashlib.sha256(data).hexdigest())
    return file


async def delete(library: StoredLibrary, file: FileRecord) -> None:
    say("deleting", file.id)
    await library.delete("ann", file.id)
    await library.purge("ann", file.id)


async def main(home: Path, chance: random.Random, line: int) -> None:
    library = open_library(AppArgs(), home)
    if line:
        die_at(line)
    files: list[FileRecord] = []
    while True:
        for _ in range(3):
            data = b"content %d " % chance.randrange(5) * chance.choice([1, 50_000])
            files.append(await upload(library, data))
            await library.write_thumbnail(files[-1], 0, b"jpeg")
        await delete(library, files.pop(chance.randrange(len(files))))
        await library.sweep()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), random.Random(int(sys.argv[2])), int(sys.argv[3])))
