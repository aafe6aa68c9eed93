"""The OpenAPI document, and the examples in it."""

from __future__ import annotations

import json

import httpx
import pytest
from fastapi import FastAPI
from pydantic import BaseModel

from multimodal.media.decode_audio import decode_audio
from tests.unit.api.fakes import FakeService, call, form_body


class Content(BaseModel):
    """A body of the document, as far as it is looked at here."""

    examples: dict[str, dict[str, dict[str, object]]] = {}


class Body(BaseModel):
    content: dict[str, Content]


class Operation(BaseModel):
    summary: str
    requestBody: Body | None = None


class Components(BaseModel):
    schemas: dict[str, object]


class Document(BaseModel):
    paths: dict[str, dict[str, Operation]]
    components: Components


async def _document(client: httpx.AsyncClient) -> Document:
    response = await client.get("/openapi.json")
    assert response.status_code == 200
    return Document.model_validate(response.json())


async def test_every_endpoint_is_described(client: httpx.AsyncClient) -> None:
    paths = (await _document(client)).paths

    assert set(paths) == {
        "/v1/chat/completions",
        "/v1/embeddings",
        "/v1/audio/transcriptions",
        "/v1/audio/transcribe",
        "/v1/video/analyze",
        "/v1/models",
        "/v1/models/{model_id}",
        "/healthz",
        "/readyz",
        "/metrics",
    }


async def test_every_reference_leads_somewhere(client: httpx.AsyncClient) -> None:
    document = await _document(client)
    text = json.dumps((await client.get("/openapi.json")).json())
    names = {piece.split('"')[0] for piece in text.split('"#/components/schemas/')[1:]}

    assert {"ChatCompletionRequest", "EmbeddingsRequest", "ErrorEnvelope", "ImageContent"} <= names
    assert names <= set(document.components.schemas)


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/embeddings", "/v1/audio/transcribe"])
async def test_examples_work(client: httpx.AsyncClient, app: FastAPI, path: str) -> None:
    for value in await _examples(client, path, "application/json"):
        assert (await call(app, path, value)).status == 200


@pytest.mark.parametrize("path", ["/v1/audio/transcriptions", "/v1/audio/transcribe"])
async def test_examples_of_forms_work(
    client: httpx.AsyncClient, app: FastAPI, service: FakeService, path: str
) -> None:
    for value in await _examples(client, path, "multipart/form-data"):
        file = str(value.pop("file")).encode("ascii")
        fields = {name: item if isinstance(item, list) else str(item) for name, item in value.items()}
        body, headers = form_body(fields, file)
        assert (await call(app, path, body, headers=headers)).status == 200
        assert service.analyzed[-1].source.data == file
        assert decode_audio(file, format_name="wav", limit_s=1, sha256="", param="file").duration_s == 0.032


async def _examples(client: httpx.AsyncClient, path: str, kind: str) -> list[dict[str, object]]:
    body = (await _document(client)).paths[path]["post"].requestBody
    assert body is not None
    assert body.content[kind].examples
    return [example["value"] for example in body.content[kind].examples.values()]


@pytest.mark.parametrize("name", ["TranscriptionRequest", "TranscribeUpload"])
async def test_forms_need_a_file(client: httpx.AsyncClient, name: str) -> None:
    schema = (await _document(client)).components.schemas[name]

    assert isinstance(schema, dict)
    assert schema["required"][0] == "file"
    assert schema["properties"]["file"]["format"] == "binary"
