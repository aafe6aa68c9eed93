"""The build of the index in a process of its own: `python -m multimodal.retrieval.edge_build FOLDER PARENT`.

`optimize` holds the interpreter lock for as long as it takes (qdrant-edge-py 0.9: 9 s for 20,000 points of an
idle machine), and everything in its process stands still. So it works on a copy of the points.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import multimodal

COMMAND = (sys.executable, "-P", "-m", "multimodal.retrieval.edge_build")
NICENESS = 15
"""Whoever answers requests comes first."""
_PR_SET_PDEATHSIG = 1
"""Linux, prctl(2): the signal that this process gets when the thread that started it ends."""
_COPY_BYTES = 1 << 24


def start(folder: Path) -> subprocess.Popen[bytes]:
    """Begin to build the index of the points in `folder`, which nobody else may have open. The process ends
    with the thread that called this, and with status 0 when the folder is ready."""
    return subprocess.Popen(
        [*COMMAND, str(folder), str(os.getpid())],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        env={
            "PATH": os.defpath,
            "LANG": "C.UTF-8",
            "PYTHONPATH": str(Path(multimodal.__file__).parents[1]),
            "PYTHONDONTWRITEBYTECODE": "1",
        },
    )


def copy_points(source: Path, target: Path) -> None:
    """Copy a folder of points that nobody writes to. Holes stay holes: logs and vectors are allocated
    ahead."""
    shutil.copytree(source, target, copy_function=_copy_sparse)


def sync(folder: Path) -> None:
    """Have the system write the files of a folder to disk. It does not hold the interpreter, which the
    engine's own flush does; that then has little left to write."""
    for path in _files(folder):
        try:
            descriptor = os.open(path, os.O_RDONLY)
        except FileNotFoundError:  # the engine has just replaced it
            continue
        try:
            os.fdatasync(descriptor)
        finally:
            os.close(descriptor)


def _files(folder: Path) -> Iterator[Path]:
    for root, _, names in os.walk(folder):
        yield from (Path(root) / name for name in names)


def _copy_sparse(source: str, target: str) -> None:
    with open(source, "rb") as reader, open(target, "wb") as writer:
        size = os.fstat(reader.fileno()).st_size
        for start_at, end in _extents(reader.fileno(), size):
            _copy_range(reader.fileno(), writer.fileno(), start_at, end)
        writer.truncate(size)


def _extents(descriptor: int, size: int) -> Iterator[tuple[int, int]]:
    """Stretches of a file that hold data."""
    at = 0
    while at < size:
        try:
            at = os.lseek(descriptor, at, os.SEEK_DATA)
        except OSError:  # ENXIO: nothing but a hole follows
            return
        end = os.lseek(descriptor, at, os.SEEK_HOLE)
        yield at, end
        at = end


def _copy_range(reader: int, writer: int, at: int, end: int) -> None:
    while at < end:
        data = os.pread(reader, min(_COPY_BYTES, end - at), at)
        if not data:
            return
        os.pwrite(writer, data, at)
        at += len(data)


def _main() -> None:
    folder, parent = sys.argv[1], int(sys.argv[2])
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        return
    os.nice(NICENESS)
    import qdrant_edge

    shard = qdrant_edge.EdgeShard.load(folder)
    shard.optimize()
    shard.flush()
    shard.close()


if __name__ == "__main__":
    _main()
