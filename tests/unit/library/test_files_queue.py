"""The queue of the Ingestor: claims, leases and what becomes of a file, on both databases."""

from __future__ import annotations

import pytest

from multimodal.errors import FileUnknown, InvalidRequest
from multimodal.library.records import Duplicate, FileRecord, FileStatus
from multimodal.library.shelf import StoredLibrary
from tests.unit.library.stored import Stored, add

LEASE_S = 30
ATTEMPTS = 3


async def claimed(library: StoredLibrary, owner: str = "one") -> FileRecord:
    """The next file, which there is."""
    file = await library.claim(owner)
    assert file is not None
    return file


async def finish(library: StoredLibrary, file: FileRecord, owner: str = "one", segments: int = 1) -> bool:
    return await library.finish(owner, file.id, segments=segments, duration_s=None, pages=None, duplicates=[])


async def test_nothing_waits_in_an_empty_library(library: StoredLibrary) -> None:
    assert await library.claim("one") is None


async def test_the_oldest_file_is_claimed_first_whosever_it_is(stored: Stored) -> None:
    files = []
    for number, tenant in enumerate(("ann", "bob", "ann")):
        files.append(await add(stored.library, b"%d" % number, tenant=tenant))
        stored.clock.advance(1)
    for file in files:
        found = await claimed(stored.library)
        assert (found.id, found.tenant) == (file.id, file.tenant)
        assert (found.status, found.attempts, found.stage) == (FileStatus.PROCESSING, 1, None)
    assert await stored.library.claim("one") is None


async def test_a_claimed_file_shows_how_far_it_is(stored: Stored) -> None:
    await add(stored.library, b"1")
    file = await claimed(stored.library)
    assert await stored.library.report("one", file.id, "encode", 0.25)
    shown = await stored.open().get("ann", file.id)
    assert (shown.status, shown.stage, shown.progress) == (FileStatus.PROCESSING, "encode", 0.25)
    assert await stored.library.report("one", file.id, "store", 7.0)
    assert (await stored.library.get("ann", file.id)).progress == 1.0


async def test_a_lease_that_is_renewed_or_reported_in_holds(stored: Stored) -> None:
    await add(stored.library, b"1")
    file = await claimed(stored.library)
    stored.clock.advance(LEASE_S - 1)
    assert await stored.library.renew("one", file.id)
    stored.clock.advance(LEASE_S - 1)
    assert await stored.library.report("one", file.id, "load", 0.0)
    stored.clock.advance(LEASE_S - 1)
    assert await stored.library.claim("two") is None
    assert await finish(stored.library, file)


async def test_a_file_whose_owner_is_silent_goes_to_another(stored: Stored) -> None:
    await add(stored.library, b"1")
    file = await claimed(stored.library)
    await stored.library.report("one", file.id, "encode", 0.5)
    stored.clock.advance(LEASE_S + 1)
    again = await claimed(stored.library, "two")
    assert (again.id, again.attempts, again.stage, again.progress) == (file.id, 2, None, 0.0)
    assert not await stored.library.renew("one", file.id)
    assert not await stored.library.report("one", file.id, "store", 0.9)
    assert not await finish(stored.library, file)
    assert not await stored.library.fail("one", file.id, "code", "message")
    await stored.library.release("one", file.id, 0)
    assert await finish(stored.library, file, "two")


async def test_an_owner_whose_lease_ran_out_unnoticed_keeps_the_file(stored: Stored) -> None:
    await add(stored.library, b"1")
    file = await claimed(stored.library)
    stored.clock.advance(LEASE_S + 1)
    assert await stored.library.renew("one", file.id)
    assert await stored.library.claim("two") is None


async def test_a_file_that_was_begun_too_often_fails(stored: Stored) -> None:
    await add(stored.library, b"1")
    for attempt in range(1, ATTEMPTS + 1):
        file = await claimed(stored.library)
        assert file.attempts == attempt
        stored.clock.advance(LEASE_S + 1)
    assert await stored.library.claim("one") is None
    failed = await stored.library.get("ann", file.id)
    assert (failed.status, failed.error_code, failed.stage) == (
        FileStatus.ERROR,
        "processing_interrupted",
        None,
    )
    assert failed.error_message is not None
    assert "3 times" in failed.error_message
    assert not await stored.library.renew("one", file.id)


