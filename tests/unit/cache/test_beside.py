"""Features beside uploaded files, on a local disk and on a filesystem that is none."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import fsspec  # type: ignore[import-untyped]
import pytest

from multimodal.cache.beside import BesideContent
from multimodal.config import AppArgs, CacheArgs, LibraryArgs
from multimodal.errors import StageUnavailable
from multimodal.library.shelf import StoredLibrary, open_library
from multimodal.storage import ContentStore
from multimodal.types import StoredContent

ARGS = CacheArgs(stored_bytes=100)
ORPHAN_S = 3600.0


@pytest.fixture(params=["folder", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ContentStore]:
    """An empty store."""
    if request.param == "folder":
        yield ContentStore(None, tmp_path)
        return
    folder = f"/{uuid4().hex}"
    yield ContentStore(f"memory:/{folder}", tmp_path)
    memory = fsspec.filesystem("memory")
    if memory.exists(folder):
        memory.rm(folder, recursive=True)


def put(store: ContentStore, data: bytes) -> StoredContent:
    upload = store.begin()
    upload.write(data)
    key = store.new_key("ann", upload.sha256)
    store.put(upload, key)
    return StoredContent(key=key, sha256=upload.sha256, size_bytes=len(data))


async def test_what_was_written_is_read_by_its_name_and_goes_with_its_content(store: ContentStore) -> None:
    one, other = put(store, b"one"), put(store, b"other")
    beside = BesideContent(ARGS, store, one)
    assert await beside.read("a") is None
    await beside.write("a", b"first")
    await beside.write("a", b"again")
    await beside.write("b", b"second")
    again = BesideContent(ARGS, store, one)
    assert (await again.read("a"), await again.read("b")) == (b"again", b"second")
    assert await BesideContent(ARGS, store, other).read("a") is None
    assert store.delete(one.key)
    assert await again.read("a") is None
    assert {key for key, _ in store.written()} == {other.key}


async def test_it_keeps_out_of_the_way_of_thumbnails(store: ContentStore) -> None:
    content = put(store, b"one")
    store.write_derived(content.key, "thumbnail-0.jpg", b"jpeg")
    beside = BesideContent(ARGS, store, content)
    assert await beside.read("thumbnail-0.jpg") is None
    await beside.write("thumbnail-0.jpg", b"feature")
    assert store.read_derived(content.key, "thumbnail-0.jpg") == b"jpeg"


@pytest.mark.parametrize(("most_bytes", "found"), [(99, False), (100, True), (0, False)])
async def test_nothing_is_read_that_is_too_large(store: ContentStore, most_bytes: int, found: bool) -> None:
    content = put(store, b"one")
    await BesideContent(ARGS, store, content).write("a", bytes(100))
    beside = BesideContent(CacheArgs(stored_bytes=most_bytes), store, content)
    assert await beside.read("a") == (bytes(100) if found else None)


async def test_storage_that_fails_is_unavailable(tmp_path: Path) -> None:
    store = ContentStore(None, tmp_path)
    content = put(store, b"one")
    folder = tmp_path / "library" / "media" / f"{content.key}.d"
    (folder / "feature-a").mkdir(parents=True)
    beside = BesideContent(ARGS, store, content)
    with pytest.raises(StageUnavailable):
        await beside.read("a")
    with pytest.raises(StageUnavailable):
        await beside.write("a", b"data")


async def test_a_write_that_fails_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = ContentStore(None, tmp_path)
    beside = BesideContent(ARGS, store, put(store, b"one"))
    await beside.write("a", b"before")

    def crash(source: str, target: str) -> None:
        raise OSError("the power went off")

    with monkeypatch.context() as patch:
        patch.setattr("multimodal.storage.os.replace", crash)
        with pytest.raises(StageUnavailable):
            await beside.write("a", b"after")
    assert await beside.read("a") == b"before"


async def test_what_is_written_after_the_file_was_deleted_is_swept(tmp_path: Path) -> None:
    now_s = [1_800_000_000.0]
    args = AppArgs(library=LibraryArgs(orphan_s=ORPHAN_S))
    library = open_library(args, tmp_path, now=lambda: now_s[0])
    try:
        await _write_late(library)
        now_s[0] += 2 * ORPHAN_S
        await library.sweep()
        assert not list(library.contents.written())
    finally:
        library.close()


async def _write_late(library: StoredLibrary) -> None:
    upload = library.begin("ann")
    upload.write(b"some text")
    file = await library.add("ann", upload, filename="a.txt", purpose="user_data", metadata={})
    await library.delete("ann", file.id)
    await library.purge("ann", file.id)
    assert not list(library.contents.written())
    await BesideContent(ARGS, library.contents, file.content).write("a", b"late")
    assert list(library.contents.written())
