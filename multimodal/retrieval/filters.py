"""What segments have to satisfy, in terms of payload fields: the same for both engines.

User metadata have arbitrary keys and strictly typed values. A payload therefore holds, beside the metadata,
`meta_eq`, one tagged text for each key and value (equality is the equality of texts, by one index), and
`meta_num`, the numbers among them under encoded keys (for ranges). Which keys hold numbers is in `meta_eq`,
too, so that a range is only looked at where there can be one.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from multimodal.retrieval.types import Range, Scalar, SegmentFilter

TENANT, FILE_ID, KIND, PART, TERMS = "tenant", "file_id", "kind", "part", "terms"
CREATED_S, DURATION_S = "created_s", "duration_s"
META_EQUAL, META_NUMBERS = "meta_eq", "meta_num"


@dataclass(frozen=True, slots=True)
class AnyOf:
    """A field has one of these values, or, where it is a list, holds one of them."""

    key: str
    values: tuple[str, ...] | tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Within:
    """A field is a number within."""

    key: str
    bounds: Range


@dataclass(frozen=True, slots=True)
class HasId:
    """The point has one of these ids."""

    ids: tuple[str, ...]


Condition: TypeAlias = AnyOf | Within | HasId


@dataclass(frozen=True, slots=True)
class Where:
    """Conditions that all hold, and conditions of which none does."""

    must: tuple[Condition, ...]
    must_not: tuple[Condition, ...] = ()


def where(tenant: str, wanted: SegmentFilter | None = None, *more: Condition) -> Where:
    """The segments of a tenant that pass a filter and further conditions."""
    chosen = wanted or SegmentFilter()
    must: list[Condition] = [AnyOf(TENANT, (tenant,)), *more]
    for key, values in ((KIND, chosen.kinds), (PART, chosen.parts)):
        if values:
            must.append(AnyOf(key, tuple(str(value) for value in values)))
    if chosen.file_ids is not None:
        must.append(AnyOf(FILE_ID, chosen.file_ids))
    for key, bounds in ((CREATED_S, chosen.created_s), (DURATION_S, chosen.duration_s)):
        if bounds is not None:
            must.append(Within(key, bounds))
    for key, scalars in chosen.equal:
        must.append(AnyOf(META_EQUAL, tuple(equality(key, value) for value in scalars)))
    for key, bounds in chosen.ranges:
        must += [AnyOf(META_EQUAL, (_has_number(key),)), Within(_number_path(key), bounds)]
    excluded = (AnyOf(FILE_ID, chosen.not_file_ids),) if chosen.not_file_ids else ()
    return Where(tuple(must), excluded)


def can_match(wanted: SegmentFilter) -> bool:
    """False where a list of alternatives is empty: nothing passes, and no engine need be asked."""
    return wanted.file_ids != () and all(values for _, values in wanted.equal)


def metadata_fields(metadata: Mapping[str, Scalar]) -> dict[str, object]:
    """What a payload holds of user metadata for `where` to look at."""
    numbers = {key: value for key, value in metadata.items() if _is_number(value)}
    tagged = [equality(key, value) for key, value in metadata.items()]
    return {
        META_EQUAL: tagged + [_has_number(key) for key in numbers],
        META_NUMBERS: {_encoded(key): _finite(value) for key, value in numbers.items()},
    }


def equality(key: str, value: Scalar) -> str:
    """A text that two pairs of key and value share just where they are equal in the sense of
    `SegmentFilter.equal`."""
    if isinstance(value, bool):
        return json.dumps([key, "bool", value])
    if isinstance(value, str):
        return json.dumps([key, "text", value])
    whole = isinstance(value, float) and value.is_integer()
    return json.dumps([key, "number", str(int(value) if whole else value)])


def _has_number(key: str) -> str:
    return json.dumps([key])


def _number_path(key: str) -> str:
    return f"{META_NUMBERS}.{_encoded(key)}"


def _encoded(key: str) -> str:
    """Paths in payloads have characters of their own; a key may hold any."""
    return f"k{key.encode('utf-8', 'surrogatepass').hex()}"


def _is_number(value: Scalar) -> bool:
    not_a_number = isinstance(value, float) and math.isnan(value)
    return isinstance(value, int | float) and not isinstance(value, bool) and not not_a_number


def _finite(value: Scalar) -> float:
    """JSON has no infinity, and floats no end of digits."""
    try:
        number = float(value)
    except OverflowError:
        number = math.inf if int(value) > 0 else -math.inf
    return max(-sys.float_info.max, min(sys.float_info.max, number))
