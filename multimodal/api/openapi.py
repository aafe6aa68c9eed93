"""The OpenAPI document: bodies are read by `body`, not by FastAPI, so their schemas are added here."""

from __future__ import annotations

from collections.abc import Mapping

from fastapi import FastAPI
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from multimodal.api.responses import ErrorEnvelope
from multimodal.api.schemas import ChatCompletionRequest, EmbeddingsRequest

Examples = Mapping[str, object]

RED_PIXEL = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQDJ/pLvAAAAAElF"
    "TkSuQmCC"
)
"""A picture of one pixel, so that the example works when it is pasted."""

_CHAT_MODEL = "smollm2-135m-instruct"

CHAT_EXAMPLES: Examples = {
    "text": {
        "model": _CHAT_MODEL,
        "messages": [{"role": "user", "content": "What is the capital of France?"}],
        "max_tokens": 32,
    },
    "picture": {
        "model": _CHAT_MODEL,
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "Which colour is this?"},
                    {"type": "image_url", "image_url": {"url": RED_PIXEL}},
                ],
            }
        ],
        "max_tokens": 32,
        "stream": True,
        "stream_options": {"include_usage": True, "include_stages": True},
    },
}

EMBEDDINGS_EXAMPLES: Examples = {
    "texts": {"model": "text", "input": ["a red apple", "a green pear"], "encoding_format": "float"}
}

_REFERENCE = "#/components/schemas/{model}"
_BODIES: tuple[type[BaseModel], ...] = (ChatCompletionRequest, EmbeddingsRequest)


def json_body(model: type[BaseModel], examples: Examples) -> dict[str, object]:
    """`openapi_extra` of an endpoint that reads this body."""
    content = {
        "schema": {"$ref": _REFERENCE.format(model=model.__name__)},
        "examples": {name: {"value": value} for name, value in examples.items()},
    }
    return {"requestBody": {"required": True, "content": {"application/json": content}}}


def error_responses() -> dict[int | str, dict[str, object]]:
    """`responses` of every endpoint."""
    return {
        "4XX": {"model": ErrorEnvelope, "description": "The request must be changed"},
        "5XX": {"model": ErrorEnvelope, "description": "The server cannot serve it now"},
    }


class DocumentedApp(FastAPI):
    """A FastAPI whose document has the bodies' schemas."""

    def openapi(self) -> dict[str, object]:
        """The document; made once."""
        if self.openapi_schema is None:
            document = super().openapi()
            _, definitions = models_json_schema(
                [(model, "validation") for model in _BODIES], ref_template=_REFERENCE
            )
            document.setdefault("components", {}).setdefault("schemas", {}).update(definitions["$defs"])
            self.openapi_schema = document
        return self.openapi_schema
