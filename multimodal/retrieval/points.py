"""Segments as points of Qdrant: one schema for the engine in the replica and for a server.

A point has the dense vectors `picture` and `words` (cosine; either may be absent), `look` (64 numbers +1 or
-1 from the perceptual hash: their cosine is 1 - 2 * bits / 64, where so many bits differ), the sparse vector
`lexical` (see `lexical`), and a payload with all else, and with the fields that `filters` looks at.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import sha256
from typing import NotRequired, TypeAlias, TypedDict, cast

import numpy as np

from multimodal.errors import ConfigError
from multimodal.retrieval import filters, lexical
from multimodal.retrieval.types import Scalar, Segment, SegmentPart, Vector, VectorName
from multimodal.types import Box, MediaKind

SCHEMA = 1
"""Changes whenever points of an older release could not be read or found any more."""

LOOK, LEXICAL = "look", "lexical"
HASH_BITS = 64

PLAIN_FIELDS = (
    *("file_id", "sha256", "ordinal", "text", "start_s", "end_s", "frames_s", "page", "box", "width"),
    *("height", "logit_scale", "thumbnail", "duration_s"),
)
"""Fields of a Segment that a payload holds as they are."""
READ_FIELDS = (*PLAIN_FIELDS, "tenant", "kind", "part", "created_s", "metadata", "perceptual_hash")
"""Fields of a payload that make a Segment again; the others are there to be looked for."""

Payload: TypeAlias = dict[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class PointData:
    """A point on its way into an engine."""

    id: str
    dense: Mapping[str, list[float]] = field(repr=False)
    sparse: Mapping[int, float] = field(repr=False)
    """Empty: none."""
    payload: Payload = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredPoint:
    """A point as an engine gives it back."""

    id: str
    payload: Payload = field(repr=False)
    dense: Mapping[str, Sequence[float]] = field(repr=False)
    """Empty where vectors were not asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexSchema:
    """What an index was made for."""

    sizes: Mapping[VectorName, int]
    """Dimensions of the named vectors there are."""
    models: Mapping[VectorName, str] = field(default_factory=dict)
    """Which models make them; empty: unknown."""
    owner: str | None = None
    """Id of the library that it belongs to; None: unknown, and not compared."""
    version: int = SCHEMA

    def as_json(self) -> dict[str, object]:
        """What is stored beside the points."""
        return {
            "schema": self.version,
            "sizes": {str(name): size for name, size in self.sizes.items()},
            "models": {str(name): model for name, model in self.models.items()},
            **({} if self.owner is None else {"owner": self.owner}),
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, object]) -> IndexSchema:
        """The other way round; what is missing counts as version 0."""
        version = stored.get("schema")
        if version != SCHEMA:
            return cls(sizes={}, version=version if isinstance(version, int) else 0)
        known = cast("_SchemaJson", stored)
        return cls(
            sizes={VectorName(name): size for name, size in known["sizes"].items()},
            models={VectorName(name): model for name, model in known["models"].items()},
            owner=known.get("owner"),
        )

    def check(self, stored: IndexSchema) -> None:
        """Raises ConfigError where an index that was made for `stored` cannot be used for this. One that has
        further vectors can."""
        way_out = (
            "Move the index away (or name another retriever.collection), start again, and have the files "
            "processed again"
        )
        if stored.version != self.version:
            raise ConfigError(
                f"The index has schema {stored.version}, this release works with {self.version}. {way_out}."
            )
        if self.owner is not None and stored.owner not in (None, self.owner):
            raise ConfigError(
                "The index belongs to another library, and each would delete what the other stores. Choose "
                "another retriever.collection."
            )
        for name, size in self.sizes.items():
            if stored.sizes.get(name) != size:
                raise ConfigError(
                    f"The index was made for {name} vectors of {stored.sizes.get(name, 0)} dimensions, the "
                    f"model makes {size}. {way_out}, or configure the model that it was made with."
                )
            if stored.models.get(name, model := self.models.get(name)) != model:
                raise ConfigError(
                    f"The {name} vectors of the index were made by another model: distances to them would "
                    f"mean nothing. {way_out}, or configure the model that they were made with."
                )


class _SchemaJson(TypedDict):
    sizes: Mapping[str, int]
    models: Mapping[str, str]
    owner: NotRequired[str]


