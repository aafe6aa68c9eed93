"""What clients may send, after OpenAI's API reference. Unknown fields are ignored, wrong types are not.

Names of union members are written "<name>", so that errors can leave them out of a field's path.
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import AfterValidator, BaseModel, ConfigDict, Discriminator, Field, StringConstraints, Tag
from pydantic_core import PydanticCustomError

from multimodal.types import FrameSampling, OnMediaError


class Schema(BaseModel):
    """Base: strict about types, lenient about unknown fields, and quiet about values."""

    model_config = ConfigDict(
        extra="ignore", strict=True, allow_inf_nan=False, frozen=True, hide_input_in_errors=True
    )


def _no_nul(text: str) -> str:
    if "\0" in text:
        raise PydanticCustomError("nul_character", "a NUL character (U+0000) is not text; remove it")
    return text


Text = Annotated[str, AfterValidator(_no_nul)]
ModelName = Annotated[str, StringConstraints(min_length=1, max_length=256)]
SamplingName = Annotated[FrameSampling, Field(strict=False)]
"""Strict mode would ask for the enum's members, which JSON does not have."""


# --- content -----------------------------------------------------------------------------------


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
    max_frames: int | None = Field(None, ge=1, description="frames sampled at most")


class VideoUrl(FrameOptions):
    url: str = Field(description="data URL of an MP4, WebM or QuickTime video")


class VideoContent(FrameOptions):
    """A video. The options may stand in `video_url` or beside it."""

    type: Literal["video_url"]
    video_url: VideoUrl


PART_TYPES = ("text", "image_url", "input_audio", "video_url")


def _part_tag(value: object) -> str | None:
    kind = value.get("type") if isinstance(value, dict) else getattr(value, "type", None)
    return f"<{kind}>" if isinstance(kind, str) and kind in PART_TYPES else None


ContentPart = Annotated[
    Annotated[TextContent, Tag("<text>")]
    | Annotated[ImageContent, Tag("<image_url>")]
    | Annotated[AudioContent, Tag("<input_audio>")]
    | Annotated[VideoContent, Tag("<video_url>")],
    Discriminator(
        _part_tag,
        custom_error_type="unknown_part_type",
        custom_error_message=f"the type of a content part must be one of {', '.join(PART_TYPES)}",
    ),
]


def _text_or_list(value: object) -> str | None:
    return "<text>" if isinstance(value, str) else "<list>" if isinstance(value, list) else None


Content = Annotated[
    Annotated[Text, Tag("<text>")]
    | Annotated[list[ContentPart], Field(min_length=1, fail_fast=True), Tag("<list>")],
    Discriminator(
        _text_or_list,
        custom_error_type="invalid_content",
        custom_error_message="must be a string or a list of content parts",
    ),
]


class Message(Schema):
    """One turn. Only an assistant's content may be null."""

    role: Literal["system", "developer", "user", "assistant"]
    content: Content | None = None
    tool_calls: list[object] | None = Field(None, description="not supported: leave out or empty")
    function_call: object = Field(None, description="not supported: leave out")


# --- chat --------------------------------------------------------------------------------------


class TextFormat(Schema):
    type: Literal["text"]


class JsonObjectFormat(Schema):
    """Any JSON object."""

    type: Literal["json_object"]


class JsonSchema(Schema):
    name: str | None = Field(None, max_length=256)
    schema_: dict[str, object] = Field(alias="schema", description="a JSON Schema")
    strict: bool | None = None


class JsonSchemaFormat(Schema):
    """JSON that matches a schema."""

    type: Literal["json_schema"]
    json_schema: JsonSchema


FORMAT_TYPES = ("text", "json_object", "json_schema")


def _format_tag(value: object) -> str | None:
    kind = value.get("type") if isinstance(value, dict) else getattr(value, "type", None)
    return f"<{kind}>" if isinstance(kind, str) and kind in FORMAT_TYPES else None


