"""Request bodies, after OpenAI's API reference, with vLLM's sampling parameters beside OpenAI's."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Discriminator, Field, StringConstraints, Tag

from multimodal.api.content import (
    BY_TYPE,
    WHOLE,
    AudioContent,
    Count,
    FileContent,
    ImageContent,
    Message,
    Schema,
    Text,
    VideoContent,
    text_or_list,
)
from multimodal.api.filter_schemas import MOST_FILES, FileId, Filters
from multimodal.types import OnMediaError

ModelName = Annotated[str, StringConstraints(min_length=1, max_length=256)]
OnMediaErrorName = Annotated[OnMediaError, Field(strict=False)]

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
        text_or_list,
        custom_error_type="invalid_stop",
        custom_error_message="must be a string or a list of up to 16 strings",
    ),
]


class StreamOptions(Schema):
    include_usage: bool | None = Field(None, description="a last chunk with the tokens used")
    include_stages: bool | None = Field(None, description="what runs now, and how long each stage took")


class RetrievalOptions(Schema):
    """An answer that stands on uploaded files."""

    enabled: bool = Field(True, description="false: as if retrieval was left out")
    top_k: Count | None = Field(None, description="segments that the answer is given at most")
    file_ids: Annotated[list[FileId], Field(min_length=1, max_length=MOST_FILES, fail_fast=True)] | None = (
        Field(None, description="look in these files only")
    )
    filters: Filters | None = Field(None, description="as in POST /v1/search")
    score_threshold: float | None = Field(
        None, ge=-1, le=1, description="similarity below which a segment is not relevant"
    )


SEED_LIMIT = 2**63
"""Seeds are signed 64-bit integers."""


class AnswerOptions(Schema):
    """How the generator draws an answer."""

    max_tokens: Count | None = Field(None, description="answer length at most, tokens")
    max_completion_tokens: Count | None = Field(None, description="the newer name of max_tokens; it wins")
    min_tokens: Annotated[int, Field(ge=0), WHOLE] | None = Field(
        None, description="answer length at least, tokens"
    )
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, gt=0, le=1)
    top_k: Annotated[int, Field(ge=-1, le=1_000_000), WHOLE] | None = Field(
        None, description="-1 or 0: all tokens"
    )
    min_p: float | None = Field(None, ge=0, le=1)
    presence_penalty: float | None = Field(None, ge=-2, le=2)
    frequency_penalty: float | None = Field(None, ge=-2, le=2)
    repetition_penalty: float | None = Field(None, gt=0, le=2)
    seed: Annotated[int, Field(ge=-SEED_LIMIT, lt=SEED_LIMIT), WHOLE] | None = None
    stop: Stop | None = None
    ignore_eos: bool | None = Field(None, description="go on until max_tokens")


class ChatCompletionRequest(AnswerOptions):
    """POST /v1/chat/completions."""

    model: ModelName
    messages: Annotated[list[Message], Field(min_length=1, fail_fast=True)]

    n: Count | None = Field(None, description="answers")
    response_format: ResponseFormat | None = None

    stream: bool | None = None
    stream_options: StreamOptions | None = None
    on_media_error: OnMediaErrorName | None = Field(
        None, description="skip: leave out media that cannot be used"
    )
    retrieval: RetrievalOptions | None = Field(
        None, description="find segments of uploaded files, answer from them, and cite them"
    )

    # What `sampling.refuse_unsupported` refuses is of a wider type than the document says.
    tools: list[object] | None = Field(
        None,
        description="not supported: leave out, or set tool_choice to none",
        json_schema_extra={"maxItems": 0},
    )
    tool_choice: object = None
    functions: list[object] | None = Field(
        None, description="not supported", json_schema_extra={"maxItems": 0}
    )
    function_call: object = None
    logprobs: bool | None = Field(
        None, description="not supported", json_schema_extra={"enum": [False, None]}
    )
    logit_bias: dict[str, object] | None = Field(
        None, description="not supported", json_schema_extra={"maxProperties": 0}
    )
    modalities: list[str] | None = Field(
        None, description="only text", json_schema_extra={"enum": [["text"], None]}
    )
    web_search_options: object = Field(None, description="not supported", json_schema_extra={"type": "null"})


# --- embeddings --------------------------------------------------------------------------------


def _input_tag(value: object) -> str | None:
    if isinstance(value, list) and value and not isinstance(value[0], str | dict):
        return None  # tokens
    return text_or_list(value)


def _item_tag(value: object) -> str | None:
    return "<string>" if isinstance(value, str) else "<part>" if isinstance(value, dict) else None


EmbeddingText = Annotated[Text, StringConstraints(min_length=1)]


class EmbeddingTextContent(Schema):
    """Words."""

    type: Literal["text"]
    text: EmbeddingText


EmbeddingPart = Annotated[
    Annotated[EmbeddingTextContent, Tag("<text>")]
    | Annotated[ImageContent, Tag("<image_url>")]
    | Annotated[AudioContent, Tag("<input_audio>")]
    | Annotated[VideoContent, Tag("<video_url>")]
    | Annotated[FileContent, Tag("<file>")],
    BY_TYPE,
]
EmbeddingItem = Annotated[
    Annotated[EmbeddingText, Tag("<string>")] | Annotated[EmbeddingPart, Tag("<part>")],
    Discriminator(
        _item_tag,
        custom_error_type="invalid_input",
        custom_error_message="must be a string or a content part",
    ),
]
EmbeddingInput = Annotated[
    Annotated[EmbeddingText, Tag("<text>")]
    | Annotated[list[EmbeddingItem], Field(min_length=1, fail_fast=True), Tag("<list>")],
    Discriminator(
        _input_tag,
        custom_error_type="invalid_input",
        custom_error_message=(
            "must be a string, or a list of strings and content parts (arrays of tokens are not supported)"
        ),
    ),
]


class EmbeddingsRequest(Schema):
    """POST /v1/embeddings."""

    model: ModelName
    input: EmbeddingInput = Field(
        description=(
            "a text, or a list of texts and of content parts as in chat: one vector for each, in order. "
            "The vector of a recording is that of its transcript, that of a video the mean of its scenes"
        )
    )
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Count | None = Field(None, description="only the model's own")
    space: Literal["unified"] | None = Field(
        "unified",
        description="which vector space; this server has one, in which texts and media can be compared",
    )
