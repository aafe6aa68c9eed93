"""Uploaded files: added, listed, read, deleted and purged, on two databases and two filesystems."""

from __future__ import annotations

import asyncio
import hashlib
import os

import pytest

from multimodal.errors import FileUnknown, InvalidMedia, QuotaExceeded, StageUnavailable
from multimodal.library.records import Duplicate, FileRecord, FileStatus
from multimodal.library.shelf import StoredLibrary
from multimodal.library.similar import MOST_DUPLICATES
from multimodal.metadata.tables import ContentState
from multimodal.retrieval.types import Scalar
from multimodal.storage import PIECE_BYTES
from multimodal.types import MediaKind
from tests.unit.library.stored import ORPHAN_S, Stored, add, read

UNKNOWN = f"file-{0:032x}"


def ids(files: tuple[FileRecord, ...]) -> list[str]:
    return [file.id for file in files]


async def remove(library: StoredLibrary, file: FileRecord) -> None:
    """Delete a file to the end."""
    await library.delete(file.tenant, file.id)
    await library.purge(file.tenant, file.id)


# --- adding ------------------------------------------------------------------------------------


async def test_a_file_that_was_added_is_there_for_every_process(stored: Stored) -> None:
    metadata: dict[str, Scalar] = {"name": "naïve \0 \U0001f600", "count": 3, "share": 0.5, "flag": True}
    added = await add(stored.library, b"some bytes", filename="a.md", purpose="vision", metadata=metadata)
    assert added.id.startswith("file-")
    assert len(added.id) == 37
    assert added == await stored.open().get("ann", added.id)
    assert (added.tenant, added.filename, added.purpose) == ("ann", "a.md", "vision")
    assert (added.kind, added.media_type) == (MediaKind.DOCUMENT, "text/markdown")
    assert added.metadata == metadata
    assert [type(value) for value in added.metadata.values()] == [str, int, float, bool]
    assert added.content.sha256 == hashlib.sha256(b"some bytes").hexdigest()
    assert added.content.size_bytes == 10
    assert added.created_s == int(stored.clock())
    assert (added.status, added.progress, added.attempts, added.duplicates) == (
        FileStatus.UPLOADED,
        0.0,
        0,
        (),
    )


async def test_what_cannot_be_searched_needs_no_processing(library: StoredLibrary) -> None:
    added = await add(library, b"?")
    assert (added.kind, added.status, added.segments) == (None, FileStatus.PROCESSED, 0)
    assert await library.claim("one") is None
    assert await library.retry("ann", added.id) == added


async def test_a_file_is_recognised_by_its_first_bytes_and_its_name(stored: Stored) -> None:
    seen: list[tuple[int, str]] = []

    def recognise(head: bytes, filename: str) -> tuple[MediaKind | None, str]:
        seen.append((len(head), filename))
        return MediaKind.VIDEO, "video/mp4"

    library = stored.open()
    library._recognise = recognise
    upload = library.begin("ann")
    for _ in range(3):
        upload.write(b"x" * 50_000)
    added = await library.add("ann", upload, filename="a.mp4", purpose="p", metadata={})
    assert seen == [(64 * 1024, "a.mp4")]
    assert (added.kind, added.media_type) == (MediaKind.VIDEO, "video/mp4")


async def test_an_empty_file_is_refused_and_leaves_nothing(stored: Stored) -> None:
    upload = stored.library.begin("ann")
    with pytest.raises(InvalidMedia) as raised:
        await stored.library.add("ann", upload, filename="a", purpose="p", metadata={})
    assert raised.value.param == "file"
    upload.abort()
    assert not stored.objects()


async def test_the_same_bytes_are_kept_once_for_a_tenant(stored: Stored) -> None:
    first, second, third = [await add(stored.library, b"same") for _ in range(3)]
    assert len({first.id, second.id, third.id}) == 3
    assert first.content == second.content == third.content
    assert stored.objects() == {first.content.key}
    assert first.duplicates == ()
    assert second.duplicates == (Duplicate(file_id=first.id, similarity=1.0, exact=True),)
    assert [one.file_id for one in third.duplicates] == [first.id, second.id]


