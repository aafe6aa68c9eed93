"""The made-up library on disk, as a server finds it: filled once, indexed once, and kept for the next run.

A folder for each number of segments holds:
- `state`: what MULTIMODAL_STATE names, with `library/index`, and with `library/metadata.db`, which is
  written anew each time
- `twin`: a copy of the index for this process, as the server has the other locked
- `made.json`: how far it is, and what it took. A run that was stopped goes on from there.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field
from sqlalchemy import insert
from sqlalchemy.orm import Session

from benchmarks import made_up
from benchmarks.made_up import MadeFile
from multimodal.config import AppArgs, RetrieverArgs, TextArgs, home
from multimodal.library.records import FileStatus
from multimodal.metadata.database import open_database
from multimodal.metadata.tables import Content, ContentState, File, Tenant
from multimodal.models.refs import resolve
from multimodal.retrieval import opening
from multimodal.retrieval.edge import EdgeStore
from multimodal.retrieval.edge_build import copy_points
from multimodal.retrieval.types import VectorName

BLOCK_BYTES = 512
"""Unit of st_blocks, whatever the file system's own."""
NEVER_S = 1e6
"""The store builds its graph by itself every so often. Here it is built when all is there."""
_SAVE_EVERY = 10
_MICROSECONDS = 1_000_000


class Made(BaseModel):
    """What there is, and what making it took. Seconds are those of this machine."""

    version: int = made_up.VERSION
    points: int
    done: int = 0
    """Segments that are in the store."""
    make_s: float = 0.0
    """To invent them."""
    upsert_s: float = 0.0
    """To store them, by calls with BATCH segments each, and to flush them from time to time."""
    build_s: float = 0.0
    """To build the graph, the copy of the points included."""
    before_bytes: int = 0
    """The index on disk before that; memory for more points is allocated ahead."""
    after_bytes: int = 0
    """And after it."""
    parts_bytes: dict[str, int] = Field(default_factory=dict)
    """The latter by what it is."""
    ready: bool = False


class FlushingStore(EdgeStore):
    """Its background work comes when it is called: the write-ahead log goes, but no graph is built."""

    def flush(self) -> None:
        """Begin a new write-ahead log."""
        self._flush()


