"""Values as bytes: what comes back is what was put in, and nothing else ever does."""

from __future__ import annotations

import pickle
from dataclasses import dataclass, fields, is_dataclass, replace
from struct import Struct
from types import UnionType
from typing import cast, get_args, get_origin, get_type_hints

import msgspec
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from multimodal.cache.codec import ALIGNMENT_BYTES, MAGIC, SEAL_BYTES, VERSION, Codec
from multimodal.identity import Feature, FeatureKey
from multimodal.types import (
    DocumentFeatures,
    GeneratorEmbedding,
    ImageFeatures,
    ImageText,
    MediaKind,
    TextLine,
    Transcript,
    VideoFeatures,
)

KINDS = (ImageFeatures, ImageText, Transcript, VideoFeatures, DocumentFeatures, GeneratorEmbedding)
KEY = FeatureKey(feature=Feature.IMAGE, modality=MediaKind.IMAGE, digest="ab" * 32, affinity="cd" * 16)
SEAL_KEY = bytes(range(32))
CODEC = Codec(SEAL_KEY)
START = Struct(">6sHI")

arrays = hnp.arrays(
    np.float32,
    hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=20),
    elements=st.floats(width=32),
)


def strategy(annotation: object) -> st.SearchStrategy[object]:
    """Anything that a field of this type may hold."""
    parts = [part for part in get_args(annotation) if part is not ...]
    origin = get_origin(annotation)
    if origin is np.ndarray:
        return arrays
    if origin is UnionType:
        return st.one_of([strategy(part) for part in parts])
    if origin is tuple and ... in get_args(annotation):
        return st.lists(strategy(parts[0]), max_size=3).map(tuple)
    if origin is tuple:
        return st.tuples(*map(strategy, parts))
    if isinstance(annotation, type) and is_dataclass(annotation):
        hints = get_type_hints(annotation)
        return st.builds(annotation, **{name: strategy(hint) for name, hint in hints.items()})
    if annotation is int:
        return st.integers(-(2**63), 2**63 - 1)
    return st.from_type(cast(type[object], annotation))


values = st.one_of([strategy(kind) for kind in KINDS])


