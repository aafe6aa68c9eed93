"""The folder of the index in this process: who may use it, and which points in it count.

It holds:
- `lock`: whoever has it locked owns the rest. The kernel unlocks it when its process ends.
- `index.json`: what the index was made for, and which *generation* is the current one. Replaced in one step.
- `generation-<n>`: points (see `edge_points`), with their write-ahead log.

A crash at any moment leaves the one generation that `index.json` names complete. What else lies there was not
finished, or is not needed any more, and is removed by the next start.
"""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from filelock import FileLock, Timeout

from multimodal.config import RetrieverArgs
from multimodal.errors import ConfigError, StageUnavailable
from multimodal.retrieval.edge_points import EdgePoints
from multimodal.retrieval.points import IndexSchema

STATE_FILE = "index.json"
_PREFIX = "generation-"
_RETRY_AFTER_S = 30


@dataclass(frozen=True, slots=True)
class _State:
    """`index.json`."""

    schema: IndexSchema
    generation: int
    indexed: int
    """Points that there were when the graph was built."""


@dataclass(slots=True)
class _Generation:
    points: EdgePoints
    readers: int = 0


class EdgeFolder:
    """The current generation, for any number of readers, until `close`.

    Raises StageUnavailable where another process still has the folder after `lock_timeout_s`, ConfigError
    where the index was made for something else.
    """

    def __init__(self, folder: Path, args: RetrieverArgs, schema: IndexSchema) -> None:
        self._folder, self._args = folder, args
        self._lock = _locked(folder, args.lock_timeout_s)
        self._turn = threading.Condition()
        """Guards which generation is current, and who reads it."""
        try:
            self._state = self._opened(schema)
            self._current: _Generation | None = _Generation(self.load(self.path))
        except BaseException:
            self._lock.release()
            raise

    @property
    def path(self) -> Path:
        """Of the current generation."""
        return self._path(self._state.generation)

    @property
    def next_path(self) -> Path:
        """Where the next generation is made."""
        return self._path(self._state.generation + 1)

    @property
    def indexed(self) -> int:
        """Points that there were when the graph was built; 0: there is none."""
        return self._state.indexed

    def load(self, path: Path) -> EdgePoints:
        """The points of a generation."""
        return EdgePoints.load(path, self._args, self._state.schema.sizes)

    @contextmanager
    def reading(self) -> Iterator[EdgePoints]:
        """The current points, which stay open meanwhile. Raises StageUnavailable after `close`."""
        with self._turn:
            generation = self._current
            if generation is None:
                raise StageUnavailable.restarting("Retriever")
            generation.readers += 1
        try:
            yield generation.points
        finally:
            with self._turn:
                generation.readers -= 1
                self._turn.notify_all()

    def replace(self, points: EdgePoints) -> None:
        """Make the points in `next_path` the current ones, and remove the others once nobody reads them.
        Nobody may write meanwhile. Where this fails, `path` says whether they are the current ones."""
        indexed = points.total()
        state = _State(self._state.schema, self._state.generation + 1, indexed)
        _save(self._folder / STATE_FILE, state)
        former_path, self._state = self.path, state
        try:
            _sync(self._folder)
        finally:
            self._retire(_Generation(points))
        shutil.rmtree(former_path, ignore_errors=True)  # what is left goes with the next start

    def close(self) -> None:
        """Wait for readers, flush, and let another process have the folder."""
        try:
            self._retire(None)
        finally:
            self._lock.release()

    def _retire(self, successor: _Generation | None) -> None:
        with self._turn:
            former, self._current = self._current, successor
            if former is None:
                return
            self._turn.wait_for(lambda: not former.readers)
        former.points.close()

    def _opened(self, schema: IndexSchema) -> _State:
        file = self._folder / STATE_FILE
        if file.exists():
            state = _read(file)
            schema.check(state.schema)
            self._remove_others(self._path(state.generation))
            return state
        # What lies here was never finished, so nothing in it was ever acknowledged.
        self._remove_others(None)
        state = _State(schema, 1, 0)
        EdgePoints.create(self._path(1), self._args, schema.sizes).close()
        _save(file, state)
        _sync(self._folder)
        return state

    def _remove_others(self, kept: Path | None) -> None:
        for path in self._folder.glob(f"{_PREFIX}*"):
            if path != kept:
                # A builder whose process was killed may live a moment longer, and still write there.
                shutil.rmtree(path, ignore_errors=True)

    def _path(self, generation: int) -> Path:
        return self._folder / f"{_PREFIX}{generation}"


def _locked(folder: Path, timeout_s: float) -> FileLock:
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / "lock", timeout=timeout_s, thread_local=False)
    try:
        lock.acquire()
    except Timeout as error:
        raise StageUnavailable(
            "Another process still uses the index: is a second server running on the same MULTIMODAL_STATE? "
            f"Try again in {_RETRY_AFTER_S} s.",
            retry_after_s=_RETRY_AFTER_S,
        ) from error
    return lock


def _read(file: Path) -> _State:
    try:
        known = cast("Mapping[str, int]", json.loads(file.read_text(encoding="utf-8")))
        return _State(IndexSchema.from_json(known), int(known["generation"]), int(known["indexed"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"{STATE_FILE} in the index cannot be read. Restore it, or move the index away, start again, and "
            "have the files processed again."
        ) from error


def _save(file: Path, state: _State) -> None:
    """Replace the file in one step. A loss of power may undo that until its folder is in sync."""
    known = {**state.schema.as_json(), "generation": state.generation, "indexed": state.indexed}
    written = file.with_suffix(".new")
    with written.open("w", encoding="utf-8") as stream:
        json.dump(known, stream)
        stream.flush()
        os.fsync(stream.fileno())
    written.replace(file)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
