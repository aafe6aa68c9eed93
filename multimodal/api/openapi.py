"""The OpenAPI document: bodies are read by `body`, not by FastAPI, so their schemas are added here."""

from __future__ import annotations

import base64
import struct
from collections.abc import Mapping

from fastapi import FastAPI
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from multimodal.api.analysis_schemas import ANALYSIS_EVENTS
from multimodal.api.audio_schemas import (
    RecordingEvent,
    TranscribeRequest,
    TranscribeUpload,
    TranscriptDeltaEvent,
    TranscriptDoneEvent,
    TranscriptionRequest,
    TranscriptPartEvent,
)
from multimodal.api.classify_schemas import ClassifyBody
from multimodal.api.file_schemas import FileUpload
from multimodal.api.responses import ChatCompletionChunk, ErrorEnvelope
from multimodal.api.schemas import ChatCompletionRequest, EmbeddingsRequest
from multimodal.api.search_schemas import SearchBody
from multimodal.api.video_schemas import VideoEvent, VideoRequest, VideoUpload

Examples = Mapping[str, object]

_ERRORS: Mapping[int | str, str] = {
    "4XX": "The request must be changed",
    "5XX": "The server cannot serve it now",
}

RED_PIXEL = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQDJ/pLvAAAAAElF"
    "TkSuQmCC"
)
"""A picture of one pixel, so that the example works when it is pasted."""

_CHAT_MODEL = "smollm2-135m-instruct"

CHAT_EXAMPLES: Examples = {
    "text": {
        "model": _CHAT_MODEL,
        "messages": [{"role": "user", "content": "What is the capital of Japan?"}],
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
    "texts": {"model": "text", "input": ["a red apple", "a green pear"], "encoding_format": "float"},
    "a picture beside words": {
        "model": "image",
        "input": ["a red square", {"type": "image_url", "image_url": {"url": RED_PIXEL}}],
    },
}

CLASSIFY_EXAMPLES: Examples = {
    "colours": {
        "input": {"type": "image_url", "image_url": {"url": RED_PIXEL}},
        "labels": ["red", "green", "blue"],
        "template": "a {} square",
    },
}


def _silent_wav() -> bytes:
    """32 ms at 8 kHz. All its bytes are ASCII, so that it can stand in the document as a file of a form."""
    samples = b"\x7f" * 256
    sound = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, 8000, 8000, 1, 8)
    data = b"WAVE" + sound + struct.pack("<4sI", b"data", len(samples)) + samples
    return struct.pack("<4sI", b"RIFF", len(data)) + data


SILENT_WAV = _silent_wav()

TRANSCRIPTION_EXAMPLES: Examples = {
    "times of words": {
        "file": SILENT_WAV.decode("ascii"),
        "model": "whisper-1",
        "response_format": "verbose_json",
        "timestamp_granularities[]": ["word", "segment"],
    },
    "subtitles": {"file": SILENT_WAV.decode("ascii"), "model": "whisper-1", "response_format": "srt"},
}

TRANSCRIBE_EXAMPLES: Examples = {
    "question": {
        "input_audio": {"data": base64.b64encode(SILENT_WAV).decode(), "format": "wav"},
        "prompt": "What is it about?",
        "max_tokens": 32,
        "stream": True,
        "stream_options": {"include_stages": True},
    },
}

TRANSCRIBE_FORM_EXAMPLES: Examples = {
    "question": {"file": SILENT_WAV.decode("ascii"), "prompt": "What is it about?", "max_tokens": 32},
    "subtitles": {"file": SILENT_WAV.decode("ascii"), "format": "vtt"},
}

FILE_EXAMPLES: Examples = {
    "notes": {
        "file": "The meeting starts at nine in the blue room.",
        "purpose": "user_data",
        "metadata": {"project": "blue", "year": 2026},
    },
}

_BINARY: Mapping[str, object] = {"schema": {"type": "string", "format": "binary"}}

CONTENT_RESPONSES: Mapping[int | str, dict[str, object]] = {
    200: {"description": "The whole file, of its own media type", "content": {"*/*": _BINARY}},
    206: {
        "description": "The part that the header Range asks for: one range of bytes",
        "content": {"*/*": _BINARY},
    },
    304: {"description": "The client has it already: the header If-None-Match names its ETag"},
}