def same(one: object, other: object) -> bool:
    """Of the same types and equal, all the way down; arrays bit by bit."""
    if type(one) is not type(other):
        return False
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
        return (one.dtype, one.shape, one.tobytes()) == (other.dtype, other.shape, other.tobytes())
    if isinstance(one, float):
        return repr(one) == repr(other)  # not a number, and zeros with a sign
    if isinstance(one, tuple) and isinstance(other, tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if is_dataclass(one):
        return all(same(getattr(one, field.name), getattr(other, field.name)) for field in fields(one))
    return one == other


def embedding(rows: NDArray[np.float32] | None = None) -> GeneratorEmbedding:
    return GeneratorEmbedding(
        rows=np.arange(60, dtype=np.float32).reshape(3, 20) if rows is None else rows,
        kind=MediaKind.VIDEO,
        grid=(1, 2, 3),
        timestamps_s=(0.5,),
    )


def sealed(body: bytes, kind: type[object] = GeneratorEmbedding) -> bytes:
    """As a server of another version with the same secret would have sealed it."""
    return body + CODEC._seal(KEY, kind, [body])


def start_of(header: object, *, magic: bytes = MAGIC, version: int = VERSION) -> bytes:
    encoded = msgspec.msgpack.encode(header)
    start = START.pack(magic, version, len(encoded)) + encoded
    return start + bytes(-len(start) % ALIGNMENT_BYTES)


@given(value=values)
def test_what_comes_back_is_what_was_put_in(value: object) -> None:
    decoded = CODEC.decode(KEY, CODEC.encode(KEY, value), type(value))

    assert same(decoded, value)


@given(value=values, data=st.data())
def test_a_changed_byte_is_noticed(value: object, data: st.DataObject) -> None:
    encoded = bytearray(CODEC.encode(KEY, value))
    encoded[data.draw(st.integers(0, len(encoded) - 1))] ^= data.draw(st.integers(1, 255))

    assert CODEC.decode(KEY, bytes(encoded), type(value)) is None


@given(value=values, data=st.data())
def test_missing_bytes_are_noticed(value: object, data: st.DataObject) -> None:
    encoded = CODEC.encode(KEY, value)
    length = data.draw(st.integers(0, len(encoded) - 1))

    assert CODEC.decode(KEY, encoded[:length], type(value)) is None


@given(value=values, more=st.binary(min_size=1))
def test_further_bytes_are_noticed(value: object, more: bytes) -> None:
    assert CODEC.decode(KEY, CODEC.encode(KEY, value) + more, type(value)) is None


@given(value=values, digest=st.text("0123456789abcdef", min_size=64, max_size=64))
def test_a_value_does_not_pass_for_that_of_another_key(value: object, digest: str) -> None:
    assume(digest != KEY.digest)
    other = replace(KEY, digest=digest)

    assert CODEC.decode(other, CODEC.encode(KEY, value), type(value)) is None


@given(value=values, secret=st.binary(min_size=16, max_size=64))
def test_nobody_without_the_secret_makes_values(value: object, secret: bytes) -> None:
    assume(secret != SEAL_KEY)
    assert CODEC.decode(KEY, Codec(secret).encode(KEY, value), type(value)) is None


@given(value=values)
def test_a_value_does_not_pass_for_one_of_another_type(value: object) -> None:
    encoded = CODEC.encode(KEY, value)

    assert [kind for kind in KINDS if CODEC.decode(KEY, encoded, kind) is not None] == [type(value)]


@dataclass(frozen=True, kw_only=True)
class Lookalike:
    """Reads like ImageText."""

    lines: tuple[TextLine, ...]


def test_a_value_does_not_pass_for_one_that_reads_the_same() -> None:
    encoded = CODEC.encode(KEY, Lookalike(lines=()))

    assert CODEC.decode(KEY, encoded, Lookalike) == Lookalike(lines=())
    assert CODEC.decode(KEY, encoded, ImageText) is None


@given(data=st.binary(max_size=300))
def test_other_bytes_are_no_value(data: bytes) -> None:
    assert [CODEC.decode(KEY, data, kind) for kind in KINDS] == [None] * len(KINDS)


@given(body=st.binary(max_size=300))
def test_even_sealed_nonsense_is_no_value(body: bytes) -> None:
    for kind in KINDS:
        assert CODEC.decode(KEY, sealed(body, kind), kind) is None
        framed = START.pack(MAGIC, VERSION, len(body)) + body
        assert CODEC.decode(KEY, sealed(framed, kind), kind) is None


@pytest.mark.parametrize("length", [0, 15, 65])
def test_a_seal_needs_a_secret(length: int) -> None:
    with pytest.raises(ValueError, match="16 to 64"):
        Codec(bytes(length))


def test_pickles_are_not_read() -> None:
    assert CODEC.decode(KEY, sealed(pickle.dumps(embedding())), GeneratorEmbedding) is None


GOOD = ["<f4", [2, 3], 0]


def test_the_forged_header_of_the_tests_is_otherwise_well_formed() -> None:
    decoded = CODEC.decode(KEY, sealed(start_of({"rows": GOOD}) + bytes(64)), GeneratorEmbedding)

    assert decoded is not None
    assert decoded.rows.shape == (2, 3)


@pytest.mark.parametrize("version", [0, VERSION + 1])
def test_values_of_another_version_are_missed(version: int) -> None:
    body = start_of({"rows": GOOD}, version=version) + bytes(64)

    assert CODEC.decode(KEY, sealed(body), GeneratorEmbedding) is None


def test_other_magic_is_missed() -> None:
    body = start_of({"rows": GOOD}, magic=b"mmpage") + bytes(64)

    assert CODEC.decode(KEY, sealed(body), GeneratorEmbedding) is None


@pytest.mark.parametrize(
    "rows",
    [
        None,
        [],
        {},
        "<f4",
        ["<f4", [2, 3]],
        ["<f4", [2, 3], 0, 0],
        ["<f4", [2, 3], -64],
        ["<f4", [2, 3], 4],
        ["<f4", [2, 3], 64],
        ["<f4", [2, 3], 2**64 - 64],
        ["<f4", [0, 3], 2**40 * 64],
        ["<f4", [17], 0],
        ["<f4", [-1, 3], 0],
        ["<f4", [-1], 0],
        ["<f4", [2.0, 3], 0],
        ["<f4", [2**62, 2**62], 0],
        ["<f4", [2**63, 2], 0],
        ["<f4", [0, 2**63], 0],
        ["<f4", [1] * 1000, 0],
        [">f4", [2, 3], 0],
        ["<f8", [2, 3], 0],
        ["|O", [2], 0],
        ["no such type", [2], 0],
        [4, [2], 0],
    ],
)
def test_arrays_that_are_not_there_are_missed(rows: object) -> None:
    body = start_of({"rows": rows}) + bytes(64)

    assert CODEC.decode(KEY, sealed(body), GeneratorEmbedding) is None


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "smell"},
        {"whole": 1},
        {"whole": None},
        {"grid": [1, 2]},
        {"grid": [1, 2, 3, 4]},
        {"grid": [1, 2, 3.5]},
        {"seconds_per_step": "1"},
        {"timestamps_s": None},
        {"key": b"bytes"},
    ],
)
def test_fields_of_other_types_are_missed(change: dict[str, object]) -> None:
    body = start_of({"rows": GOOD} | change) + bytes(64)

    assert CODEC.decode(KEY, sealed(body), GeneratorEmbedding) is None