async def test_a_file_that_fails_too_often_does_not_keep_others_waiting(stored: Stored) -> None:
    await add(stored.library, b"1")
    for _ in range(ATTEMPTS):
        await claimed(stored.library)
        stored.clock.advance(LEASE_S + 1)
    other = await add(stored.library, b"2")
    assert (await claimed(stored.library)).id == other.id


async def test_what_was_found_is_kept(library: StoredLibrary) -> None:
    other, _ = await add(library, b"other"), await add(library, b"1")
    await library.fail("one", (await claimed(library)).id, "a", "b")
    file = await claimed(library)
    await library.report("one", file.id, "store", 0.9)
    alike = (
        Duplicate(file_id=other.id, similarity=0.9, exact=False, start_s=1.5),
        Duplicate(file_id=f"file-{0:032x}", similarity=1.0, exact=True),
    )
    assert await library.finish("one", file.id, segments=7, duration_s=2.5, pages=3, duplicates=alike)
    done = await library.get("ann", file.id)
    assert (done.status, done.stage, done.progress) == (FileStatus.PROCESSED, None, 1.0)
    assert (done.segments, done.duration_s, done.pages) == (7, 2.5, 3)
    assert done.duplicates == alike[:1]
    assert not await library.renew("one", file.id)
    assert await library.claim("one") is None


async def test_why_a_file_failed_is_kept_until_it_is_retried(stored: Stored) -> None:
    library = stored.library
    await add(library, b"1")
    for _ in range(2):
        file = await claimed(library)
        stored.clock.advance(LEASE_S + 1)
    file = await claimed(library)
    assert await library.fail("one", file.id, "invalid_media", "Damaged.")
    failed = await library.get("ann", file.id)
    assert (failed.status, failed.error_code, failed.error_message) == (
        FileStatus.ERROR,
        "invalid_media",
        "Damaged.",
    )
    assert await library.claim("one") is None
    retried = await library.retry("ann", file.id)
    assert (retried.status, retried.error_code, retried.error_message) == (FileStatus.UPLOADED, None, None)
    assert (retried.attempts, retried.progress) == (0, 0.0)
    assert (await claimed(library)).attempts == 1


async def test_a_processed_file_can_be_processed_again(library: StoredLibrary) -> None:
    await add(library, b"1")
    await finish(library, await claimed(library), segments=5)
    (file,) = (await library.list("ann", limit=2)).files
    retried = await library.retry("ann", file.id)
    assert (retried.status, retried.segments) == (FileStatus.UPLOADED, 0)
    assert (await claimed(library)).id == retried.id


async def test_a_file_that_is_being_processed_or_unknown_is_not_retried(library: StoredLibrary) -> None:
    await add(library, b"1")
    file = await claimed(library)
    with pytest.raises(InvalidRequest, match="being processed"):
        await library.retry("ann", file.id)
    with pytest.raises(FileUnknown):
        await library.retry("ann", f"file-{0:032x}")
    assert await finish(library, file)


async def test_a_released_file_is_tried_again_later_and_not_counted(stored: Stored) -> None:
    library = stored.library
    await add(library, b"1")
    for _ in range(ATTEMPTS + 2):
        file = await claimed(library)
        assert file.attempts == 1
        await library.report("one", file.id, "encode", 0.5)
        await library.release("one", file.id, 10.0)
        waiting = await library.get("ann", file.id)
        assert (waiting.status, waiting.stage, waiting.progress, waiting.attempts) == (
            FileStatus.UPLOADED,
            None,
            0.0,
            0,
        )
        stored.clock.advance(9)
        assert await library.claim("two") is None
        stored.clock.advance(2)


async def test_files_that_wait_for_a_stage_let_others_pass_but_not_for_ever(stored: Stored) -> None:
    library = stored.library
    first, second = await add(library, b"1"), await add(library, b"2")
    await library.release("one", (await claimed(library)).id, 10.0)
    assert (await claimed(library)).id == second.id
    stored.clock.advance(20)
    third = await add(library, b"3")
    assert [(await claimed(library)).id for _ in range(2)] == [first.id, third.id]


