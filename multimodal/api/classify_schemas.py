"""Body and answer of POST /v1/classify."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, Discriminator, Field, StringConstraints, Tag
from pydantic_core import PydanticCustomError

from multimodal.api.content import FileContent, ImageContent, Schema, Text, VideoContent
from multimodal.api.responses import EmbeddingsUsage
from multimodal.api.schemas import ModelName

FEWEST_LABELS, MOST_LABELS = 2, 1000

PLACE = "{}"
"""Where a label stands in the template."""

_WITHOUT_PLACE = r"([^{\u0000]|\{+[^{}\u0000])*\{*"
_TEMPLATE_PATTERN = rf"^{_WITHOUT_PLACE}\{{\}}{_WITHOUT_PLACE}$"
"""What `_one_place` and `Text` check, in the words of JSON Schema."""

# --- requests ----------------------------------------------------------------------------------


def _one_place(template: str) -> str:
    if template.count(PLACE) != 1:
        raise PydanticCustomError("template", "must have {} once, where the label stands")
    return template


def _some_and_distinct(labels: list[str]) -> list[str]:
    if not FEWEST_LABELS <= len(labels) <= MOST_LABELS:
        raise PydanticCustomError("labels", f"must have {FEWEST_LABELS} to {MOST_LABELS} items")
    if len(set(labels)) < len(labels):
        raise PydanticCustomError("labels", "must be distinct")
    return labels


def _seen_tag(value: object) -> str | None:
    kind = value.get("type") if isinstance(value, dict) else getattr(value, "type", None)
    return f"<{kind}>" if kind in ("image_url", "video_url", "file") else None


SeenPart = Annotated[
    Annotated[ImageContent, Tag("<image_url>")]
    | Annotated[VideoContent, Tag("<video_url>")]
    | Annotated[FileContent, Tag("<file>")],
    Discriminator(
        _seen_tag,
        custom_error_type="unknown_part_type",
        custom_error_message="must be one content part whose type is image_url, video_url or file",
    ),
]
Label = Annotated[Text, StringConstraints(min_length=1)]
Labels = Annotated[
    list[Label],
    Field(fail_fast=True),
    AfterValidator(_some_and_distinct),
    Field(json_schema_extra={"minItems": FEWEST_LABELS, "maxItems": MOST_LABELS, "uniqueItems": True}),
]
Template = Annotated[
    Text, AfterValidator(_one_place), Field(json_schema_extra={"pattern": _TEMPLATE_PATTERN})
]


class ClassifyBody(Schema):
    """POST /v1/classify."""

    model: ModelName | None = Field(None, description="any of those of /v1/embeddings; default: image")
    input: SeenPart = Field(description="a picture or a video, as in chat")
    labels: Labels = Field(description="what it may be: distinct words or descriptions")
    template: Template | None = Field(
        PLACE, description="the sentence that each label is put into: {} is its place, as in: a photo of {}"
    )


# --- answers -----------------------------------------------------------------------------------


class LabelResult(BaseModel):
    label: str
    score: float = Field(description="from 0 to 1; those of all labels sum to one")
    similarity: float = Field(
        description="from -1 to 1: of the label's vector and that of the input. Low for all labels: none fits"
    )


class ClassifyAnswer(BaseModel):
    """The answer of POST /v1/classify."""

    object: Literal["classification"]
    model: str
    results: list[LabelResult] = Field(description="one for each label, the best first")
    usage: EmbeddingsUsage = Field(description="tokens of the labels in their template")
