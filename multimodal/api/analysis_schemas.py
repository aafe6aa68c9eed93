"""What the endpoints that analyse one medium have in common: their options and their answers."""

from __future__ import annotations

from typing import Annotated, Literal, cast

from pydantic import BaseModel, BeforeValidator, Field, StringConstraints
from pydantic.config import JsonDict, JsonValue
from pydantic_core import PydanticCustomError, from_json

from multimodal.api.content import Text
from multimodal.api.responses import ChatUsage, MediaNote, StageNow, StageTime
from multimodal.api.schemas import AnswerOptions, ModelName, StreamOptions

HINT_CHARS = 4096
"""Longest hint for transcription. Whisper reads the last 224 tokens of it, some thousand characters."""

LanguageName = Annotated[Text, StringConstraints(max_length=64)]
Hint = Annotated[Text, StringConstraints(max_length=HINT_CHARS)]


def _object_of_text(value: object) -> object:
    """Forms hold text: an object comes as JSON, where it does not come as `name[key]`."""
    if not isinstance(value, str) or not value.startswith("{"):
        return value
    try:
        return from_json(value)
    except ValueError:
        raise PydanticCustomError("json_object", "must be a JSON object") from None


FromText = BeforeValidator(_object_of_text)
"""Marks a field of a form that is an object."""


def with_file(schema: JsonDict) -> None:
    """`json_schema_extra` of a form: describes the file, which `upload` takes care of, and lists no nulls."""
    properties = schema.get("properties")
    required = schema.get("required", [])
    if isinstance(properties, dict) and isinstance(required, list):
        described: JsonDict = {"type": "string", "format": "binary", "description": "the file itself"}
        fields = {name: _without_null(field) for name, field in properties.items()}
        schema["properties"] = {"file": described, **fields}
        schema["required"] = ["file", *required]


def _without_null(field: JsonValue) -> JsonValue:
    """A form holds text, and what a field would be null for is left out."""
    if not isinstance(field, dict) or not isinstance(field.get("anyOf"), list):
        return field
    options = [option for option in cast(list[JsonValue], field["anyOf"]) if option != {"type": "null"}]
    left = {name: value for name, value in field.items() if name not in ("anyOf", "default")}
    return {"anyOf": options, **left}


# --- requests ----------------------------------------------------------------------------------


class AnalysisOptions(AnswerOptions):
    """A question about a medium, and how the answer is wanted."""

    model: ModelName | None = Field(None, description="what answers; default: the generator")
    prompt: Text | None = Field(None, description="a question about it; without one nothing is generated")
    language: LanguageName | None = Field(
        None, description="of the speech: ISO 639-1 code or English name; default: found out"
    )
    hint: Hint | None = Field(None, description="words that may occur in the speech: names, spellings")
    stream: bool | None = None
    stream_options: Annotated[StreamOptions | None, FromText] = None


# --- answers -----------------------------------------------------------------------------------


class AnalysisHead(BaseModel):
    """What every answer begins with. An endpoint narrows `object` to its own name."""

    id: str
    object: str
    created: int = Field(description="Unix seconds")
    model: str


class AnalysisAnswer(BaseModel):
    """What the generator says. Null without a question."""

    answer: str | None
    finish_reason: Literal["stop", "length"] | None
    usage: ChatUsage | None
    media_notes: list[MediaNote] | None = Field(None, description="present where there is something to note")
    stages: list[StageTime] | None = Field(None, description="present with stream_options.include_stages")


class _Event(BaseModel):
    id: str
    object: str = Field(description="that of the answer, and what comes")


class AnalysisStageEvent(_Event):
    """`<object>.stage`: a stage was entered or left."""

    stage: StageNow


class AnalysisDeltaEvent(_Event):
    """`<object>.delta`: the answer grows."""

    delta: str


class AnalysisDoneEvent(AnalysisAnswer, _Event):
    """`<object>.done`: the whole answer."""


ANALYSIS_EVENTS = (AnalysisStageEvent, AnalysisDeltaEvent, AnalysisDoneEvent)
"""Of every streamed analysis, beside the endpoint's own."""
