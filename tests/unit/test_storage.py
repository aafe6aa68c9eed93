"""The content store, on a local disk and on a filesystem that is none."""

from __future__ import annotations

import hashlib
import os
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import fsspec  # type: ignore[import-untyped]
import pytest

from multimodal.errors import ConfigError, StageUnavailable
from multimodal.storage import PIECE_BYTES, UPLOADS, ContentStore, StagedObject
from multimodal.types import StoredContent

MIB = 1024 * 1024


@pytest.fixture(params=["folder", "path", "file://", "memory://"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ContentStore]:
    """An empty store."""
    if request.param != "memory://":
        urls = {"folder": None, "path": str(tmp_path / "media"), "file://": f"file://{tmp_path}/media/"}
        yield ContentStore(urls[request.param], tmp_path)
        return
    folder = f"/{uuid4().hex}"
    yield ContentStore(f"memory:/{folder}", tmp_path)
    memory = fsspec.filesystem("memory")
    if memory.exists(folder):
        memory.rm(folder, recursive=True)


def staged(store: ContentStore, *pieces: bytes) -> StagedObject:
    """An upload of these bytes."""
    upload = store.begin()
    for piece in pieces:
        upload.write(piece)
    return upload


def put(store: ContentStore, data: bytes, tenant: str = "ann") -> StoredContent:
    """An object of these bytes."""
    upload = staged(store, data)
    key = store.new_key(tenant, upload.sha256)
    store.put(upload, key)
    return StoredContent(key=key, sha256=upload.sha256, size_bytes=upload.size_bytes)


def keys(store: ContentStore) -> set[str]:
    return {key for key, _ in store.written()}


def test_an_upload_in_pieces_is_hashed_on_the_way_and_read_as_a_whole(store: ContentStore) -> None:
    upload = staged(store, b"some ", b"", b"bytes")
    assert upload.sha256 == hashlib.sha256(b"some bytes").hexdigest()
    assert upload.size_bytes == 10
    key = store.new_key("ann", upload.sha256)
    store.put(upload, key)
    assert store.read_all(StoredContent(key=key, sha256=upload.sha256, size_bytes=10)) == b"some bytes"


@pytest.mark.parametrize(
    ("start", "end"),
    [(0, 0), (0, 1), (5, 6), (0, PIECE_BYTES), (1, PIECE_BYTES + 1), (7, 3 * PIECE_BYTES + 5)],
)
def test_ranges_come_in_pieces(store: ContentStore, start: int, end: int) -> None:
    data = os.urandom(3 * PIECE_BYTES + 5)
    pieces = list(store.pieces(put(store, data), start, end))
    assert b"".join(pieces) == data[start:end]
    assert all(len(piece) <= PIECE_BYTES for piece in pieces)


def test_several_readers_of_an_object_do_not_disturb_each_other(store: ContentStore) -> None:
    data = os.urandom(2 * PIECE_BYTES)
    content = put(store, data)
    one, other = store.pieces(content, 0, len(data)), store.pieces(content, 10, len(data))
    woven = [next(one), next(other), next(one), next(other)]
    assert woven[0] + woven[2] == data
    assert woven[1] + woven[3] == data[10:]


def test_what_comes_in_is_nowhere_else_and_goes_when_it_is_put_in_its_place(store: ContentStore) -> None:
    upload = staged(store, b"data")
    assert all(key.startswith(f"{UPLOADS}/") for key in keys(store))
    key = store.new_key("ann", upload.sha256)
    store.put(upload, key)
    assert keys(store) == {key}


def test_keys_are_sharded_by_the_hash_and_never_used_again(store: ContentStore) -> None:
    sha256 = hashlib.sha256(b"x").hexdigest()
    one, other = store.new_key("ann", sha256), store.new_key("ann", sha256)
    assert one != other
    folder, *shards, name = one.split("/")
    assert shards == [sha256[:2], sha256[2:4]]
    assert name.startswith(f"{sha256}-")
    assert store.new_key("bob", sha256).split("/")[0] != folder


@pytest.mark.parametrize("tenant", ["", "..", "../../etc", "a/b", "uploads", "\0", "\ud800", "x" * 10_000])
def test_any_name_of_a_tenant_makes_a_safe_folder(store: ContentStore, tenant: str) -> None:
    content = put(store, b"data", tenant)
    assert keys(store) == {content.key}
    folder = content.key.split("/")[0]
    assert len(folder) == 32
    assert set(folder) <= set("0123456789abcdef")


def test_deleting_one_generation_leaves_the_other(store: ContentStore) -> None:
    old, new = put(store, b"same"), put(store, b"same")
    assert store.delete(old.key)
    assert store.read_all(new) == b"same"
    assert keys(store) == {new.key}


def test_what_was_made_of_an_object_lies_beside_it_and_goes_with_it(store: ContentStore) -> None:
    content, other = put(store, b"data"), put(store, b"other")
    for name in ("one.jpg", "two.jpg"):
        store.write_derived(content.key, name, name.encode())
    store.write_derived(content.key, "one.jpg", b"again")
    store.write_derived(other.key, "one.jpg", b"kept")
    assert store.read_derived(content.key, "one.jpg") == b"again"
    assert store.read_derived(content.key, "two.jpg") == b"two.jpg"
    assert store.delete(content.key)
    with pytest.raises(FileNotFoundError):
        store.read_derived(content.key, "two.jpg")
    assert keys(store) == {other.key, f"{other.key}.d/one.jpg"}


@pytest.mark.parametrize(
    ("most_bytes", "read"), [(0, b""), (3, b"dat"), (4, b"data"), (9, b"data"), (None, b"data")]
)
def test_what_was_made_of_an_object_is_read_up_to_a_limit(
    store: ContentStore, most_bytes: int | None, read: bytes
) -> None:
    content = put(store, b"bytes")
    store.write_derived(content.key, "one.jpg", b"data")
    assert store.read_derived(content.key, "one.jpg", most_bytes) == read


def test_what_is_gone_is_said_to_be_gone_and_can_be_deleted_again(store: ContentStore) -> None:
    content = put(store, b"data")
    assert store.delete(content.key)
    assert not store.delete(content.key)
    for read in (
        lambda: store.read_all(content),
        lambda: list(store.pieces(content, 0, 4)),
        lambda: store.read_derived(content.key, "one.jpg"),
    ):
        with pytest.raises(FileNotFoundError):
            read()


def test_a_late_thumbnail_of_a_deleted_object_can_be_deleted(store: ContentStore) -> None:
    content = put(store, b"data")
    store.delete(content.key)
    store.write_derived(content.key, "late.jpg", b"late")
    assert store.delete(content.key)
    assert not keys(store)


def test_a_discarded_upload_leaves_nothing(store: ContentStore) -> None:
    upload = staged(store, b"data")
    store.discard(upload)
    store.discard(upload)
    assert not keys(store)


def test_discarding_what_was_put_in_its_place_does_nothing(store: ContentStore) -> None:
    upload = staged(store, b"data")
    key = store.new_key("ann", upload.sha256)
    store.put(upload, key)
    store.discard(upload)
    assert keys(store) == {key}


def test_old_uploads_are_swept_and_objects_are_not(store: ContentStore) -> None:
    content = put(store, b"data")
    left = [staged(store, b"left"), staged(store, b"behind")]
    began_s = time.time()
    assert store.sweep_uploads(began_s - 60) == 0
    assert store.sweep_uploads(began_s + 60) == 2
    assert store.sweep_uploads(began_s + 60) == 0
    assert keys(store) == {content.key}
    for upload in left:
        store.discard(upload)


def test_an_upload_that_was_swept_cannot_become_an_object(store: ContentStore) -> None:
    upload = staged(store, b"data")
    store.sweep_uploads(time.time() + 60)
    with pytest.raises(FileNotFoundError):
        store.put(upload, store.new_key("ann", upload.sha256))
    assert not keys(store)


def test_objects_say_when_they_were_written(store: ContentStore) -> None:
    before_s = time.time()
    content = put(store, b"data")
    ((key, written_s),) = store.written()
    assert key == content.key
    assert before_s - 5 <= written_s <= time.time() + 5


def test_large_objects_are_never_wholly_in_memory(tmp_path: Path) -> None:
    store = ContentStore(None, tmp_path)
    piece = os.urandom(MIB)
    tracemalloc.start()
    try:
        upload = staged(store, *[piece] * 32)
        key = store.new_key("ann", upload.sha256)
        store.put(upload, key)
        content = StoredContent(key=key, sha256=upload.sha256, size_bytes=upload.size_bytes)
        assert sum(map(len, store.pieces(content, 0, 32 * MIB))) == 32 * MIB
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 6 * MIB


def test_on_a_local_disk_bytes_are_flushed_before_and_folders_after_the_move(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    fsync, replace = os.fsync, os.replace

    def note_fsync(opened: int) -> None:
        seen.append(os.path.relpath(os.readlink(f"/proc/self/fd/{opened}"), tmp_path))
        fsync(opened)

    def note_replace(source: str, target: str) -> None:
        seen.append("replace")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", note_fsync)
    monkeypatch.setattr(os, "replace", note_replace)
    content = put(ContentStore(str(tmp_path / "media"), tmp_path), b"data")
    tenant, first, second, _ = content.key.split("/")
    assert seen[0].startswith("media/uploads/")
    assert seen[1:] == [
        "replace",
        f"media/{tenant}/{first}/{second}",
        f"media/{tenant}/{first}",
        f"media/{tenant}",
        "media",
    ]


def test_a_filesystem_that_fails_is_an_error_without_its_path(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"no folder")
    store = ContentStore(str(tmp_path / "secret"), tmp_path)
    with pytest.raises(StageUnavailable) as raised:
        store.begin()
    assert "secret" not in raised.value.message


def test_a_full_disk_is_said_to_be_full() -> None:
    with open("/dev/full", "wb", buffering=0) as full:
        upload = StagedObject("/dev/full", full, local=True)
        with pytest.raises(StageUnavailable, match="no room"):
            upload.write(b"data")
        assert upload.size_bytes == 0


@pytest.mark.parametrize("url", ["nothing://user:hunter2@host/folder", "gopher://hunter2/x"])
def test_an_unknown_filesystem_is_a_mistake_of_the_configuration(tmp_path: Path, url: str) -> None:
    with pytest.raises(ConfigError, match="storage_url") as raised:
        ContentStore(url, tmp_path)
    assert "hunter2" not in raised.value.message


def test_without_a_url_the_objects_lie_in_the_home_folder(tmp_path: Path) -> None:
    content = put(ContentStore(None, tmp_path), b"data")
    assert (tmp_path / "library" / "media" / content.key).read_bytes() == b"data"
