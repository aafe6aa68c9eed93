"""The `filters` of a search, and of a chat that looks into uploaded files, as clients send them."""

from __future__ import annotations

import sys
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    PlainValidator,
    StringConstraints,
    Tag,
    WithJsonSchema,
    model_validator,
)
from pydantic.config import JsonDict
from pydantic_core import PydanticCustomError

from multimodal.api.content import Schema, Text
from multimodal.retrieval.dates import NAME_PATTERN, NAMED_RANGES, is_range_name, parse_moment
from multimodal.retrieval.types import Scalar

MOST_FILES, MOST_KEYS, MOST_VALUES = 1000, 32, 100
KEY_CHARACTERS, VALUE_CHARACTERS, MOMENT_CHARACTERS = 256, 1024, 64
INT_LIMIT = 2**63
"""Larger whole numbers are compared as floating-point numbers."""

_NO_NUL = r"^[^\u0000]*$"


class Closed(Schema):
    """An object all of whose fields are known: a misspelt condition that is ignored would find too much."""

    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _known_only(cls, value: object) -> object:
        if isinstance(value, dict) and not value.keys() <= cls.model_fields.keys():
            names = ", ".join(cls.model_fields)
            raise PydanticCustomError("unknown_filter", f"must have no other fields than {names}")
        return value


def _one_at_least(schema: JsonDict) -> None:
    """What `_some_bound` checks, in the words of JSON Schema."""
    names = list(schema["properties"]) if isinstance(schema["properties"], dict) else []
    schema["anyOf"] = [
        {"required": [name], "properties": {name: {"not": {"type": "null"}}}} for name in names
    ]


class Limited(Closed):
    """Base of ranges: not all bounds may be left out."""

    model_config = ConfigDict(json_schema_extra=_one_at_least)

    @model_validator(mode="after")
    def _some_bound(self) -> Limited:
        if all(getattr(self, name) is None for name in type(self).model_fields):
            names = ", ".join(type(self).model_fields)
            raise PydanticCustomError("empty_range", f"must have at least one of {names}")
        return self


class Bounds(Limited):
    """Bounds of a number."""

    gte: float | None = Field(None, description="at least")
    lte: float | None = Field(None, description="at most")
    gt: float | None = Field(None, description="more than")
    lt: float | None = Field(None, description="less than")


# --- dates -------------------------------------------------------------------------------------


def _moment(value: object) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < INT_LIMIT:
        return float(value)
    if isinstance(value, str) and len(value) <= MOMENT_CHARACTERS:
        try:
            return parse_moment(value)
        except ValueError:
            pass  # said below
    raise PydanticCustomError("moment", "must be an ISO 8601 date or time, or Unix seconds")


Moment = Annotated[
    float,
    PlainValidator(_moment),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "format": "date-time"},
                {"type": "string", "format": "date"},
                {"type": "number", "exclusiveMinimum": -INT_LIMIT, "exclusiveMaximum": INT_LIMIT},
            ]
        }
    ),
]


class Dates(Limited):
    """A stretch of time. Times without an offset are UTC."""

    after: Moment | None = Field(None, description="at this moment or later")
    before: Moment | None = Field(None, description="earlier than this moment")


_NO_DATE = f"must be an object with after or before, or one of {NAMED_RANGES}"


def _known_name(name: str) -> str:
    if not is_range_name(name):
        raise PydanticCustomError("date_name", _NO_DATE)
    return name


def _date_tag(value: object) -> str | None:
    return "<name>" if isinstance(value, str) else "<range>" if isinstance(value, dict | Dates) else None


DateName = Annotated[str, AfterValidator(_known_name), Field(json_schema_extra={"pattern": NAME_PATTERN})]
Date = Annotated[
    Annotated[DateName, Tag("<name>")] | Annotated[Dates, Tag("<range>")],
    Discriminator(_date_tag, custom_error_type="date", custom_error_message=_NO_DATE),
]

# --- user metadata -----------------------------------------------------------------------------


def _scalar(value: object) -> Scalar:
    if isinstance(value, bool) or (isinstance(value, int) and abs(value) < INT_LIMIT):
        return value
    if isinstance(value, int | float) and abs(value) <= sys.float_info.max:
        return float(value)
    if isinstance(value, str) and len(value) <= VALUE_CHARACTERS and "\0" not in value:
        return value
    raise PydanticCustomError(
        "metadata_value",
        f"must be a string of at most {VALUE_CHARACTERS} characters without NUL, a number or a boolean",
    )


Value = Annotated[
    Scalar,
    PlainValidator(_scalar),
    WithJsonSchema(
        {"type": ["string", "number", "boolean"], "maxLength": VALUE_CHARACTERS, "pattern": _NO_NUL}
    ),
]


def _condition_tag(value: object) -> str:
    return (
        "<list>" if isinstance(value, list) else "<range>" if isinstance(value, dict | Bounds) else "<value>"
    )


Condition = Annotated[
    Annotated[Value, Tag("<value>")]
    | Annotated[list[Value], Field(min_length=1, max_length=MOST_VALUES, fail_fast=True), Tag("<list>")]
    | Annotated[Bounds, Tag("<range>")],
    Discriminator(_condition_tag),
]


def _few_short_keys(value: object) -> object:
    """Before the values are looked at: errors about those name the key."""
    if isinstance(value, dict):
        if len(value) > MOST_KEYS:
            raise PydanticCustomError("metadata", f"must have at most {MOST_KEYS} keys")
        if not all(
            isinstance(key, str) and 1 <= len(key) <= KEY_CHARACTERS and "\0" not in key for key in value
        ):
            raise PydanticCustomError(
                "metadata", f"must have keys of 1 to {KEY_CHARACTERS} characters without NUL"
            )
    return value


Metadata = Annotated[
    dict[str, Condition],
    BeforeValidator(_few_short_keys),
    Field(
        json_schema_extra={
            "maxProperties": MOST_KEYS,
            "propertyNames": {"minLength": 1, "maxLength": KEY_CHARACTERS, "pattern": _NO_NUL},
        }
    ),
]

# --- all of them -------------------------------------------------------------------------------

FileId = Annotated[Text, StringConstraints(min_length=1, max_length=256)]
KindName = Literal["image", "audio", "video", "document", "text"]
KindNames = Annotated[list[KindName], Field(min_length=1, max_length=16, fail_fast=True)]


class Filters(Closed):
    """Conditions on the files that are searched. All hold together."""

    file_id: FileId | None = Field(None, description="this file only")
    file_ids: Annotated[list[FileId], Field(min_length=1, max_length=MOST_FILES, fail_fast=True)] | None = (
        Field(None, description="these files only")
    )
    kind: KindName | None = Field(None, description="files of this kind only; text is the same as document")
    kinds: KindNames | None = Field(None, description="files of these kinds only")
    date: Date | None = Field(
        None,
        description=(
            f"when the file was uploaded: an object with after and before, or one of {NAMED_RANGES}, in UTC"
        ),
    )
    date_range: Date | None = Field(None, description="the same as date")
    duration_s: Bounds | None = Field(None, description="how long the recording or the video plays, seconds")
    metadata: Metadata | None = Field(
        None,
        description=(
            "by key of the file's own metadata: a value, a list of values of which one must be it, or bounds "
            "of a number"
        ),
    )