class Filled:
    """One such folder."""

    def __init__(self, root: Path, points: int) -> None:
        if points % made_up.BATCH:
            raise ValueError(f"Points come in batches of {made_up.BATCH}.")
        self.folder = root / str(points)
        self.points = points
        self._file = self.folder / "made.json"

    @property
    def state(self) -> Path:
        """For MULTIMODAL_STATE."""
        return self.folder / "state"

    @property
    def twin(self) -> Path:
        """The index, for this process."""
        return self.folder / "twin"

    def made(self) -> Made:
        """How far it is; what another version made is not there."""
        if self._file.exists():
            made = Made.model_validate_json(self._file.read_bytes())
            if made.version == made_up.VERSION:
                return made
        return Made(points=self.points)

    def make(self, report: Callable[[str], None]) -> Made:
        """Do what is not done yet."""
        made = self.made()
        if made.ready:
            return made
        if not made.done:
            shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True, exist_ok=True)
        if not made.after_bytes:
            self._make_index(made, report)
        shutil.rmtree(self.twin, ignore_errors=True)
        copy_points(self.state / opening.INDEX_FOLDER, self.twin)
        made.ready = True
        self._save(made)
        return made

    def _make_index(self, made: Made, report: Callable[[str], None]) -> None:
        args = RetrieverArgs(optimize_s=NEVER_S)
        store = FlushingStore(self.state / opening.INDEX_FOLDER, args, sizes(), models())
        try:
            self._fill(store, made, report)
            made.before_bytes = made.before_bytes or allocated_bytes(self._generation())
            self._save(made)
            report("graph")
            started_s = time.perf_counter()
            store.optimize(force=True)
            made.build_s = time.perf_counter() - started_s
        finally:
            store.close()
        made.after_bytes = allocated_bytes(self._generation())
        made.parts_bytes = bytes_by_part(self._generation())
        self._save(made)

    def _fill(self, store: FlushingStore, made: Made, report: Callable[[str], None]) -> None:
        library = made_up.Library(centres())
        for batch in range(made.done // made_up.BATCH, self.points // made_up.BATCH):
            started_s = time.perf_counter()
            segments = library.segments(batch)
            made_s = time.perf_counter()
            store.upsert(segments)
            made.make_s += made_s - started_s
            made.upsert_s += time.perf_counter() - made_s
            made.done += len(segments)
            if made.done % (_SAVE_EVERY * made_up.BATCH) == 0:
                flushing_s = time.perf_counter()
                store.flush()
                made.upsert_s += time.perf_counter() - flushing_s
                self._save(made)
                report(f"{made.done} of {self.points} segments, {made.done / made.upsert_s:.0f}/s")

    def _generation(self) -> Path:
        (found,) = (self.state / opening.INDEX_FOLDER).glob("generation-*")
        return found

    def _save(self, made: Made) -> None:
        partial = self._file.with_suffix(".new")
        partial.write_text(made.model_dump_json(), encoding="utf-8")
        partial.replace(self._file)


def write_rows(state: Path, points: int) -> None:
    """A new database with the rows of the files: a search only finds what belongs to a file."""
    for file in (state / "library").glob("metadata.db*"):
        file.unlink()
    database = open_database(None, state)
    try:
        with database.write() as session:
            counts: dict[str, int] = {}
            for batch in range(points // made_up.BATCH):
                _insert(session, made_up.files(batch), counts)
            session.execute(insert(Tenant), [_tenant(name, count, points) for name, count in counts.items()])
    finally:
        database.close()


def _insert(session: Session, files: Sequence[MadeFile], counts: dict[str, int]) -> None:
    for file in files:
        counts[file.tenant] = counts.get(file.tenant, 0) + 1
    session.execute(insert(Content), [_content(file) for file in files])
    session.execute(insert(File), [_file(file) for file in files])


def _tenant(name: str, files: int, last: int) -> Mapping[str, object]:
    return {"name": name, "files": files, "bytes": files, "last_us": (last + 2**31) * _MICROSECONDS}


def _content(file: MadeFile) -> Mapping[str, object]:
    return {
        "key": file.id,
        "tenant": file.tenant,
        "sha256": made_up.content_hash(file),
        "size_bytes": 1,
        "state": ContentState.LIVE,
        "since_us": file.created_s * _MICROSECONDS,
    }


def _file(file: MadeFile) -> Mapping[str, object]:
    return {
        "id": file.id,
        "tenant": file.tenant,
        "content_key": file.id,
        "filename": f"{file.number}.bin",
        "purpose": "user_data",
        "media_type": "application/octet-stream",
        "kind": file.kind,
        "user_metadata": file.metadata,
        "created_us": file.created_s * _MICROSECONDS,
        "status": FileStatus.PROCESSED,
        "progress": 1.0,
        "attempts": 1,
        "segments": made_up.FILE_SEGMENTS,
        "duplicates": [],
    }


def sizes() -> dict[VectorName, int]:
    """Dimensions of the embedded profile's vectors."""
    return opening.vector_sizes(AppArgs(), home())


def models() -> dict[VectorName, str]:
    """Unknown: the vectors were drawn, so the index fits whatever models have the same sizes."""
    return {}


@cache
def encoder() -> Callable[[Sequence[str]], NDArray[np.float32]]:
    """The embedded profile's sentence model, in this process. Texts to (n, dimensions), unit length."""
    from multimodal.encoders.text import OpenClipTextEncoder

    args = TextArgs()
    backend = OpenClipTextEncoder(resolve(args.model, home()), args)

    def encode(texts: Sequence[str]) -> NDArray[np.float32]:
        parts = [backend.encode(texts[start : start + 64]) for start in range(0, len(texts), 64)]
        return np.concatenate([one.vectors for part in parts for one in part])

    return encode


def centres() -> NDArray[np.float32]:
    """See `made_up.Library`."""
    return encoder()(made_up.descriptions()[: made_up.CLUSTERS])


def allocated_bytes(folder: Path) -> int:
    """What files take on disk; holes take nothing."""
    return sum(path.stat().st_blocks * BLOCK_BYTES for path in folder.rglob("*") if path.is_file())


def bytes_by_part(folder: Path) -> dict[str, int]:
    """The same by the folder of the engine's segment that a file is in, largest first; `wal`: the log."""
    found: dict[str, int] = {}
    for path in folder.rglob("*"):
        if path.is_file():
            inside = path.relative_to(folder).parts
            name = "wal" if inside[0] == "wal" else inside[2] if len(inside) > 3 else "other"
            found[name] = found.get(name, 0) + path.stat().st_blocks * BLOCK_BYTES
    return dict(sorted(found.items(), key=lambda item: -item[1]))