async def test_the_same_bytes_are_kept_for_each_tenant_apart(stored: Stored) -> None:
    mine = await add(stored.library, b"same")
    theirs = await add(stored.library, b"same", tenant="bob")
    assert theirs.duplicates == ()
    assert theirs.content.key != mine.content.key
    await remove(stored.library, mine)
    assert await read(stored.library, theirs) == b"same"


async def test_few_of_many_files_of_the_same_bytes_are_named(library: StoredLibrary) -> None:
    files = [await add(library, b"same") for _ in range(MOST_DUPLICATES + 2)]
    assert [one.file_id for one in files[-1].duplicates] == [one.id for one in files[:MOST_DUPLICATES]]


async def test_duplicates_that_were_deleted_are_not_named_any_more(library: StoredLibrary) -> None:
    first, second, third = [await add(library, b"same") for _ in range(3)]
    await library.delete("ann", first.id)
    assert (await library.get("ann", second.id)).duplicates == ()
    (left,) = (await library.get("ann", third.id)).duplicates
    assert left.file_id == second.id


async def test_an_upload_that_is_aborted_leaves_nothing(stored: Stored) -> None:
    upload = stored.library.begin("ann")
    upload.write(b"some")
    upload.abort()
    upload.abort()
    assert not stored.objects()
    with pytest.raises(RuntimeError):
        upload.write(b"more")
    with pytest.raises(RuntimeError):
        await stored.library.add("ann", upload, filename="a", purpose="p", metadata={})


async def test_aborting_what_was_added_does_nothing(stored: Stored) -> None:
    upload = stored.library.begin("ann")
    upload.write(b"some")
    added = await stored.library.add("ann", upload, filename="a", purpose="p", metadata={})
    upload.abort()
    assert await read(stored.library, added) == b"some"


async def test_an_upload_belongs_to_its_tenant(library: StoredLibrary) -> None:
    upload = library.begin("ann")
    upload.write(b"some")
    with pytest.raises(TypeError):
        await library.add("bob", upload, filename="a", purpose="p", metadata={})
    upload.abort()


# --- quotas ------------------------------------------------------------------------------------


async def test_a_tenant_may_have_so_many_files(stored: Stored) -> None:
    stored.args = stored.args.model_copy(update={"tenant_files": 2})
    library = stored.open()
    first, _ = [await add(library, b"same") for _ in range(2)]
    for data in (b"same", b"other"):
        with pytest.raises(QuotaExceeded, match="tenant_files") as raised:
            await add(library, data)
        assert raised.value.param == "file"
    await add(library, b"same", tenant="bob")
    await library.delete("ann", first.id)
    await add(library, b"other")


async def test_a_tenant_may_have_so_many_bytes(stored: Stored) -> None:
    stored.args = stored.args.model_copy(update={"tenant_bytes": 10})
    library = stored.open()
    first = await add(library, b"12345")
    await add(library, b"12345")
    for data in (b"1", b"12345"):
        with pytest.raises(QuotaExceeded, match="tenant_bytes"):
            await add(library, data)
    await add(library, b"12345", tenant="bob")
    await library.delete("ann", first.id)
    await add(library, b"abcde")
    assert stored.rows().used == {"ann": (2, 10), "bob": (1, 5)}


async def test_what_is_over_the_quota_leaves_nothing(stored: Stored) -> None:
    stored.args = stored.args.model_copy(update={"tenant_bytes": 10})
    library = stored.open()
    upload = library.begin("ann")
    upload.write(b"x" * 11)
    with pytest.raises(QuotaExceeded):
        await library.add("ann", upload, filename="a", purpose="p", metadata={})
    upload.abort()
    assert not stored.objects()
    assert not stored.rows().files


