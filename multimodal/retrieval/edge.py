"""The index in this process, on disk: Qdrant's engine under an exclusive lock.

The engine's `optimize`, which builds HNSW graphs, would stop everything in this process for as long as it
takes. So another process does that on a copy (`edge_build`). Searches go on all the time. Writes wait while
the copy is made, and go on while the graph is built; what they change meanwhile is then brought up to date in
the copy, which becomes the current generation (`edge_folder`). Meanwhile the index takes twice its space.
"""

from __future__ import annotations

import logging
import shutil
import subprocess
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from multimodal.config import RetrieverArgs
from multimodal.errors import StageUnavailable
from multimodal.retrieval import edge_build
from multimodal.retrieval.counted import CountedSegments
from multimodal.retrieval.counts import Counts
from multimodal.retrieval.edge_folder import EdgeFolder
from multimodal.retrieval.edge_points import EdgePoints
from multimodal.retrieval.filters import Where
from multimodal.retrieval.points import IndexSchema, PointData
from multimodal.retrieval.qdrant import WRITE_BATCH, batches
from multimodal.retrieval.types import VectorName

REBUILD_SHARE = 0.2
"""Share of the points that must have changed for a build. Each build goes over all points: so the work for n
points that come one by one stays a few times that for n points at once. New points are compared one by one
until then, 0.15 ms for each thousand."""
_LAST_ROUND = 500
"""Changed points that are brought up to date while writes wait: about 0.1 s."""
_ROUNDS = 20
"""Where writes come faster than they can be brought up to date, they have to wait in the end."""
_LONGEST_WAIT_S = 3600.0
"""Between two tries of what keeps failing."""

_log = logging.getLogger(__name__)


