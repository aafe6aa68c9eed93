"""The bytes of uploaded files: content-addressed, in a local folder or wherever fsspec reaches.

    <tenant>/<ab>/<cd>/<sha256>-<generation>             the bytes of a content, never changed
    <tenant>/<ab>/<cd>/<sha256>-<generation>.d/<name>    what was made of it: thumbnails
    uploads/<uuid>                                       what is still coming in

`<tenant>` is a hash of the tenant's name, `<ab>` and `<cd>` are the first bytes of the SHA-256. The
generation is random, so that every row of the database has an object of its own: while the last file of a
content is deleted, the same bytes may be uploaded again, and deleting the old object does not reach the new
one.

An upload goes to `uploads/` first, as its hash is known at its end only. On a local disk it is then moved
into place, and both file and folders are flushed; on other filesystems, which are meant to be object stores,
it is copied, and is as safe as they promise. Keys are made here and kept in the database; none comes from a
client.
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import IO, Protocol, cast
from uuid import uuid4

from fsspec.core import url_to_fs  # type: ignore[import-untyped]
from fsspec.implementations.local import LocalFileSystem  # type: ignore[import-untyped]

from multimodal.errors import ConfigError, StageUnavailable
from multimodal.types import StoredContent

PIECE_BYTES = 1024 * 1024
"""What is read at a time."""

UPLOADS = "uploads"
"""Folder of what is still coming in; no tenant's, as those are hexadecimal."""

_TENANT_DIGITS = 32
"""128 bits of a tenant's SHA-256: no two tenants share a folder."""

_WRITTEN = ("mtime", "LastModified", "last_modified", "updated", "created")
"""What filesystems call the time of the last write in their listings."""


class _Filesystem(Protocol):
    """The part of fsspec's AbstractFileSystem that is used here; fsspec has no types."""

    def open(self, path: str, mode: str) -> IO[bytes]: ...

    def cat_file(self, path: str, start: int | None = None, end: int | None = None) -> bytes: ...

    def pipe_file(self, path: str, value: bytes) -> object: ...

    def cp_file(self, path1: str, path2: str) -> object: ...

    def rm_file(self, path: str) -> object: ...

    def exists(self, path: str) -> bool: ...

    def find(self, path: str, *, detail: bool) -> Mapping[str, Mapping[str, object]]: ...

    def modified(self, path: str) -> datetime: ...

    def invalidate_cache(self) -> object: ...


class StagedObject:
    """Bytes that are coming in. One thread at a time; methods block."""

    def __init__(self, path: str, file: IO[bytes], *, local: bool) -> None:
        self.path = path
        self.size_bytes = 0
        self._file = file
        self._local = local
        self._sha256 = hashlib.sha256()

    @property
    def sha256(self) -> str:
        """Of what was written, hexadecimal."""
        return self._sha256.hexdigest()

    def write(self, data: bytes) -> None:
        """Append. Raises StageUnavailable."""
        with _reachable():
            self._file.write(data)
        self._sha256.update(data)
        self.size_bytes += len(data)

    def finish(self) -> None:
        """No more bytes follow, and those there are lie on the disk now. Raises StageUnavailable."""
        with _reachable():
            if self._local and not self._file.closed:
                self._file.flush()
                os.fsync(self._file.fileno())
            self._file.close()

    def close(self) -> None:
        """It will not be needed. What was written may still become an object, which is then to be deleted."""
        self._file.close()