async def test_a_file_that_is_given_back_keeps_its_turn(library: StoredLibrary) -> None:
    first, second = await add(library, b"1"), await add(library, b"2")
    await library.release("one", (await claimed(library)).id, 0.0)
    assert [(await claimed(library)).id for _ in range(2)] == [first.id, second.id]


async def test_a_retry_does_not_wait_for_the_delay(library: StoredLibrary) -> None:
    file = await add(library, b"1")
    await library.release("one", (await claimed(library)).id, 1000.0)
    await library.retry("ann", file.id)
    assert (await claimed(library)).id == file.id


async def test_a_deleted_file_is_nobodys(stored: Stored) -> None:
    library = stored.library
    await add(library, b"1")
    waiting = await add(library, b"2")
    file = await claimed(library)
    await library.delete("ann", file.id)
    stored.clock.advance(1)
    await library.delete("ann", waiting.id)
    assert not await library.renew("one", file.id)
    assert not await library.report("one", file.id, "load", 0.0)
    assert not await finish(library, file)
    assert not await library.fail("one", file.id, "code", "message")
    await library.release("one", file.id, 0.0)
    assert await library.claim("one") is None
    assert list(await library.deleted()) == [("ann", file.id), ("ann", waiting.id)]


async def test_a_twin_has_the_same_bytes_and_was_processed_as_the_same(library: StoredLibrary) -> None:
    first = await add(library, b"same")
    waiting = await add(library, b"same")
    assert await library.twin(waiting) is None
    await finish(library, await claimed(library), segments=4)
    twin = await library.twin(waiting)
    assert twin is not None
    assert (twin.id, twin.segments) == (first.id, 4)
    assert await library.twin(first) is None
    assert await library.twin(await add(library, b"other")) is None
    assert await library.twin(await add(library, b"same", tenant="bob")) is None
    assert await library.twin(await add(library, b"same", filename="a.md")) is None
    await library.delete("ann", first.id)
    assert await library.twin(waiting) is None


async def test_another_process_goes_on_where_one_stopped(stored: Stored) -> None:
    file = await add(stored.library, b"1")
    await claimed(stored.library)
    stored.close()
    stored.clock.advance(LEASE_S + 1)
    assert (await claimed(stored.open(), "two")).id == file.id


async def test_files_that_failed_or_were_deleted_are_not_searchable(stored: Stored) -> None:
    library, files = stored.library, []
    for number in range(5):
        files.append(await add(library, b"%d" % number))
    failed, processed, processing, deleted, waiting = (one.id for one in files)
    await claimed(library)
    assert await library.fail("one", failed, "invalid_media", "Damaged.")
    await finish(library, await claimed(library))
    assert (await claimed(library)).id == processing
    await library.delete("ann", deleted)
    ids = [one.id for one in files]
    assert await library.searchable("ann", ids) == {processed, processing, waiting}
    assert await library.existing("ann", ids) == {failed, processed, processing, waiting}
    assert await library.searchable("bob", ids) == set()


async def test_processed_files_are_listed_and_can_be_processed_again(stored: Stored) -> None:
    library, files = stored.library, []
    for number, tenant in enumerate(("ann", "bob")):
        files.append(await add(library, b"%d" % number, tenant=tenant))
        stored.clock.advance(1)  # only files of one tenant are never of the same time
    waiting = await add(library, b"waiting")
    for segments in (2, 0):
        await finish(library, await claimed(library), segments=segments)
    assert await library.processed() == {"ann": [files[0].id]}
    await library.requeue("bob", [files[0].id, waiting.id])
    assert (await library.get("ann", files[0].id)).status is FileStatus.PROCESSED
    await library.requeue("ann", [files[0].id, waiting.id, "file-0"])
    again = await library.get("ann", files[0].id)
    assert (again.status, again.segments, again.attempts) == (FileStatus.UPLOADED, 0, 0)
    assert (await claimed(library)).id == files[0].id