# --- looking -----------------------------------------------------------------------------------


async def test_files_of_other_tenants_do_not_exist(library: StoredLibrary) -> None:
    mine = await add(library, b"mine")
    for call in (library.get, library.delete, library.retry):
        with pytest.raises(FileUnknown):
            await call("bob", mine.id)
    await library.purge("bob", mine.id)
    assert await library.get_all("bob", [mine.id]) == {}
    assert await library.existing("bob", [mine.id]) == set()
    assert (await library.list("bob", limit=10)).files == ()
    with pytest.raises(FileUnknown):
        await library.list("bob", limit=10, after=mine.id)
    assert await library.get("ann", mine.id) == mine


async def test_several_files_by_id_and_those_that_exist(library: StoredLibrary) -> None:
    one, other = await add(library, b"1"), await add(library, b"2")
    asked = [other.id, UNKNOWN, one.id, one.id]
    assert await library.get_all("ann", asked) == {one.id: one, other.id: other}
    assert await library.existing("ann", asked) == {one.id, other.id}
    assert await library.get_all("ann", []) == {}
    assert await library.existing("ann", []) == set()


async def test_more_ids_can_be_asked_for_than_fit_into_a_statement(library: StoredLibrary) -> None:
    one = await add(library, b"1")
    many = [f"file-{number:032x}" for number in range(2000)] + [one.id]
    assert await library.existing("ann", many) == {one.id}
    assert list(await library.get_all("ann", many)) == [one.id]


async def test_files_are_listed_by_their_time_even_in_one_second(stored: Stored) -> None:
    files = [await add(stored.library, b"%d" % number) for number in range(5)]
    stored.clock.advance(-100)  # the clock of another machine
    files.append(await add(stored.library, b"late"))
    oldest = [file.id for file in files]
    assert ids((await stored.library.list("ann", limit=10, ascending=True)).files) == oldest
    assert ids((await stored.library.list("ann", limit=10)).files) == oldest[::-1]


@pytest.mark.parametrize("ascending", [True, False])
async def test_pages_follow_each_other(library: StoredLibrary, ascending: bool) -> None:
    files = [await add(library, b"%d" % number) for number in range(5)]
    listed: list[str] = []
    more, after = True, None
    while more:
        page = await library.list("ann", limit=2, ascending=ascending, after=after)
        assert len(page.files) <= 2
        listed += ids(page.files)
        more, after = page.more, listed[-1]
    assert listed == [file.id for file in files][:: 1 if ascending else -1]


async def test_a_list_can_be_narrowed(library: StoredLibrary) -> None:
    one = await add(library, b"1", purpose="vision")
    two = await add(library, b"2", purpose="vision")
    three = await add(library, b"?3")
    assert ids((await library.list("ann", limit=9, purpose="vision")).files) == [two.id, one.id]
    assert ids((await library.list("ann", limit=9, status=FileStatus.PROCESSED)).files) == [three.id]
    assert ids((await library.list("ann", limit=9, sha256=one.content.sha256)).files) == [one.id]
    page = await library.list("ann", limit=1, purpose="vision", status=FileStatus.UPLOADED)
    assert (ids(page.files), page.more) == ([two.id], True)
    page = await library.list("ann", limit=1, purpose="vision", after=two.id)
    assert (ids(page.files), page.more) == ([one.id], False)


async def test_a_list_after_an_unknown_file_says_so(library: StoredLibrary) -> None:
    gone = await add(library, b"1")
    await library.delete("ann", gone.id)
    for unknown in (gone.id, UNKNOWN):
        with pytest.raises(FileUnknown) as raised:
            await library.list("ann", limit=10, after=unknown)
        assert raised.value.param == "after"