THUMBNAIL_RESPONSES: Mapping[int | str, dict[str, object]] = {
    200: {"description": "A picture", "content": {"image/jpeg": _BINARY}},
}

_API_KEY = {
    "type": "http",
    "scheme": "bearer",
    "description": "An API key. Servers without configured keys serve callers on their own machine only.",
}

_REFERENCE = "#/components/schemas/{model}"
_BODIES: tuple[type[BaseModel], ...] = (
    ChatCompletionRequest,
    EmbeddingsRequest,
    ClassifyBody,
    TranscriptionRequest,
    TranscribeRequest,
    TranscribeUpload,
    VideoRequest,
    VideoUpload,
    FileUpload,
    SearchBody,
)
_ANSWERS: tuple[type[BaseModel], ...] = (
    ErrorEnvelope,
    ChatCompletionChunk,
    TranscriptDeltaEvent,
    TranscriptDoneEvent,
    TranscriptPartEvent,
    RecordingEvent,
    VideoEvent,
    *ANALYSIS_EVENTS,
)
"""Those that endpoints write themselves."""


def reference(model: type[BaseModel]) -> dict[str, object]:
    """The schema of a model of `_BODIES` or `_ANSWERS`."""
    return {"$ref": _REFERENCE.format(model=model.__name__)}


def json_body(model: type[BaseModel], examples: Examples) -> dict[str, object]:
    """`openapi_extra` of an endpoint that reads this body."""
    return bodies(json=model, json_examples=examples)


def bodies(
    *,
    json: type[BaseModel] | None = None,
    json_examples: Examples | None = None,
    form: type[BaseModel] | None = None,
    form_examples: Examples | None = None,
) -> dict[str, object]:
    """`openapi_extra` of an endpoint that reads JSON, a form with a file, or either."""
    content = {}
    if json is not None:
        content["application/json"] = _content(json, json_examples or {})
    if form is not None:
        content["multipart/form-data"] = _content(form, form_examples or {})
    return {"requestBody": {"required": True, "content": content}}


def _content(model: type[BaseModel], examples: Examples) -> dict[str, object]:
    return {
        "schema": reference(model),
        "examples": {name: {"value": value} for name, value in examples.items()},
    }


def error_responses() -> dict[int | str, dict[str, object]]:
    """`responses` of every endpoint. JSON, whatever else the endpoint answers."""
    return {status: _error_response(description) for status, description in _ERRORS.items()}


def _error_response(description: str) -> dict[str, object]:
    retry_after = {
        "description": "after how many seconds to try again, with 429 and 503",
        "schema": {"type": "integer", "minimum": 1},
    }
    return {
        "description": description,
        "content": {"application/json": {"schema": reference(ErrorEnvelope)}},
        "headers": {"Retry-After": retry_after},
    }


def stream_content(*models: type[BaseModel]) -> dict[str, object]:
    """`content` of a stream of these. Its schema is that of one event: OpenAPI 3.1 has none for streams."""
    names = " or ".join(model.__name__ for model in models)
    json_data = {
        "type": "string",
        "contentMediaType": "application/json",
        "contentSchema": {"anyOf": [*map(reference, models), reference(ErrorEnvelope)]},
    }
    event = {
        "type": "object",
        "description": (
            f"One server-sent event. Its data is a {names}; of the last one it is [DONE], "
            "or an ErrorEnvelope where the answer could not be finished."
        ),
        "required": ["data"],
        "properties": {"data": {"anyOf": [{"const": "[DONE]"}, json_data]}},
    }
    return {"text/event-stream": {"schema": event}}


class DocumentedApp(FastAPI):
    """A FastAPI whose document has the bodies' schemas."""

    def openapi(self) -> dict[str, object]:
        """The document; made once."""
        if self.openapi_schema is None:
            document = super().openapi()
            _, definitions = models_json_schema(
                [
                    *((model, "validation") for model in _BODIES),
                    *((model, "serialization") for model in _ANSWERS),
                ],
                ref_template=_REFERENCE,
            )
            components = document.setdefault("components", {})
            components.setdefault("schemas", {}).update(definitions["$defs"])
            components["securitySchemes"] = {"apiKey": _API_KEY}
            document["security"] = [{}, {"apiKey": []}]
            self.openapi_schema = document
        return self.openapi_schema