def point_id(tenant: str, segment_id: str) -> str:
    """The id of a segment's point: no two tenants can mean the same one, whatever ids they use."""
    digits = f"{int(segment_id.replace('-', ''), 16) ^ _key(tenant):032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def segment_id(tenant: str, point: str) -> str:
    """The other way round."""
    return point_id(tenant, point)


@lru_cache(maxsize=4096)
def _key(tenant: str) -> int:
    return int.from_bytes(sha256(tenant.encode("utf-8", "surrogatepass")).digest()[:16], "big")


def encode(segment: Segment, sizes: Mapping[VectorName, int]) -> PointData:
    """A segment as a point. Raises ValueError for a vector that the index has no place for."""
    weights = lexical.document_weights(segment.text)
    payload: Payload = {name: getattr(segment, name) for name in PLAIN_FIELDS}
    payload |= {
        filters.TENANT: segment.tenant,
        filters.KIND: str(segment.kind),
        filters.PART: str(segment.part),
        filters.CREATED_S: float(segment.created_s),
        filters.TERMS: list(weights),
        "frames_s": list(segment.frames_s),
        "box": segment.box and list(segment.box),
        # As text: engines know fewer kinds of numbers than users.
        "metadata": json.dumps(dict(segment.metadata)),
        "perceptual_hash": None if segment.perceptual_hash is None else f"{segment.perceptual_hash:016x}",
        **filters.metadata_fields(segment.metadata),
    }
    return PointData(
        id=point_id(segment.tenant, segment.id),
        dense=_dense(segment, sizes),
        sparse=weights,
        payload={name: value for name, value in payload.items() if value is not None},
    )


def decode(point: StoredPoint) -> Segment:
    """A point as the segment that it was made of."""
    payload = point.payload
    plain = {name: payload.get(name) for name in PLAIN_FIELDS}
    frames, box = cast("list[float]", plain["frames_s"]), cast("list[float] | None", plain["box"])
    known = cast("_Fields", {**plain, "frames_s": tuple(frames), "box": None if box is None else tuple(box)})
    tenant, looks = str(payload["tenant"]), payload.get("perceptual_hash")
    metadata: dict[str, Scalar] = json.loads(str(payload["metadata"]))
    return Segment(
        **known,
        id=segment_id(tenant, point.id),
        tenant=tenant,
        kind=MediaKind(str(payload["kind"])),
        part=SegmentPart(str(payload["part"])),
        created_s=int(cast("float", payload["created_s"])),
        metadata=metadata,
        perceptual_hash=None if looks is None else int(str(looks), 16),
        picture=_vector(point.dense.get(VectorName.PICTURE)),
        words=_vector(point.dense.get(VectorName.WORDS)),
    )


class _Fields(TypedDict):
    file_id: str
    sha256: str
    ordinal: int
    text: str
    start_s: float | None
    end_s: float | None
    frames_s: tuple[float, ...]
    page: int | None
    box: Box | None
    width: int | None
    height: int | None
    logit_scale: float | None
    thumbnail: bool
    duration_s: float | None


def look(perceptual_hash: int) -> list[float]:
    """64 numbers, +1 for each bit that is set and -1 for each other."""
    return [1.0 if perceptual_hash >> bit & 1 else -1.0 for bit in range(HASH_BITS)]


def least_cosine(max_bits: int) -> float:
    """Below this cosine of two looks, more bits than `max_bits` differ; halfway, so that rounding is safe."""
    return 1 - 2 * (max_bits + 0.5) / HASH_BITS


def different_bits(cosine: float) -> int:
    """In how many bits two hashes differ, by the cosine of their looks."""
    return round((1 - cosine) * HASH_BITS / 2)


def _dense(segment: Segment, sizes: Mapping[VectorName, int]) -> dict[str, list[float]]:
    dense = {}
    for name, vector in ((VectorName.PICTURE, segment.picture), (VectorName.WORDS, segment.words)):
        if vector is not None:
            if vector.shape != (sizes.get(name, 0),):
                raise ValueError(f"a {name} vector of shape {vector.shape}, not ({sizes.get(name, 0)},)")
            dense[str(name)] = vector.tolist()
    if segment.perceptual_hash is not None:
        dense[LOOK] = look(segment.perceptual_hash)
    return dense


def _vector(values: Sequence[float] | None) -> Vector | None:
    return None if values is None else np.asarray(values, dtype=np.float32)