class ContentStore:
    """Objects under one folder. Methods block, and any number of threads may call them.

    Args:
        url: fsspec URL or path of the folder; None: `library/media` in `home`.
        home: MULTIMODAL_STATE.

    Raises ConfigError for a URL that is none. All methods raise StageUnavailable where the filesystem fails.
    """

    def __init__(self, url: str | None, home: Path) -> None:
        self._fs, self._root, self._local = _opened(url or str((home / "library" / "media").absolute()))

    def new_key(self, tenant: str, sha256: str) -> str:
        """A key that no object has had. The same bytes get another one each time."""
        folder = hashlib.sha256(tenant.encode("utf-8", "surrogatepass")).hexdigest()[:_TENANT_DIGITS]
        return f"{folder}/{sha256[:2]}/{sha256[2:4]}/{sha256}-{uuid4().hex[:16]}"

    def begin(self) -> StagedObject:
        """Begin an upload."""
        path = self._path(f"{UPLOADS}/{uuid4().hex}")
        with _reachable():
            if self._local:
                os.makedirs(os.path.dirname(path), exist_ok=True)
            return StagedObject(path, self._fs.open(path, "wb"), local=self._local)

    def put(self, staged: StagedObject, key: str) -> None:
        """Make an upload the object of this key. It survives `kill -9` when this returns.

        Raises FileNotFoundError where the upload was swept away, as it had been silent for too long.
        """
        staged.finish()
        with _reachable():
            if self._local:
                self._move(staged.path, self._path(key))
            else:
                self._fs.cp_file(staged.path, self._path(key))
                self._fs.rm_file(staged.path)

    def discard(self, staged: StagedObject) -> None:
        """Forget an upload. Does nothing to one that was put in its place."""
        with _reachable():
            staged.close()
            self._remove(staged.path)

    def read_all(self, content: StoredContent) -> bytes:
        """The whole object. Raises FileNotFoundError where it is gone."""
        with _reachable():
            return self._fs.cat_file(self._path(content.key))

    def pieces(self, content: StoredContent, start: int, end: int) -> Iterator[bytes]:
        """Bytes [start, end) in pieces of PIECE_BYTES. Raises FileNotFoundError where the object is gone."""
        path = self._path(content.key)
        for at in range(start, end, PIECE_BYTES):
            with _reachable():
                piece = self._fs.cat_file(path, at, min(end, at + PIECE_BYTES))
            yield piece

    def write_derived(self, key: str, name: str, data: bytes) -> None:
        """Keep something small that was made of an object beside it, replacing what has that name."""
        path = self._derived(key, name)
        with _reachable():
            if not self._local:
                self._fs.pipe_file(path, data)
                return
        staged = self.begin()
        staged.write(data)
        staged.finish()
        with _reachable():
            self._move(staged.path, path)

    def read_derived(self, key: str, name: str, most_bytes: int | None = None) -> bytes:
        """Its beginning, or all of it. Raises FileNotFoundError where there is none."""
        with _reachable():
            return self._fs.cat_file(self._derived(key, name), 0, most_bytes)

    def delete(self, key: str) -> bool:
        """Delete an object and what was made of it. Whether there was anything; idempotent."""
        with _reachable():
            found = self._remove(self._path(key))
            for path in self._found(f"{key}.d"):
                found = self._remove(path) or found
            if self._local:
                with suppress(FileNotFoundError):
                    os.rmdir(self._path(f"{key}.d"))
        return found

    def written(self, under: str = "") -> Iterator[tuple[str, float]]:
        """Keys below a folder of the store, and when each was written: Unix seconds by the store's clock."""
        with _reachable():
            found = self._found(under)
            for path, info in found.items():
                with suppress(FileNotFoundError):  # gone since it was listed
                    yield path.removeprefix(self._root).lstrip("/"), self._written_s(path, info)

    def sweep_uploads(self, before_s: float) -> int:
        """Delete uploads that were last written before this time, Unix seconds. How many there were."""
        old = [key for key, written_s in self.written(UPLOADS) if written_s < before_s]
        with _reachable():
            return sum(self._remove(self._path(key)) for key in old)

    def _path(self, key: str) -> str:
        return f"{self._root}/{key}" if key else self._root

    def _derived(self, key: str, name: str) -> str:
        return self._path(f"{key}.d/{name}")

    def _move(self, source: str, target: str) -> None:
        """On a local disk. Folders above may be new, and their own entries not on the disk yet."""
        os.makedirs(os.path.dirname(target), exist_ok=True)
        os.replace(source, target)
        folder = os.path.dirname(target)
        while len(folder) >= len(self._root):
            _flush_folder(folder)
            folder = os.path.dirname(folder)

    def _remove(self, path: str) -> bool:
        """Object stores say nothing of what is not there: it is looked for first."""
        try:
            found = self._local or self._fs.exists(path)
            self._fs.rm_file(path)
        except FileNotFoundError:
            return False
        return found

    def _found(self, folder: str) -> Mapping[str, Mapping[str, object]]:
        self._fs.invalidate_cache()
        return self._fs.find(self._path(folder), detail=True)

    def _written_s(self, path: str, info: Mapping[str, object]) -> float:
        for name in _WRITTEN:
            value = info.get(name)
            if isinstance(value, datetime):
                return value.timestamp()
            if isinstance(value, int | float):
                return float(value)
        return self._fs.modified(path).timestamp()


def _opened(url: str) -> tuple[_Filesystem, str, bool]:
    """The filesystem, the folder in it, and whether it is a local disk."""
    try:
        filesystem, root = url_to_fs(url)
    except (ValueError, ImportError) as error:
        raise ConfigError(
            "library.storage_url names no filesystem that fsspec knows here. Name a folder, or install the "
            "package of that filesystem (s3fs for s3://, gcsfs for gs://)."
        ) from error
    # A path may end in a slash, and the root of a bucket in none.
    return cast(_Filesystem, filesystem), str(root).rstrip("/"), isinstance(filesystem, LocalFileSystem)


def _flush_folder(folder: str) -> None:
    """What was moved into a folder is there after a power cut only when the folder was flushed."""
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


@contextmanager
def _reachable() -> Iterator[None]:
    """Errors of the filesystem as ours. FileNotFoundError has a meaning of its own."""
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StageUnavailable(
                "The server has no room for more files. Delete some, or have its operator make room."
            ) from error
        raise StageUnavailable("The storage of uploaded files cannot be reached. Try again later.") from error
