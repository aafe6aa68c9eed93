"""Values as bytes that cannot be forged: a typed header, the arrays as they lie in memory, and a seal.

    "mmfeat", version (2 bytes), length of the header (4 bytes), both big-endian
    header: the dataclass as MessagePack, with [dtype, shape, offset] in the place of each array
    arrays: C order, each at a multiple of 64 bytes, zeros between; offsets count from the first
    seal:   keyed BLAKE2b of the key, the type and all of the above, 32 bytes

Redis, and whoever can write into it, is not trusted: without the server's secret nobody can make a value, and
no value passes for that of another key or of another type. Nothing is ever unpickled. A reader with other
dataclasses than the writer's misses a value that lacks a field, unless the field has a default; changes of
meaning belong into the recipe (see `multimodal.identity`).
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable
from struct import Struct
from typing import Annotated, TypeVar, get_args

import msgspec
import numpy as np
from numpy.typing import NDArray

from multimodal.identity import FeatureKey

V = TypeVar("V")

MAGIC = b"mmfeat"
VERSION = 1
"""Of the format, not of the values in it."""
SEAL_BYTES = 32
ALIGNMENT_BYTES = 64
"""A cache line, and the widest vector register."""

_START = Struct(">6sHI")


class Codec:
    """Writes and reads frozen dataclasses of texts, numbers, enums, tuples, arrays and such dataclasses."""

    def __init__(self, seal_key: bytes) -> None:
        """`seal_key`: 16 to 64 secret bytes. Raises ValueError for any other length."""
        if not 16 <= len(seal_key) <= hashlib.blake2b.MAX_KEY_SIZE:
            raise ValueError("A seal key has 16 to 64 bytes.")
        self._seal_key = seal_key

    def encode(self, key: FeatureKey, value: object) -> bytes:
        """The value, sealed for this key. About 1 ms for a megabyte.

        Raises TypeError or ValueError for what has no place in such a dataclass.
        """
        arrays = _Arrays()
        header = msgspec.msgpack.encode(value, enc_hook=arrays.place)
        start = _START.pack(MAGIC, VERSION, len(header)) + header
        parts = [start, _padding(len(start)), *arrays.parts]
        return b"".join([*parts, self._seal(key, type(value), parts)])

    def decode(self, key: FeatureKey, data: bytes, kind: type[V]) -> V | None:
        """The value that was sealed for this key; None for anything else. Its arrays are views of `data`."""
        body = memoryview(data)[:-SEAL_BYTES]
        if not hmac.compare_digest(data[-SEAL_BYTES:], self._seal(key, kind, [body])):
            return None
        try:
            return _value(body, kind)
        except (msgspec.MsgspecError, ValueError, OverflowError, RecursionError):  # sealed by another version
            return None

    def _seal(self, key: FeatureKey, kind: type[object], parts: Iterable[bytes | memoryview]) -> bytes:
        seal = hashlib.blake2b(key=self._seal_key, digest_size=SEAL_BYTES)
        seal.update(f"{key.digest}\0{kind.__name__}\0".encode())
        for part in parts:
            seal.update(part)
        return seal.digest()


class _Place(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What stands in the header for an array."""

    dtype: str
    shape: tuple[Annotated[int, msgspec.Meta(ge=0)], ...]
    offset: Annotated[int, msgspec.Meta(ge=0, multiple_of=ALIGNMENT_BYTES)]


class _Arrays:
    """Those of one value, as they are met while its header is written."""

    def __init__(self) -> None:
        self.parts: list[bytes | memoryview] = []
        self._size = 0

    def place(self, found: object) -> object:
        """What is written for something that MessagePack does not know."""
        if isinstance(found, np.generic):
            return found.item()
        if not isinstance(found, np.ndarray) or found.dtype.hasobject:
            raise TypeError(f"{type(found).__name__} cannot be kept")
        data = np.ascontiguousarray(found).reshape(-1).view(np.uint8).data
        place = _Place(found.dtype.str, found.shape, self._size)
        padding = _padding(data.nbytes)
        self.parts += [data, padding]
        self._size += data.nbytes + len(padding)
        return place


def _padding(size_bytes: int) -> bytes:
    return bytes(-size_bytes % ALIGNMENT_BYTES)


def _value(body: memoryview, kind: type[V]) -> V:
    """Raises MsgspecError and ValueError."""
    if len(body) < _START.size or (start := _START.unpack_from(body))[:2] != (MAGIC, VERSION):
        raise ValueError("not of this version")
    end = _START.size + start[2]
    arrays = body[end + len(_padding(end)) :]

    def array(annotation: object, placed: object) -> NDArray[np.generic]:
        place = msgspec.convert(placed, _Place)
        dtype = _dtype(annotation)
        if place.dtype != dtype.str:
            raise ValueError(f"{place.dtype} instead of {dtype.str}")
        # Checks that the array lies within its buffer, and makes a view of it.
        return np.ndarray(place.shape, dtype, buffer=arrays, offset=place.offset)

    return msgspec.msgpack.decode(body[_START.size : end], type=kind, dec_hook=array)


def _dtype(annotation: object) -> np.dtype[np.generic]:
    """That of NDArray[...]: ndarray[tuple[int, ...], dtype[...]]."""
    (scalar,) = get_args(get_args(annotation)[1])
    dtype: np.dtype[np.generic] = np.dtype(scalar)
    return dtype