class EdgeStore(CountedSegments):
    """Implements SegmentStore.

    Args:
        folder: made where it does not exist.
        args: of Retriever.
        sizes: dimensions of the named vectors there are.
        models: which models make them, to notice when they are others; optional.

    Raises:
        StageUnavailable: another process still has the index after `lock_timeout_s`; from methods: closed.
        ConfigError: the index is of another schema or other models.
    """

    def __init__(
        self,
        folder: Path,
        args: RetrieverArgs,
        sizes: Mapping[VectorName, int],
        models: Mapping[VectorName, str] | None = None,
    ) -> None:
        super().__init__(sizes, Counts())
        self._args = args
        self._folder = EdgeFolder(folder, args, IndexSchema(sizes=sizes, models=models or {}))
        self._write, self._building, self._starting = (threading.Lock() for _ in range(3))
        self._process: subprocess.Popen[bytes] | None = None
        self._journal: set[str] | None = None
        """While a graph is built: ids of the points that changed since the copy was made."""
        with self._folder.reading() as points:
            self._pending = abs(points.total() - self._folder.indexed)
        """Points that changed since the graph was built."""
        self._unflushed = True
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._keep_up, name="index-builder", daemon=True)
        self._thread.start()

    def check_health(self) -> None:
        """Raises StageUnavailable where the store was closed, or its background work has died."""
        with self._reading() as points:
            points.total()
        if not self._thread.is_alive():
            raise StageUnavailable.restarting("Retriever")

    def close(self) -> None:
        """Flush, and let another process have the index. Waits for calls that are under way."""
        self._closing.set()
        with self._starting:
            if self._process is not None:
                self._process.kill()
        self._thread.join()
        with self._building, self._write:
            self._folder.close()

    def optimize(self, *, force: bool = False) -> bool:
        """Build the graph, where enough has changed or it is forced. Returns when it is in use, and whether
        it was built; other calls go on meanwhile."""
        with self._building:
            if self._closing.is_set() or not (force or self._due()):
                return False
            target = self._folder.next_path
            try:
                built = self._build(target)
            finally:
                self._journal = None
                if target != self._folder.path:
                    shutil.rmtree(target, ignore_errors=True)
            return built

    @contextmanager
    def _reading(self) -> Iterator[EdgePoints]:
        with self._folder.reading() as points:
            yield points

    @contextmanager
    def _writing(self) -> Iterator[_Recorder]:
        with self._write, self._folder.reading() as points:
            yield _Recorder(points, self._note)

    def _note(self, ids: Collection[str]) -> None:
        self._pending += len(ids)
        self._unflushed = True
        if self._journal is not None:
            self._journal.update(ids)

    def _due(self) -> bool:
        return self._pending >= max(self._args.index_from, REBUILD_SHARE * self._folder.indexed)

    def _build(self, target: Path) -> bool:
        copied = self._copy(target)
        if not self._optimized(target):
            return False
        built = self._folder.load(target)
        try:
            self._bring_up_to_date(built)
            edge_build.sync(target)
            built.flush()
            with self._write:
                self._copy_again(self._take_journal(), built)
                built.flush()
                self._replace(built, target, copied)
        except BaseException:
            if self._folder.path != target:
                built.close()
            raise
        return True

    def _replace(self, built: EdgePoints, target: Path, copied: int) -> None:
        try:
            self._folder.replace(built)
        finally:
            # It may fail after the switch, too.
            if self._folder.path == target:
                self._pending -= copied

    def _copy(self, target: Path) -> int:
        """Copy the points, and begin the journal. How many changes the copy has that the graph has not."""
        source = self._folder.path
        shutil.rmtree(target, ignore_errors=True)
        edge_build.sync(source)
        with self._write, self._folder.reading() as points:
            points.flush()
            edge_build.copy_points(source, target)
            self._journal = set()
            return self._pending

    def _optimized(self, target: Path) -> bool:
        with self._starting:
            if self._closing.is_set():
                return False
            self._process = edge_build.start(target)
        status = self._process.wait()
        if status and not self._closing.is_set():
            raise RuntimeError(f"the process that builds the index ended with status {status}")
        return status == 0

    def _bring_up_to_date(self, built: EdgePoints) -> None:
        for _ in range(_ROUNDS):
            with self._write:
                if len(self._journal or ()) <= _LAST_ROUND:
                    return
                changed = self._take_journal()
            self._copy_again(changed, built)

    def _take_journal(self) -> set[str]:
        """What changed so far; the next changes go into a new journal. Nobody may write meanwhile."""
        changed, self._journal = self._journal or set(), set()
        return changed

    def _copy_again(self, ids: Collection[str], built: EdgePoints) -> None:
        """Make these points in the copy what they are now."""
        for batch in batches(sorted(ids), WRITE_BATCH):
            with self._folder.reading() as points:
                there = points.raw(batch)
            built.put_raw(there)
            built.drop_ids(sorted(set(batch) - {str(point.id) for point in there}))

    def _flush(self) -> None:
        """Begin a new write-ahead log from time to time: a start reads it, and it does not survive a loss of
        power."""
        if self._unflushed:
            self._unflushed = False
            with self._folder.reading() as points:
                edge_build.sync(self._folder.path)
                points.flush()

    def _keep_up(self) -> None:
        wait_s = self._args.optimize_s
        while not self._closing.wait(wait_s):
            try:
                self._flush()
                self.optimize()
                wait_s = self._args.optimize_s
            except Exception:  # the engine's own errors have no type; nothing is lost, and it is tried again
                _log.exception("the graph of the index could not be built")
                wait_s = min(2 * wait_s, _LONGEST_WAIT_S)


class _Recorder:
    """Implements PointWriter, and says which points change."""

    def __init__(self, points: EdgePoints, note: Callable[[Collection[str]], None]) -> None:
        self._points, self._note = points, note

    def put(self, batch: Sequence[PointData]) -> None:
        """See PointWriter."""
        try:
            self._points.put(batch)
        finally:
            self._note([point.id for point in batch])

    def drop(self, which: Where) -> None:
        """See PointWriter."""
        ids = self._points.ids(which)
        try:
            self._points.drop_ids(ids)
        finally:
            self._note(ids)