ResponseFormat = Annotated[
    Annotated[TextFormat, Tag("<text>")]
    | Annotated[JsonObjectFormat, Tag("<json_object>")]
    | Annotated[JsonSchemaFormat, Tag("<json_schema>")],
    Discriminator(
        _format_tag,
        custom_error_type="invalid_response_format",
        custom_error_message=f"must be an object whose type is one of {', '.join(FORMAT_TYPES)}",
    ),
]

StopText = Annotated[Text, StringConstraints(min_length=1, max_length=1024)]
Stop = Annotated[
    Annotated[StopText, Tag("<text>")]
    | Annotated[list[StopText], Field(max_length=16, fail_fast=True), Tag("<list>")],
    Discriminator(
        _text_or_list,
        custom_error_type="invalid_stop",
        custom_error_message="must be a string or a list of up to 16 strings",
    ),
]


class StreamOptions(Schema):
    include_usage: bool | None = Field(None, description="a last chunk with the tokens used")
    include_stages: bool | None = Field(None, description="what runs now, and how long each stage took")


SEED_LIMIT = 2**63
"""Seeds are signed 64-bit integers."""

Tools: TypeAlias = list[object]


class ChatCompletionRequest(Schema):
    """POST /v1/chat/completions."""

    model: ModelName
    messages: Annotated[list[Message], Field(min_length=1, fail_fast=True)]

    max_tokens: int | None = Field(None, ge=1, description="answer length at most, tokens")
    max_completion_tokens: int | None = Field(None, ge=1, description="the newer name of max_tokens; it wins")
    min_tokens: int | None = Field(None, ge=0, description="answer length at least, tokens")
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, gt=0, le=1)
    top_k: int | None = Field(None, ge=-1, le=1_000_000, description="-1 or 0: all tokens")
    min_p: float | None = Field(None, ge=0, le=1)
    presence_penalty: float | None = Field(None, ge=-2, le=2)
    frequency_penalty: float | None = Field(None, ge=-2, le=2)
    repetition_penalty: float | None = Field(None, gt=0, le=2)
    seed: int | None = Field(None, ge=-SEED_LIMIT, lt=SEED_LIMIT)
    stop: Stop | None = None
    n: int | None = Field(None, ge=1, description="answers")
    ignore_eos: bool | None = Field(None, description="go on until max_tokens")
    response_format: ResponseFormat | None = None

    stream: bool | None = None
    stream_options: StreamOptions | None = None
    on_media_error: Annotated[OnMediaError, Field(strict=False)] | None = Field(None, description="skip: leave out media that cannot be used")

    tools: Tools | None = Field(None, description="not supported: leave out, or set tool_choice to none")
    tool_choice: object = None
    functions: Tools | None = Field(None, description="not supported")
    function_call: object = None
    logprobs: bool | None = Field(None, description="not supported")
    logit_bias: dict[str, object] | None = Field(None, description="not supported")
    modalities: list[str] | None = Field(None, description="only text")
    web_search_options: object = Field(None, description="not supported")


# --- embeddings --------------------------------------------------------------------------------


def _input_tag(value: object) -> str | None:
    if isinstance(value, list) and value and not isinstance(value[0], str):
        return None  # tokens or content parts
    return _text_or_list(value)


EmbeddingText = Annotated[Text, StringConstraints(min_length=1)]
EmbeddingInput = Annotated[
    Annotated[EmbeddingText, Tag("<text>")]
    | Annotated[list[EmbeddingText], Field(min_length=1, fail_fast=True), Tag("<list>")],
    Discriminator(
        _input_tag,
        custom_error_type="invalid_input",
        custom_error_message="must be a string or a list of strings; arrays of tokens are not supported, send text",
    ),
]


class EmbeddingsRequest(Schema):
    """POST /v1/embeddings."""

    model: ModelName
    input: EmbeddingInput
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: int | None = Field(None, ge=1, description="only the model's own")
