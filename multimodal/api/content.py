"""Messages and content parts as clients send them. Unknown fields are ignored, wrong types are not.

Names of union members are written "<name>", so that errors can leave them out of a field's path.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    StringConstraints,
    Tag,
)
from pydantic.config import JsonDict
from pydantic_core import PydanticCustomError

from multimodal.types import FrameSampling


class Schema(BaseModel):
    """Base: strict about types, lenient about unknown fields, and quiet about values."""

    model_config = ConfigDict(
        extra="ignore", strict=True, allow_inf_nan=False, frozen=True, hide_input_in_errors=True
    )


def _no_nul(text: str) -> str:
    if "\0" in text:
        raise PydanticCustomError("nul_character", "a NUL character (U+0000) is not text; remove it")
    return text


def _whole_number(value: object) -> object:
    return int(value) if isinstance(value, float) and value.is_integer() else value


WHOLE = BeforeValidator(_whole_number)
"""Marks integers: JSON has one kind of numbers, and for JSON Schema 4.0 is the integer 4."""

Count = Annotated[int, Field(ge=1), WHOLE]

Text = Annotated[str, AfterValidator(_no_nul), Field(json_schema_extra={"pattern": r"^[^\u0000]*$"})]
# Strict mode would ask for the enum's members, which JSON does not have.
SamplingName = Annotated[FrameSampling, Field(strict=False)]


class TextContent(Schema):
    """Words."""

    type: Literal["text"]
    text: Text


class ImageUrl(Schema):
    url: str = Field(description="data URL of a PNG, JPEG, WebP, GIF, BMP or TIFF picture")
    detail: Literal["auto", "low", "high"] | None = None


class ImageContent(Schema):
    """A picture."""

    type: Literal["image_url"]
    image_url: ImageUrl


class InputAudio(Schema):
    data: str = Field(description="base64")
    format: Annotated[str, StringConstraints(max_length=64)] | None = Field(
        None, description="wav, mp3, flac, ogg or m4a"
    )


class AudioContent(Schema):
    """A recording."""

    type: Literal["input_audio"]
    input_audio: InputAudio


class FrameOptions(Schema):
    frame_sampling: SamplingName | None = Field(None, description="how frames are chosen")
    max_frames: Count | None = Field(None, description="frames sampled at most")


class VideoUrl(FrameOptions):
    url: str = Field(description="data URL of an MP4, WebM or QuickTime video")


class VideoContent(FrameOptions):
    """A video. The options may stand in `video_url` or beside it."""

    type: Literal["video_url"]
    video_url: VideoUrl


class FileData(Schema):
    """An uploaded file by its id, or a file in the request."""

    model_config = ConfigDict(
        json_schema_extra={
            "anyOf": [
                {"required": ["file_id"], "properties": {"file_id": {"type": "string"}}},
                {"required": ["file_data"], "properties": {"file_data": {"type": "string"}}},
            ]
        }
    )

    file_id: Annotated[Text, StringConstraints(min_length=1, max_length=256)] | None = Field(
        None, description="of an uploaded file, of any kind"
    )
    file_data: str | None = Field(
        None, description="data URL or base64 of a document, a picture, a recording or a video"
    )
    filename: Annotated[Text, StringConstraints(max_length=1024)] | None = None


class FileContent(FrameOptions):
    """A file. The options are for videos."""

    type: Literal["file"]
    file: FileData


PART_TYPES = ("text", "image_url", "input_audio", "video_url", "file")


def _part_tag(value: object) -> str | None:
    kind = value.get("type") if isinstance(value, dict) else getattr(value, "type", None)
    return f"<{kind}>" if isinstance(kind, str) and kind in PART_TYPES else None


BY_TYPE = Discriminator(
    _part_tag,
    custom_error_type="unknown_part_type",
    custom_error_message=f"the type of a content part must be one of {', '.join(PART_TYPES)}",
)
"""Marks unions of parts of all PART_TYPES."""

ContentPart = Annotated[
    Annotated[TextContent, Tag("<text>")]
    | Annotated[ImageContent, Tag("<image_url>")]
    | Annotated[AudioContent, Tag("<input_audio>")]
    | Annotated[VideoContent, Tag("<video_url>")]
    | Annotated[FileContent, Tag("<file>")],
    BY_TYPE,
]


def text_or_list(value: object) -> str | None:
    """Tag of a value that may be a string or a list of them."""
    return "<text>" if isinstance(value, str) else "<list>" if isinstance(value, list) else None


Content = Annotated[
    Annotated[Text, Tag("<text>")]
    | Annotated[list[ContentPart], Field(min_length=1, fail_fast=True), Tag("<list>")],
    Discriminator(
        text_or_list,
        custom_error_type="invalid_content",
        custom_error_message="must be a string or a list of content parts",
    ),
]


def _only_an_assistant_may_say_nothing(schema: JsonDict) -> None:
    """What `convert` checks, in the words of JSON Schema."""
    schema["anyOf"] = [
        {"properties": {"role": {"const": "assistant"}}},
        {"properties": {"content": {"type": ["string", "array"]}}, "required": ["content"]},
    ]


class Message(Schema):
    """One turn. Only an assistant's content may be null."""

    model_config = ConfigDict(json_schema_extra=_only_an_assistant_may_say_nothing)

    role: Literal["system", "developer", "user", "assistant"]
    content: Content | None = None
    tool_calls: list[object] | None = Field(
        None, description="not supported: leave out or empty", json_schema_extra={"maxItems": 0}
    )
    function_call: object = Field(
        None, description="not supported: leave out", json_schema_extra={"type": "null"}
    )