async def test_bytes_are_read_in_pieces(library: StoredLibrary) -> None:
    data = os.urandom(2 * PIECE_BYTES + 10)
    file = await add(library, data)
    assert [len(piece) async for piece in library.read(file)] == [PIECE_BYTES, PIECE_BYTES, 10]
    assert await read(library, file) == data
    assert await read(library, file, 5) == data[5:]
    assert await read(library, file, 5, PIECE_BYTES + 6) == data[5 : PIECE_BYTES + 6]
    assert await read(library, file, 5, 10 * len(data)) == data[5:]
    assert await read(library, file, 5, 5) == b""


async def test_thumbnails_lie_beside_the_bytes_and_go_with_them(stored: Stored) -> None:
    library = stored.library
    file, twin = await add(library, b"same"), await add(library, b"same")
    await library.write_thumbnail(file, 3, b"jpeg")
    assert await library.read_thumbnail(twin, 3) == b"jpeg"
    with pytest.raises(FileUnknown):
        await library.read_thumbnail(file, 4)
    await remove(library, file)
    assert await library.read_thumbnail(twin, 3) == b"jpeg"
    await remove(library, twin)
    assert not stored.objects()
    await library.write_thumbnail(twin, 3, b"late")
    assert not stored.objects()


# --- deleting ----------------------------------------------------------------------------------


async def test_a_deleted_file_does_not_exist_from_then_on(stored: Stored) -> None:
    library = stored.library
    file, other = await add(library, b"1"), await add(library, b"2")
    await library.delete("ann", file.id)
    for unknown in (library.get, library.delete, library.retry):
        with pytest.raises(FileUnknown):
            await unknown("ann", file.id)
    assert ids((await library.list("ann", limit=9)).files) == [other.id]
    assert await library.existing("ann", [file.id]) == set()
    assert list(await library.deleted()) == [("ann", file.id)]
    assert len(stored.objects()) == 2  # its segments are in the index still


async def test_purging_drops_the_bytes_with_the_last_file_that_has_them(stored: Stored) -> None:
    library = stored.library
    one, other = await add(library, b"same"), await add(library, b"same")
    await library.delete("ann", one.id)
    await library.purge("ann", one.id)
    assert await read(library, other) == b"same"
    assert list(await library.deleted()) == []
    await remove(library, other)
    assert not stored.objects()
    assert not stored.rows().files
    with pytest.raises(FileUnknown):
        await read(library, other)


async def test_bytes_stay_for_a_deleted_file_that_is_not_purged(stored: Stored) -> None:
    one, other = await add(stored.library, b"same"), await add(stored.library, b"same")
    await stored.library.delete("ann", one.id)
    await remove(stored.library, other)
    assert stored.objects() == {one.content.key}
    again = await add(stored.library, b"same")
    assert again.content == one.content
    await stored.library.purge("ann", one.id)
    assert await read(stored.library, again) == b"same"


async def test_purging_can_be_repeated_and_spares_what_was_not_deleted(library: StoredLibrary) -> None:
    file = await add(library, b"1")
    await library.purge("ann", file.id)
    assert await library.get("ann", file.id) == file
    await library.delete("ann", file.id)
    for _ in range(2):
        await library.purge("ann", file.id)
    await library.purge("ann", UNKNOWN)
    await library.purge("nobody", UNKNOWN)


async def test_bytes_that_were_dropped_can_be_uploaded_again(stored: Stored) -> None:
    old = await add(stored.library, b"same")
    await remove(stored.library, old)
    new = await add(stored.library, b"same")
    assert new.content.key != old.content.key
    assert new.duplicates == ()
    assert stored.objects() == {new.content.key}
    await stored.sweep_all()
    assert await read(stored.library, new) == b"same"


