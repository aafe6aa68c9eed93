"""Body and answer of POST /v1/search."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    StringConstraints,
    Tag,
    model_validator,
)
from pydantic.config import JsonDict
from pydantic_core import PydanticCustomError

from multimodal.api.content import (
    BY_TYPE,
    WHOLE,
    AudioContent,
    Count,
    FileData,
    FrameOptions,
    ImageContent,
    Schema,
    VideoContent,
)
from multimodal.api.filter_schemas import FileId, Filters, KindNames
from multimodal.api.responses import EmbeddingsUsage
from multimodal.retrieval.types import Scalar, SegmentPart
from multimodal.types import MediaKind

QUERY_CHARACTERS = 32_768
"""Longest text of a query: some 30 pieces for the sentence model."""

WEIGHT_LIMIT = 100

# --- the query ---------------------------------------------------------------------------------


def _words(text: str) -> str:
    if not text.strip():
        raise PydanticCustomError("blank", "must not be blank")
    if "\0" in text:
        raise PydanticCustomError("nul_character", "a NUL character (U+0000) is not text; remove it")
    return text


def _not_zero(weight: float) -> float:
    if weight == 0:
        raise PydanticCustomError("zero_weight", "must not be 0: leave the part out instead")
    return weight


QueryText = Annotated[
    str,
    StringConstraints(max_length=QUERY_CHARACTERS),
    AfterValidator(_words),
    Field(json_schema_extra={"pattern": r"^[^\u0000]*[^\u0000\s][^\u0000]*$"}),
]
Weight = Annotated[
    float, Field(ge=-1, le=1), AfterValidator(_not_zero), Field(json_schema_extra={"not": {"const": 0}})
]


class Weighted(Schema):
    weight: Weight | None = Field(
        None, description="from -1 to 1, default 1: what counts more; below 0: what hits should be unlike"
    )


def _some(schema: JsonDict, **types: str) -> None:
    """One of these fields is there: what the validators check, in the words of JSON Schema."""
    schema["anyOf"] = [
        {"required": [name], "properties": {name: {"type": type}}} for name, type in types.items()
    ]


class TextQuery(Weighted):
    """Words."""

    model_config = ConfigDict(json_schema_extra=lambda schema: _some(schema, content="string", text="string"))

    type: Literal["text"]
    content: QueryText | None = None
    text: QueryText | None = Field(None, description="the same as content, which wins")

    @model_validator(mode="after")
    def _some_text(self) -> TextQuery:
        if self.content is None and self.text is None:
            raise PydanticCustomError("no_text", "must have content: the words to look for")
        return self

    @property
    def words(self) -> str:
        """Of the one field or the other."""
        return self.content or self.text or ""


class ImageQuery(ImageContent, Weighted):
    """A picture."""


class AudioQuery(AudioContent, Weighted):
    """A recording: what is said in it is looked for."""


class VideoQuery(VideoContent, Weighted):
    """A video: how it looks is looked for."""


class FileQuery(FrameOptions, Weighted):
    """An uploaded file, or a file in the request. An uploaded one is not found itself."""

    model_config = ConfigDict(json_schema_extra=lambda schema: _some(schema, file="object", file_id="string"))

    type: Literal["file"]
    file: FileData | None = None
    file_id: FileId | None = Field(None, description="the same as file.file_id, and wins")

    @model_validator(mode="after")
    def _some_file(self) -> FileQuery:
        if self.file is None and self.file_id is None:
            raise PydanticCustomError("no_file", "must have file or file_id")
        return self


QueryPart = Annotated[
    Annotated[TextQuery, Tag("<text>")]
    | Annotated[ImageQuery, Tag("<image_url>")]
    | Annotated[AudioQuery, Tag("<input_audio>")]
    | Annotated[VideoQuery, Tag("<video_url>")]
    | Annotated[FileQuery, Tag("<file>")],
    BY_TYPE,
]


def _query_tag(value: object) -> str | None:
    if isinstance(value, list):
        return "<list>"
    return _item_tag(value)


def _item_tag(value: object) -> str | None:
    return "<string>" if isinstance(value, str) else "<part>" if isinstance(value, dict) else None


QueryEntry = Annotated[
    Annotated[QueryText, Tag("<string>")] | Annotated[QueryPart, Tag("<part>")],
    Discriminator(
        _item_tag,
        custom_error_type="invalid_query",
        custom_error_message="must be a string or a content part",
    ),
]
Query = Annotated[
    Annotated[QueryText, Tag("<string>")]
    | Annotated[QueryPart, Tag("<part>")]
    | Annotated[list[QueryEntry], Field(min_length=1, fail_fast=True), Tag("<list>")],
    Discriminator(
        _query_tag,
        custom_error_type="invalid_query",
        custom_error_message="must be a string, a content part, or a list of those",
    ),
]

# --- the body ----------------------------------------------------------------------------------


class Weights(Schema):
    dense: float | None = Field(None, ge=0, le=WEIGHT_LIMIT, description="of similarity; default 1")
    lexical: float | None = Field(
        None,
        ge=0,
        le=WEIGHT_LIMIT,
        description="of the words of the query; default 1, 0: they are not looked for",
    )


class SearchBody(Schema):
    """POST /v1/search."""

    query: Query = Field(
        description=(
            "what to look for: words, a content part as in chat, an uploaded file; or a list of those"
        )
    )
    search_modalities: KindNames | None = Field(
        None, description="kinds of files that are searched; text is the same as document; default: all"
    )
    filters: Filters | None = None
    top_k: Count | None = Field(None, description="hits at most; default 10")
    offset: Annotated[int, Field(ge=0), WHOLE] | None = Field(None, description="hits that are skipped")
    score_threshold: float | None = Field(None, ge=-1, le=1, description="hits less similar are left out")
    fusion: Literal["rrf", "weighted"] | None = Field(
        "rrf",
        description=(
            "how similarity and words become one order: by ranks (reciprocal rank fusion), or by the sum of "
            "scores"
        ),
    )
    weights: Weights | None = Field(None, description="of similarity and of words in that")
    dedupe: bool | None = Field(False, description="of hits that look alike only the best is answered")


# --- answers -----------------------------------------------------------------------------------


class FoundSegment(BaseModel):
    """A picture, a scene, something that was said, a page or a piece of text."""

    id: str
    file_id: str
    filename: str
    type: MediaKind = Field(description="of the file")
    part: SegmentPart = Field(description="what of the file was found")
    url: str = Field(description="of the file, with the place in it")
    thumbnail_url: str | None = Field(description="a small picture, where there is one")
    similarity_score: float | None = Field(
        description=(
            "from -1 to 1: largest cosine with the query, words and pictures brought to one scale; null "
            "where nothing could be compared"
        )
    )
    score: float = Field(description="what hits are ordered by; comparable within one answer only")
    start_s: float | None = Field(description="recordings and videos: where it begins, seconds")
    end_s: float | None
    matched_frames: list[float] | None = Field(
        description="videos: times of the frames of the scene, seconds"
    )
    page: int | None = Field(description="documents: from 1")
    box: list[float] | None = Field(
        description="left, top, right, bottom as fractions of the page or the picture"
    )
    snippet: str = Field(description="of the words that stand on it or are said in it; empty: none")
    metadata: dict[str, Scalar] = Field(description="the file's own")
    created_at: int = Field(description="when the file was uploaded, Unix seconds")
    duplicates: list[str] = Field(description="with dedupe: ids of files that have one that looks like this")


class SearchResponse(BaseModel):
    """The answer of POST /v1/search."""

    object: Literal["list"]
    results: list[FoundSegment] = Field(description="the best first")
    has_more: bool = Field(description="whether hits follow: ask again with a larger offset")
    usage: EmbeddingsUsage = Field(description="tokens of the texts and transcripts of the query")
