"""What the endpoints answer, after OpenAI's API reference; our extensions are optional fields."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from multimodal.api.file_urls import content_url
from multimodal.types import Citation, MediaKind, Sources, StageState, Usage


class ErrorBody(BaseModel):
    message: str
    type: str
    param: str | None
    code: str


class ErrorEnvelope(BaseModel):
    """OpenAI's error envelope: the body of every 4xx and 5xx, and the last event of a stream that failed."""

    error: ErrorBody


# --- chat --------------------------------------------------------------------------------------


class MediaNote(BaseModel):
    """A medium that was left out, or whose text was shortened to fit the model's context."""

    param: str = Field(description="where it stood in the request")
    note: Literal["skipped", "shortened"]
    message: str
    code: str | None = Field(None, description="why it was skipped")
    kept_tokens: int | None = None
    dropped_tokens: int | None = None


class CitedSegment(BaseModel):
    """A segment of an uploaded file that stood in the prompt."""

    number: int = Field(description="from 1, the most relevant first")
    file_id: str
    filename: str
    type: MediaKind = Field(description="of the file")
    url: str = Field(description="of the file, with the place in it")
    similarity_score: float | None = Field(
        description="largest cosine with the question, words and pictures brought to one scale"
    )
    snippet: str
    start_s: float | None = Field(None, description="recordings and videos: where it begins, seconds")
    end_s: float | None = None
    page: int | None = Field(None, description="documents: from 1")
    box: list[float] | None = Field(
        None, description="left, top, right, bottom as fractions of the page or the picture"
    )


def cited(sources: Sources) -> list[CitedSegment]:
    """Citations in the words of the API."""
    return [_cited(one) for one in sources.citations]


def _cited(one: Citation) -> CitedSegment:
    return CitedSegment(
        number=one.number,
        file_id=one.file_id,
        filename=one.filename,
        type=one.kind,
        url=content_url(one.file_id, start_s=one.start_s, end_s=one.end_s, page=one.page),
        similarity_score=None if one.similarity is None else round(max(-1.0, min(1.0, one.similarity)), 4),
        snippet=one.snippet,
        start_s=one.start_s,
        end_s=one.end_s,
        page=one.page,
        box=None if one.box is None else [round(edge, 4) for edge in one.box],
    )


class StageTime(BaseModel):
    """A stage, and how long the request was in it."""

    stage: str
    param: str | None = Field(description="the content part that it worked on")
    seconds: float
    cached: bool = Field(False, description="there and true where everything was known: nothing was encoded")


class PromptTokensDetails(BaseModel):
    cached_tokens: int = Field(description="found in the prefix cache")


class ChatUsage(BaseModel):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails

    @classmethod
    def of(cls, usage: Usage) -> ChatUsage:
        """Usage in OpenAI's words."""
        return cls(
            prompt_tokens=usage.prompt_tokens,
            completion_tokens=usage.completion_tokens,
            total_tokens=usage.prompt_tokens + usage.completion_tokens,
            prompt_tokens_details=PromptTokensDetails(cached_tokens=usage.cached_tokens),
        )


class AnswerMessage(BaseModel):
    role: Literal["assistant"]
    content: str
    refusal: None


class Choice(BaseModel):
    index: int
    message: AnswerMessage
    logprobs: None
    finish_reason: Literal["stop", "length"]


class ChatCompletion(BaseModel):
    id: str
    object: Literal["chat.completion"]
    created: int = Field(description="Unix seconds")
    model: str
    choices: list[Choice]
    usage: ChatUsage
    media_notes: list[MediaNote] | None = Field(None, description="present where there is something to note")
    citations: list[CitedSegment] | None = Field(
        None, description="present with retrieval: what the answer stands on; empty: nothing relevant"
    )
    stages: list[StageTime] | None = Field(None, description="present with stream_options.include_stages")


# --- streamed chat: written by `sse`, described here -------------------------------------------


class AnswerDelta(BaseModel):
    role: Literal["assistant"] | None = Field(None, description="in the first chunk of a choice")
    content: str | None = None
    refusal: None = None


class ChunkChoice(BaseModel):
    index: int
    delta: AnswerDelta
    logprobs: None
    finish_reason: Literal["stop", "length"] | None = Field(description="in the last chunk of a choice")


class StageNow(BaseModel):
    """A stage that a request entered or left."""

    stage: str
    param: str | None = Field(description="the content part that it works on")
    label: str = Field(description="to show, such as: encoding image 2/3")
    seconds: float | None = Field(description="null on entering, the time it took on leaving")
    cached: bool = Field(False, description="there and true where everything was known: nothing was encoded")


class ChatCompletionChunk(BaseModel):
    """The data of an event of a streamed answer. Chunks without choices carry what stands beside them."""

    id: str
    object: Literal["chat.completion.chunk"]
    created: int = Field(description="Unix seconds")
    model: str
    choices: list[ChunkChoice]
    usage: ChatUsage | None = Field(
        None, description="in the last chunk, with stream_options.include_usage; null in those before"
    )
    media_notes: list[MediaNote] | None = Field(None, description="in the chunk that ends the first choice")
    citations: list[CitedSegment] | None = Field(
        None, description="with retrieval: before the first words, and again at the end"
    )
    stage: StageNow | None = Field(None, description="with stream_options.include_stages")
    stages: list[StageTime] | None = Field(None, description="at the end, with stream_options.include_stages")


# --- embeddings --------------------------------------------------------------------------------


class Embedding(BaseModel):
    object: Literal["embedding"]
    index: int
    embedding: list[float] | str = Field(description="numbers, or base64 of little-endian 32-bit floats")


class EmbeddingsUsage(BaseModel):
    prompt_tokens: int
    total_tokens: int


class EmbeddingsResponse(BaseModel):
    object: Literal["list"]
    data: list[Embedding]
    model: str
    usage: EmbeddingsUsage


# --- models and health -------------------------------------------------------------------------


class Model(BaseModel):
    id: str
    object: Literal["model"] = "model"
    created: int = Field(description="Unix seconds: when this server started")
    owned_by: str = "multimodal"
    modalities: list[str] = Field(description="what it takes")
    endpoints: list[str] = Field(description="where it is served")


class ModelList(BaseModel):
    object: Literal["list"] = "list"
    data: list[Model]


class Health(BaseModel):
    status: Literal["ok"] = "ok"


class Readiness(BaseModel):
    status: Literal["ready", "not_ready"]
    stages: dict[str, StageState]
    unavailable: list[str] = Field(description="stages that cannot serve")
    error: ErrorBody | None = Field(None, description="present where the status is not_ready")
