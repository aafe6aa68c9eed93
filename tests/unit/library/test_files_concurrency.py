"""Many at the same time: nothing is kept twice, lost, or given to two."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import pytest

from multimodal.library.records import FileRecord
from multimodal.library.shelf import StoredLibrary
from multimodal.metadata.tables import ContentState
from tests.unit.library.stored import Stored, add, read

T = TypeVar("T")


def together(*calls: Callable[[], T]) -> list[T]:
    """Call all at once, each in a thread of its own."""
    ready = threading.Barrier(len(calls))

    def call_one(call: Callable[[], T]) -> T:
        ready.wait()
        return call()

    with ThreadPoolExecutor(len(calls)) as threads:
        return [one.result() for one in [threads.submit(call_one, call) for call in calls]]


def adding(library: StoredLibrary, data: bytes) -> Callable[[], FileRecord]:
    return lambda: asyncio.run(add(library, data))


def removing(library: StoredLibrary, file: FileRecord) -> Callable[[], None]:
    async def remove() -> None:
        await library.delete(file.tenant, file.id)
        await library.purge(file.tenant, file.id)

    return lambda: asyncio.run(remove())


def claiming(library: StoredLibrary, owner: str) -> Callable[[], list[str]]:
    """All files that this owner gets."""

    async def claim() -> list[str]:
        mine: list[str] = []
        while (file := await library.claim(owner)) is not None:
            mine.append(file.id)
        return mine

    return lambda: asyncio.run(claim())


async def test_the_same_bytes_at_the_same_time_are_kept_once(stored: Stored) -> None:
    processes = [stored.library, stored.open()]
    files = await asyncio.to_thread(
        together, *[adding(processes[number % 2], b"same") for number in range(32)]
    )
    assert len({file.id for file in files}) == 32
    (key,) = {file.content.key for file in files}
    assert stored.objects() == {key}
    rows = stored.rows()
    assert [found for found, state in rows.contents.items() if state is ContentState.LIVE] == [key]
    assert rows.used == {"ann": (32, 32 * len(b"same"))}
    # Each is a duplicate of those before it, so their times follow each other.
    assert sorted(len(file.duplicates) for file in files)[:20] == list(range(20))


async def test_an_upload_that_races_a_deletion_of_the_same_bytes_keeps_them(stored: Stored) -> None:
    processes = [stored.library, stored.open()]
    old = await add(stored.library, b"same")
    for number in range(15):
        calls = [adding(processes[number % 2], b"same"), removing(processes[1 - number % 2], old)]
        new, _ = await asyncio.to_thread(together, *calls)
        assert isinstance(new, FileRecord)
        assert await read(stored.library, new) == b"same"
        assert stored.objects() == {new.content.key}
        old = new
    assert stored.rows().used == {"ann": (1, 4)}


async def test_a_quota_holds_for_many_at_the_same_time(stored: Stored) -> None:
    def try_to_add(data: bytes) -> Callable[[], bool]:
        def call() -> bool:
            try:
                asyncio.run(add(stored.library, data))
            except Exception as error:
                return type(error).__name__ != "QuotaExceeded"
            return True

        return call

    stored.args = stored.args.model_copy(update={"tenant_files": 5})
    assert stored.library
    added = await asyncio.to_thread(together, *[try_to_add(b"%d" % number) for number in range(16)])
    assert sum(added) == 5
    assert len(stored.objects()) == 5
    assert stored.rows().used["ann"][0] == 5


async def test_two_owners_never_have_the_same_file(stored: Stored) -> None:
    files = [await add(stored.library, b"%d" % number) for number in range(20)]
    processes = [stored.library, stored.open()]
    claimed = await asyncio.to_thread(
        together, *[claiming(processes[number % 2], f"owner {number}") for number in range(4)]
    )
    assert sorted(one for some in claimed for one in some) == sorted(file.id for file in files)


async def test_two_deletions_of_a_file_count_once(stored: Stored) -> None:
    def try_to_delete() -> str | None:
        try:
            asyncio.run(stored.library.delete("ann", file.id))
        except Exception as error:
            return type(error).__name__
        return None

    await add(stored.library, b"other")
    file = await add(stored.library, b"1")
    outcomes = await asyncio.to_thread(together, *[try_to_delete] * 8)
    assert sorted(outcomes, key=str) == ["FileUnknown"] * 7 + [None]
    assert stored.rows().used == {"ann": (1, 5)}


async def test_sweeps_at_the_same_time_do_not_disturb_each_other(stored: Stored) -> None:
    kept = await add(stored.library, b"kept")
    for number in range(5):
        upload = stored.library.begin("ann")
        upload.write(b"%d" % number)
    stored.clock.advance(10_000)
    processes = [stored.library, stored.open()]
    sweeps = [lambda one=one: asyncio.run(one.sweep()) for one in processes * 2]
    swept = await asyncio.to_thread(together, *sweeps)
    assert sum(swept) == 5
    assert stored.objects() == {kept.content.key}


async def test_an_abort_waits_for_the_upload_that_is_being_added(
    stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client went away at the last moment: the file is there, whole."""
    upload = stored.library.begin("ann")
    upload.write(b"data")
    put = stored.library.contents.put
    aborted: list[threading.Thread] = []

    def put_while_aborted(*arguments: object) -> None:
        aborted.append(threading.Thread(target=upload.abort))
        aborted[0].start()
        put(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(stored.library.contents, "put", put_while_aborted)
    file = await stored.library.add("ann", upload, filename="a", purpose="p", metadata={})
    aborted[0].join()
    assert await read(stored.library, file) == b"data"
