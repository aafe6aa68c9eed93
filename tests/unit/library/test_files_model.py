"""Whatever happens in whatever order: no acknowledged file is lost, and nothing is left behind."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections import Counter
from collections.abc import Coroutine
from pathlib import Path
from typing import TypeVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    MultipleResults,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    rule,
)

from multimodal.config import LibraryArgs
from multimodal.library.records import FileRecord
from multimodal.metadata.tables import ContentState
from tests.unit.library.steps import Crash, Steps
from tests.unit.library.stored import ORPHAN_S, Stored, add, read

T = TypeVar("T")

TENANTS = st.sampled_from(["ann", "bob"])
DATA = st.sampled_from([b"one", b"two", b"?"])


class LibraryMachine(RuleBasedStateMachine):
    """A library and what should be in it: the bytes of each file that was acknowledged."""

    files: Bundle[FileRecord] = Bundle("files")
    gone: Bundle[FileRecord] = Bundle("gone")

    @initialize()
    def open(self) -> None:
        self.home = Path(tempfile.mkdtemp())
        self.stored = Stored(self.home, LibraryArgs(orphan_s=ORPHAN_S))
        self.stored.open()
        self.dying = self.stored.open()
        self.loop = asyncio.new_event_loop()
        self.known: dict[str, tuple[FileRecord, bytes]] = {}
        self.deleted: dict[str, FileRecord] = {}
        self.thumbnails: dict[str, bytes] = {}

    def teardown(self) -> None:
        if hasattr(self, "loop"):
            self._nothing_is_left_behind()
            self.run(self.loop.shutdown_default_executor())
            self.loop.close()
            self.stored.close()
            shutil.rmtree(self.home)

    def run(self, work: Coroutine[object, object, T]) -> T:
        return self.loop.run_until_complete(work)

    @rule(target=files, tenant=TENANTS, data=DATA)
    def add(self, tenant: str, data: bytes) -> FileRecord:
        file = self.run(add(self.stored.library, data, tenant=tenant))
        same = [one.id for one, other in self.known.values() if (one.tenant, other) == (tenant, data)]
        assert {one.file_id for one in file.duplicates} == set(same)
        self.known[file.id] = file, data
        return file

    @rule(target=files, tenant=TENANTS, data=DATA, at=st.integers(0, 12))
    def crash_while_adding(
        self, tenant: str, data: bytes, at: int
    ) -> FileRecord | MultipleResults[FileRecord]:
        """Afterwards the file is there, or not: nothing was said."""
        with Steps(self.dying, at):
            try:
                file = self.run(add(self.dying, data, tenant=tenant))
            except Crash:
                return self._adopt(tenant, data)
        self.known[file.id] = file, data
        return file

    @rule(tenant=TENANTS, data=DATA)
    def upload_and_go_away(self, tenant: str, data: bytes) -> None:
        self.stored.library.begin(tenant).write(data)

    @rule(target=gone, file=consumes(files))
    def delete(self, file: FileRecord) -> FileRecord:
        self.run(self.stored.library.delete(file.tenant, file.id))
        del self.known[file.id]
        self.deleted[file.id] = file
        return file

    @rule(file=gone)
    def purge(self, file: FileRecord) -> None:
        self.run(self.stored.library.purge(file.tenant, file.id))
        self.deleted.pop(file.id, None)

    @rule(file=gone, at=st.integers(0, 5))
    def crash_while_purging(self, file: FileRecord, at: int) -> None:
        with Steps(self.dying, at):
            try:
                self.run(self.dying.purge(file.tenant, file.id))
            except Crash:
                if file.id not in self.stored.rows().files:
                    self.deleted.pop(file.id, None)
                return
        self.deleted.pop(file.id, None)

    @rule(file=files)
    def write_a_thumbnail(self, file: FileRecord) -> None:
        self.run(self.stored.library.write_thumbnail(file, 0, file.content.sha256.encode()))
        self.thumbnails[file.content.key] = file.content.sha256.encode()

    @rule(file=gone)
    def write_a_late_thumbnail(self, file: FileRecord) -> None:
        self.run(self.stored.library.write_thumbnail(file, 0, file.content.sha256.encode()))

    @rule(orphans=st.sampled_from([0.4, 2.0]))
    def wait(self, orphans: float) -> None:
        self.stored.clock.advance(orphans * ORPHAN_S)

    @rule()
    def sweep(self) -> None:
        self.run(self.stored.library.sweep())

    @rule(at=st.integers(0, 8))
    def crash_while_sweeping(self, at: int) -> None:
        with Steps(self.dying, at):
            try:
                self.run(self.dying.sweep())
            except Crash:
                return

    @invariant()
    def every_file_is_there(self) -> None:
        if not hasattr(self, "known"):
            return
        for file, data in self.known.values():
            found = self.run(self.stored.library.get(file.tenant, file.id))
            assert found.content == file.content
            assert self.run(read(self.stored.library, found)) == data
            if file.content.key in self.thumbnails:
                jpeg = self.run(self.stored.library.read_thumbnail(found, 0))
                assert jpeg == self.thumbnails[file.content.key]

    @invariant()
    def the_books_are_right(self) -> None:
        if not hasattr(self, "known"):
            return
        rows = self.stored.rows()
        assert rows.files == {**dict.fromkeys(self.known, True), **dict.fromkeys(self.deleted, False)}
        files = Counter(file.tenant for file, _ in self.known.values())
        sizes: Counter[str] = Counter()
        for file, data in self.known.values():
            sizes[file.tenant] += len(data)
        assert {tenant: used for tenant, used in rows.used.items() if used != (0, 0)} == {
            tenant: (files[tenant], sizes[tenant]) for tenant in files
        }
        used = {one.content.key for one in (*self._known_files(), *self.deleted.values())}
        assert {key for key, state in rows.contents.items() if state is ContentState.LIVE} == used

    def _known_files(self) -> list[FileRecord]:
        return [file for file, _ in self.known.values()]

    def _adopt(self, tenant: str, data: bytes) -> MultipleResults[FileRecord]:
        """The file that was added before the crash, if there is one."""
        page = self.run(self.stored.library.list(tenant, limit=1000))
        new = [file for file in page.files if file.id not in self.known]
        self.known.update({file.id: (file, data) for file in new})
        return multiple(*new)

    def _nothing_is_left_behind(self) -> None:
        for _, file_id in self.run(self.stored.library.deleted()):
            self.run(self.stored.library.purge(self.deleted.pop(file_id).tenant, file_id))
        self.run(self.stored.sweep_all())
        used = {file.content.key for file in self._known_files()}
        objects = {key.partition(".d/")[0] for key in self.stored.objects()}
        assert objects == set(self.stored.rows().contents) == used
        self.every_file_is_there()


TestLibraryMachine = LibraryMachine.TestCase
TestLibraryMachine.settings = settings(max_examples=20, stateful_step_count=16)
