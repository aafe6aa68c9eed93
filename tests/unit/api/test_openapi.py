"""The OpenAPI document, and the examples in it."""

from __future__ import annotations

import json

import httpx
import pytest
from fastapi import FastAPI
from pydantic import BaseModel

from tests.unit.api.fakes import call


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


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/embeddings"])
async def test_examples_work(client: httpx.AsyncClient, app: FastAPI, path: str) -> None:
    body = (await _document(client)).paths[path]["post"].requestBody

    assert body is not None
    assert body.content["application/json"].examples
    for example in body.content["application/json"].examples.values():
        assert (await call(app, path, example["value"])).status == 200