async def test_bytes_that_cannot_be_deleted_now_are_deleted_by_the_sweep(
    stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(key: str) -> bool:
        raise StageUnavailable("away")

    file = await add(stored.library, b"1")
    with monkeypatch.context() as patched:
        patched.setattr(stored.library.contents, "delete", fail)
        await remove(stored.library, file)
    assert stored.objects() == {file.content.key}
    assert await stored.library.sweep() == 0
    assert await stored.sweep_all() == 1
    assert not stored.objects()
    assert not stored.rows().contents


# --- the sweep ---------------------------------------------------------------------------------


async def test_uploads_that_never_ended_are_swept_when_they_are_old(stored: Stored) -> None:
    kept = await add(stored.library, b"kept")
    left = [stored.library.begin("ann") for _ in range(2)]
    left[0].write(b"some")
    assert await stored.library.sweep() == 0
    stored.clock.advance(2 * ORPHAN_S)
    assert await stored.library.sweep() == 2
    assert stored.objects() == {kept.content.key}
    for upload in left:
        upload.abort()


async def test_an_upload_that_was_swept_is_not_acknowledged(stored: Stored) -> None:
    upload = stored.library.begin("ann")
    upload.write(b"slow")
    stored.clock.advance(2 * ORPHAN_S)
    await stored.library.sweep()
    with pytest.raises(StageUnavailable, match="too long"):
        await stored.library.add("ann", upload, filename="a", purpose="p", metadata={})
    upload.abort()
    await stored.sweep_all()
    assert not stored.objects()
    assert not stored.rows().contents


async def test_a_slow_upload_never_loses_its_bytes_to_the_sweep(
    stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the object and its row there may pass any time: then the upload fails, and says so."""
    slow, other = stored.library, stored.open()
    put = slow.contents.put

    def put_slowly(*arguments: object) -> None:
        put(*arguments)  # type: ignore[arg-type]
        stored.clock.advance(2 * ORPHAN_S)
        swept.append(asyncio.run(other.sweep()))

    swept: list[int] = []
    monkeypatch.setattr(slow.contents, "put", put_slowly)
    with pytest.raises(StageUnavailable, match="too long"):
        await add(slow, b"slow")
    assert swept == [1]
    assert not stored.objects()
    assert not stored.rows().files


async def test_an_object_that_comes_after_the_sweep_is_swept_the_next_time(
    stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow, other = stored.library, stored.open()
    put = slow.contents.put

    def put_late(*arguments: object) -> None:
        stored.clock.advance(2 * ORPHAN_S)
        with monkeypatch.context() as patched:
            patched.setattr(other.contents, "sweep_uploads", lambda before_s: 0)
            asyncio.run(other.sweep())
        put(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(slow.contents, "put", put_late)
    with pytest.raises(StageUnavailable, match="too long"):
        await add(slow, b"slow")
    assert len(stored.objects()) == 1
    await stored.sweep_all()
    assert not stored.objects()
    assert not stored.rows().contents


async def test_the_sweep_deletes_nothing_that_the_database_does_not_name(stored: Stored) -> None:
    """A store that is opened with an empty database, or an old one, keeps what it has."""
    contents = stored.library.contents
    upload = contents.begin()
    upload.write(b"of another database")
    key = contents.new_key("ann", upload.sha256)
    contents.put(upload, key)
    await stored.sweep_all()
    assert stored.objects() == {key}


async def test_a_thumbnail_that_comes_late_is_swept(stored: Stored) -> None:
    file = await add(stored.library, b"1")
    await remove(stored.library, file)
    stored.library.contents.write_derived(file.content.key, "thumbnail-0.jpg", b"late")
    assert set(stored.rows().contents.values()) == {ContentState.DOOMED}
    assert await stored.sweep_all() == 1
    assert not stored.objects()
    assert not stored.rows().contents


async def test_the_sweep_takes_any_number_at_once(stored: Stored, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("multimodal.library.filing.AT_ONCE", 2)
    monkeypatch.setattr(stored.library.contents, "delete", lambda key: False)
    for number in range(5):
        await remove(stored.library, await add(stored.library, b"%d" % number))
    monkeypatch.undo()
    monkeypatch.setattr("multimodal.library.filing.AT_ONCE", 2)
    assert await stored.sweep_all() == 5
    assert not stored.objects()
    assert not stored.rows().contents