def test_values_that_lack_a_field_are_missed() -> None:
    assert CODEC.decode(KEY, sealed(start_of({"key": ""})), GeneratorEmbedding) is None


def test_headers_without_end_are_missed() -> None:
    deep = b"\x82\xa4deep" + b"\x91" * 100_000  # a field of lists within lists, to be skipped
    long = b"\x81\xacscenes\xdd" + b"\xff" * 4
    for header in (deep, long):
        body = START.pack(MAGIC, VERSION, len(header)) + header
        assert CODEC.decode(KEY, sealed(body), GeneratorEmbedding) is None
    body = START.pack(MAGIC, VERSION, 2**32 - 1)
    assert CODEC.decode(KEY, sealed(body), GeneratorEmbedding) is None


def test_arrays_are_views_that_nobody_writes_into() -> None:
    encoded = CODEC.encode(KEY, embedding())
    decoded = CODEC.decode(KEY, encoded, GeneratorEmbedding)

    assert decoded is not None
    assert np.shares_memory(decoded.rows, np.frombuffer(encoded, np.uint8))
    with pytest.raises(ValueError, match="read-only"):
        decoded.rows[0, 0] = 1
    with pytest.raises(ValueError, match="WRITEABLE"):
        decoded.rows.flags.writeable = True


def test_arrays_are_aligned_in_the_bytes() -> None:
    rows = np.full((5, 7), 3.25, np.float32)

    encoded = CODEC.encode(KEY, embedding(rows))

    assert encoded.index(rows.tobytes()) % ALIGNMENT_BYTES == 0
    assert (len(encoded) - SEAL_BYTES) % ALIGNMENT_BYTES == 0


def test_arrays_that_lie_otherwise_in_memory_are_kept_as_they_read() -> None:
    rows = np.arange(60, dtype=np.float32).reshape(3, 20)
    for laid in (rows.T, rows[::-1, ::2], np.asfortranarray(rows), np.broadcast_to(rows[0], (4, 20))):
        decoded = CODEC.decode(KEY, CODEC.encode(KEY, embedding(laid)), GeneratorEmbedding)
        assert decoded is not None
        np.testing.assert_array_equal(decoded.rows, laid)


def test_numpys_own_numbers_become_numbers() -> None:
    value = replace(
        embedding(), seconds_per_step=cast(float, np.float32(0.5)), grid=tuple(np.array([1, 2, 3]))
    )

    decoded = CODEC.decode(KEY, CODEC.encode(KEY, value), GeneratorEmbedding)

    assert decoded is not None
    assert (type(decoded.seconds_per_step), decoded.seconds_per_step) == (float, 0.5)
    assert decoded.grid == (1, 2, 3)


def test_arrays_of_another_type_than_declared_are_not_taken_for_it() -> None:
    encoded = CODEC.encode(KEY, replace(embedding(), rows=np.zeros((2, 2), np.float64)))

    assert CODEC.decode(KEY, encoded, GeneratorEmbedding) is None


@pytest.mark.parametrize("value", [np.array([object()]), object(), embedding])
def test_objects_are_not_kept(value: object) -> None:
    with pytest.raises(TypeError, match="cannot be kept"):
        CODEC.encode(KEY, (1, value))
