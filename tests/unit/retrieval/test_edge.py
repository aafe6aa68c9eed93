"""The index on disk: what a new start finds, what it refuses, and how a graph comes to be built meanwhile."""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from multimodal.config import RetrieverArgs
from multimodal.errors import ConfigError, StageUnavailable
from multimodal.retrieval import edge_build, edge_folder, qdrant
from multimodal.retrieval.edge import EdgeStore
from multimodal.retrieval.edge_folder import STATE_FILE
from multimodal.retrieval.edge_points import EdgePoints
from multimodal.retrieval.filters import Where
from multimodal.retrieval.types import Segment, SegmentFilter, VectorName
from tests.unit.retrieval.segments import ARGS, POOL, SIZES, segment, segment_id

EVERYTHING = SegmentFilter()
WORDS = VectorName.WORDS
MINILM = {WORDS: "embedded:minilm"}
EAGER = RetrieverArgs(index_from=100, optimize_s=3600, lock_timeout_s=10)


def many(count: int, first: int = 0, file_id: str = "file-a") -> list[Segment]:
    return [segment(n, file_id=file_id, words=POOL[n % 7], text=f"w{n}") for n in range(first, first + count)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "index"


def generations(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("generation-*"))


def test_a_new_start_finds_everything(folder: Path) -> None:
    store = EdgeStore(folder, ARGS, SIZES)
    store.upsert([segment(0, text="fox", words=POOL[0], metadata={"n": 1}), segment(1, file_id="file-b")])
    store.delete_files("ann", ["file-b"])
    store.close()
    again = EdgeStore(folder, ARGS, SIZES)
    assert again.files() == {"ann": ["file-a"]}
    assert again.count("ann", SegmentFilter(equal=(("n", (1,)),))) == 1
    assert again.nearest("ann", WORDS, POOL[0], EVERYTHING, 5) == [(segment_id(0), 1.0)]
    again.close()


def test_an_index_of_other_sizes_models_or_schema_is_refused(folder: Path) -> None:
    EdgeStore(folder, ARGS, {WORDS: 4}, MINILM).close()
    for sizes, models, message in [
        ({WORDS: 5}, MINILM, "words vectors of 4 dimensions"),
        (SIZES, MINILM, "picture vectors of 0 dimensions"),
        ({WORDS: 4}, {WORDS: "embedded:other"}, "another model"),
    ]:
        with pytest.raises(ConfigError, match=message):
            EdgeStore(folder, ARGS, sizes, models)
    state = json.loads((folder / STATE_FILE).read_text())
    (folder / STATE_FILE).write_text(json.dumps({**state, "schema": 7}))
    with pytest.raises(ConfigError, match=r"schema 7.*Move the index away"):
        EdgeStore(folder, ARGS, {WORDS: 4}, MINILM)
    (folder / STATE_FILE).write_text(json.dumps(state))
    EdgeStore(folder, ARGS, {WORDS: 4}, MINILM).close()


def test_an_index_with_further_vectors_can_be_used(folder: Path) -> None:
    EdgeStore(folder, ARGS, SIZES).close()
    store = EdgeStore(folder, ARGS, {WORDS: 4})
    store.upsert([segment(0, words=POOL[0])])
    assert store.nearest("ann", VectorName.PICTURE, POOL[0], EVERYTHING, 5) == []
    store.close()


def test_an_unreadable_state_is_refused_and_nothing_is_removed(folder: Path) -> None:
    EdgeStore(folder, ARGS, SIZES).close()
    (folder / STATE_FILE).write_text("{")
    with pytest.raises(ConfigError, match="cannot be read"):
        EdgeStore(folder, ARGS, SIZES)
    assert generations(folder) == ["generation-1"]


def test_what_a_crash_left_unfinished_is_removed(folder: Path) -> None:
    (folder / "generation-1" / "segments").mkdir(parents=True)
    store = EdgeStore(folder, ARGS, SIZES)
    store.upsert(many(3))
    store.close()
    (folder / "generation-2").mkdir()
    again = EdgeStore(folder, ARGS, SIZES)
    assert generations(folder) == ["generation-1"]
    assert again.count("ann", EVERYTHING) == 3
    again.close()


def test_after_close_every_call_says_so_and_the_index_is_free(folder: Path) -> None:
    store = EdgeStore(folder, ARGS, SIZES)
    store.close()
    store.close()
    for call in (store.check_health, store.files, lambda: store.upsert(many(1))):
        with pytest.raises(StageUnavailable):
            call()
    assert not store.optimize(force=True)
    EdgeStore(folder, ARGS, SIZES).close()


def test_a_graph_is_built_when_enough_has_changed(folder: Path) -> None:
    store = EdgeStore(folder, EAGER, SIZES)
    store.upsert(many(99))
    assert not store.optimize()
    store.upsert(many(101, first=99))
    assert store.optimize()
    assert generations(folder) == ["generation-2"]
    assert not store.optimize()
    assert store.count("ann", EVERYTHING) == 200
    assert len(store.of_file("ann", "file-a", with_vectors=True)) == 200
    store.close()
    again = EdgeStore(folder, EAGER, SIZES)
    assert not again.optimize()
    assert again.count("ann", EVERYTHING) == 200
    again.upsert(many(100, first=200))
    assert again.optimize()
    assert again.count("ann", EVERYTHING) == 300
    again.close()


def test_the_graph_is_built_in_the_background(folder: Path) -> None:
    store = EdgeStore(folder, RetrieverArgs(index_from=10, optimize_s=0.01), SIZES)
    store.upsert(many(50))
    while generations(folder) != ["generation-2"]:
        assert store.count("ann", EVERYTHING) == 50
    store.close()


class HeldBuilder:
    """A builder that waits until it is told to go on."""

    CODE = (
        "import sys\n"
        "open({started!r}, 'w').close()\n"
        "if open({go!r}).read() == 'fail': sys.exit(3)\n"
        "from multimodal.retrieval.edge_build import _main\n"
        "_main()\n"
    )

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._started, self._go = folder / "started", folder / "go"
        for pipe in (self._started, self._go):
            os.mkfifo(pipe)
        script = folder / "builder.py"
        script.write_text(self.CODE.format(started=str(self._started), go=str(self._go)))
        monkeypatch.setattr(edge_build, "COMMAND", (sys.executable, "-P", str(script)))

    def wait_until_started(self) -> None:
        """The copy is made."""
        self._started.open().close()

    def go_on(self, how: str = "") -> None:
        with self._go.open("w") as pipe:
            pipe.write(how)


@pytest.fixture
def builder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> HeldBuilder:
    return HeldBuilder(tmp_path, monkeypatch)


@pytest.fixture
def building(folder: Path, builder: HeldBuilder) -> Iterator[EdgeStore]:
    """A store of 200 segments whose graph is being built."""
    store = EdgeStore(folder, EAGER, SIZES)
    store.upsert(many(200))
    yield store
    store.close()


class Build:
    """optimize() in a thread, and what came of it."""

    def __init__(self, store: EdgeStore) -> None:
        self.built: bool | None = None
        self.error: Exception | None = None
        self._thread = threading.Thread(target=self._run, args=(store,))
        self._thread.start()

    def _run(self, store: EdgeStore) -> None:
        try:
            self.built = store.optimize()
        except RuntimeError as error:
            self.error = error

    def join(self) -> None:
        self._thread.join()


def test_reads_and_writes_go_on_while_the_graph_is_built_and_none_is_lost(
    building: EdgeStore, builder: HeldBuilder, folder: Path
) -> None:
    build = Build(building)
    builder.wait_until_started()
    assert len(building.nearest("ann", WORDS, POOL[0], EVERYTHING, 10)) == 10
    building.upsert(many(700, first=200, file_id="file-b"))
    building.upsert([segment(0, file_id="file-b", text="changed")])
    building.upsert(many(5, first=5000, file_id="file-c"))
    building.delete_files("ann", ["file-a", "file-c"])
    assert building.count("ann", EVERYTHING) == 701
    builder.go_on()
    build.join()
    assert build.built
    assert generations(folder) == ["generation-2"]
    check_changed(building)
    building.close()
    again = EdgeStore(folder, EAGER, SIZES)
    check_changed(again)
    again.close()


def check_changed(store: EdgeStore) -> None:
    assert store.files() == {"ann": ["file-b"]}
    assert store.count("ann", EVERYTHING) == 701
    changed = store.get("ann", [segment_id(0), segment_id(1)], with_vectors=True)
    assert [(one.text, one.words) for one in changed.values()] == [("changed", None)]
    assert len(store.of_file("ann", "file-b", with_vectors=True)) == 701


def test_a_build_that_fails_harms_nothing(building: EdgeStore, builder: HeldBuilder, folder: Path) -> None:
    build = Build(building)
    builder.wait_until_started()
    building.upsert(many(1, first=900))
    builder.go_on("fail")
    build.join()
    assert "status 3" in str(build.error)
    assert generations(folder) == ["generation-1"]
    assert building.count("ann", EVERYTHING) == 201
    building.check_health()


class Broken(Exception):
    """What is injected."""


def fail_on(monkeypatch: pytest.MonkeyPatch, owner: object, name: str, when: Callable[..., bool]) -> None:
    """Let a function fail where its arguments are these, having done its work."""
    original = getattr(owner, name)

    def failing(*args: object) -> object:
        done = original(*args)
        if when(*args):
            raise Broken
        return done

    monkeypatch.setattr(owner, name, failing)


def check_after_failed_build(store: EdgeStore, folder: Path, generation: str) -> None:
    """The generation is in use, now and after another start."""
    store.upsert(many(1, first=900))
    assert store.count("ann", EVERYTHING) == 201
    assert generation in generations(folder)
    store.check_health()
    store.close()
    again = EdgeStore(folder, EAGER, SIZES)
    assert generations(folder) == [generation]
    assert again.count("ann", EVERYTHING) == 201
    again.close()


@pytest.mark.parametrize("fault", ["closing the former points", "syncing the folder"])
def test_a_failure_after_the_switch_keeps_the_new_points(
    folder: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    store = EdgeStore(folder, EAGER, SIZES)
    store.upsert(many(200))
    with monkeypatch.context() as patch:
        if fault == "syncing the folder":
            fail_on(patch, edge_folder, "_sync", lambda path: path == folder)
        else:
            fail_on(patch, EdgePoints, "close", lambda points: True)
        with pytest.raises(Broken):
            store.optimize()
    assert not store.optimize(), "what was built counts"
    check_after_failed_build(store, folder, "generation-2")


def test_a_failure_before_the_switch_keeps_the_former_points(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = EdgeStore(folder, EAGER, SIZES)
    store.upsert(many(200))
    closed: list[EdgePoints] = []

    def note(points: EdgePoints) -> bool:
        closed.append(points)
        return False

    with monkeypatch.context() as patch:
        fail_on(patch, json, "dump", lambda state, stream: True)
        fail_on(patch, EdgePoints, "close", note)
        with pytest.raises(Broken):
            store.optimize()
    assert len(closed) == 1
    assert generations(folder) == ["generation-1"]
    check_after_failed_build(store, folder, "generation-1")


def test_a_failure_to_close_lets_another_process_have_the_index(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = EdgeStore(folder, ARGS, SIZES)
    with monkeypatch.context() as patch:
        fail_on(patch, EdgePoints, "close", lambda points: True)
        with pytest.raises(Broken):
            store.close()
    EdgeStore(folder, ARGS, SIZES).close()


def test_closing_ends_the_build(building: EdgeStore, builder: HeldBuilder, folder: Path) -> None:
    build = Build(building)
    builder.wait_until_started()
    building.upsert(many(1, first=900))
    building.close()
    build.join()
    assert build.built is False
    assert generations(folder) == ["generation-1"]
    again = EdgeStore(folder, EAGER, SIZES)
    assert again.count("ann", EVERYTHING) == 201
    again.close()


def test_a_copy_has_holes_where_the_original_has_them(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    with (source / "log").open("wb") as file:
        file.truncate(1 << 24)
        file.seek(1 << 23)
        file.write(b"x" * 5000)
    (source / "empty").touch()
    edge_build.copy_points(source, tmp_path / "target")
    copied = tmp_path / "target" / "log"
    assert copied.read_bytes() == (source / "log").read_bytes()
    assert copied.stat().st_blocks == (source / "log").stat().st_blocks
    assert (tmp_path / "target" / "empty").read_bytes() == b""


def test_few_that_pass_a_filter_are_all_compared(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []
    nearest = EdgePoints.nearest

    def spied(
        self: EdgePoints,
        name: str,
        vector: list[float],
        which: Where,
        limit: int,
        *,
        exact: bool,
        at_least: float | None,
    ) -> list[tuple[str, float]]:
        asked.append(exact)
        return nearest(self, name, vector, which, limit, exact=exact, at_least=at_least)

    monkeypatch.setattr(EdgePoints, "nearest", spied)
    monkeypatch.setattr(qdrant, "EXACT_UP_TO", 10)
    store = EdgeStore(folder, ARGS, SIZES)
    store.upsert([*many(15), *many(10, first=15, file_id="file-b")])
    for wanted, exact in (
        (EVERYTHING, False),
        (SegmentFilter(file_ids=("file-a",)), False),
        (SegmentFilter(file_ids=("file-b",)), True),
    ):
        asked.clear()
        assert len(store.nearest("ann", WORDS, POOL[0], wanted, 5)) == 5
        assert set(asked) == {exact}
    store.close()
