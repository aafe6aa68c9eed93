"""The OpenAPI document, and the examples in it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping

import httpx
import jsonschema_rs
import pytest
import schemathesis
from fastapi import FastAPI
from pydantic import BaseModel, Field

from multimodal.api.responses import ChatCompletionChunk
from multimodal.media.decode_audio import decode_audio
from multimodal.types import Citation, MediaKind, Shortened, Sources, StageEvent
from tests.unit.api.fakes import ACCEPTED, FakeService, call, chat_body, end, events, form_body, tokens

CHAT = "/v1/chat/completions"


class Content(BaseModel):
    """A body of the document, as far as it is looked at here."""

    schema_: dict[str, object] = Field(alias="schema")
    examples: dict[str, dict[str, dict[str, object]]] = {}


class Body(BaseModel):
    content: dict[str, Content]


class Answer(BaseModel):
    """One status of an operation."""

    description: str
    content: dict[str, Content] = {}


class Operation(BaseModel):
    summary: str
    requestBody: Body | None = None
    responses: dict[str, Answer]


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
        "/v1/classify",
        "/v1/audio/transcriptions",
        "/v1/audio/transcribe",
        "/v1/video/analyze",
        "/v1/search",
        "/v1/files",
        "/v1/files/{file_id}",
        "/v1/files/{file_id}/content",
        "/v1/files/{file_id}/retry",
        "/v1/files/{file_id}/thumbnails/{ordinal}",
        "/v1/models",
        "/v1/models/{model_id}",
        "/v1/cache/stats",
        "/healthz",
        "/readyz",
        "/metrics",
    }


async def test_the_document_is_valid_openapi(app: FastAPI) -> None:
    document = app.openapi()

    assert document["openapi"].startswith("3.1.")
    assert document["security"] == [{}, {"apiKey": []}]
    schemathesis.openapi.from_dict(document).validate()


async def test_every_answer_of_every_endpoint_has_a_type_and_a_schema(client: httpx.AsyncClient) -> None:
    for methods in (await _document(client)).paths.values():
        for operation in methods.values():
            assert {"200", "4XX", "5XX"} <= set(operation.responses), operation
            for status, answer in operation.responses.items():
                assert bool(answer.content) == (status != "304"), operation
                assert all(content.schema_ for content in answer.content.values()), operation
            assert set(operation.responses["4XX"].content) == {"application/json"}


async def test_every_reference_leads_somewhere(client: httpx.AsyncClient) -> None:
    document = await _document(client)
    text = json.dumps((await client.get("/openapi.json")).json())
    names = {piece.split('"')[0] for piece in text.split('"#/components/schemas/')[1:]}

    assert {"ChatCompletionRequest", "EmbeddingsRequest", "ErrorEnvelope", "ImageContent"} <= names
    assert names <= set(document.components.schemas)


async def test_every_body_has_examples_that_match_its_schema(client: httpx.AsyncClient) -> None:
    document = await _document(client)
    for methods in document.paths.values():
        for body in (operation.requestBody for operation in methods.values() if operation.requestBody):
            for content in body.content.values():
                assert content.examples
                for example in content.examples.values():
                    _validator(document, content.schema_).validate(example["value"])


@pytest.mark.parametrize(
    "path",
    ["/v1/chat/completions", "/v1/embeddings", "/v1/classify", "/v1/audio/transcribe", "/v1/search"],
)
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


async def test_the_example_of_an_upload_works(
    client: httpx.AsyncClient, app: FastAPI, service: FakeService
) -> None:
    for value in await _examples(client, "/v1/files", "multipart/form-data"):
        file = str(value.pop("file")).encode()
        fields = {name: item if isinstance(item, str) else json.dumps(item) for name, item in value.items()}
        body, headers = form_body(fields, file)
        answer = await call(app, "/v1/files", body, headers=headers)
        assert answer.status == 200
        assert json.loads(answer.body)["metadata"] == value["metadata"]
    assert [upload.state for upload in service.library.files.uploads] == ["added"]


async def _examples(client: httpx.AsyncClient, path: str, kind: str) -> list[dict[str, object]]:
    body = (await _document(client)).paths[path]["post"].requestBody
    assert body is not None
    assert body.content[kind].examples
    return [example["value"] for example in body.content[kind].examples.values()]


@pytest.mark.parametrize("name", ["TranscriptionRequest", "TranscribeUpload", "FileUpload"])
async def test_forms_need_a_file(client: httpx.AsyncClient, name: str) -> None:
    schema = (await _document(client)).components.schemas[name]

    assert isinstance(schema, dict)
    assert schema["required"][0] == "file"
    assert schema["properties"]["file"]["format"] == "binary"


def _validator(document: Document, schema: Mapping[str, object]) -> jsonschema_rs.Draft202012Validator:
    components = {"schemas": document.components.schemas}
    return jsonschema_rs.Draft202012Validator({**schema, "components": components})


def _refused() -> Iterator[dict[str, object]]:
    yield {"tools": [{"type": "function"}]}
    yield {"functions": [{"name": "f"}]}
    yield {"logprobs": True}
    yield {"logit_bias": {"5": 1}}
    yield {"modalities": ["text", "audio"]}
    yield {"web_search_options": {}}
    yield {"messages": [{"role": "user", "content": None}]}
    yield {"messages": [{"role": "user"}]}
    yield {"messages": [{"role": "user", "content": "a\0b"}]}
    yield {"messages": [{"role": "assistant", "content": "a", "tool_calls": [{}]}]}
    yield {"messages": [{"role": "assistant", "content": "a", "function_call": {}}]}
    yield {"max_tokens": 1.5}


@pytest.mark.parametrize("fields", list(_refused()), ids=str)
async def test_what_is_refused_does_not_match_the_schema(
    client: httpx.AsyncClient, app: FastAPI, fields: dict[str, object]
) -> None:
    document = await _document(client)
    body = chat_body() | fields

    assert (await call(app, CHAT, body)).status == 400
    assert not _validator(document, _body_schema(document)).is_valid(body)


def _taken() -> Iterator[dict[str, object]]:
    yield dict.fromkeys(("tools", "functions", "logprobs", "logit_bias", "modalities", "web_search_options"))
    yield {"tools": [], "functions": [], "logprobs": False, "logit_bias": {}, "modalities": ["text"]}
    yield {"messages": [{"role": "assistant"}, {"role": "assistant", "content": None, "tool_calls": []}]}
    yield {"max_tokens": 2.0, "min_tokens": 0.0, "top_k": -1.0, "seed": 7.0, "n": 1.0}
    yield {"unknown": [1]}


@pytest.mark.parametrize("fields", list(_taken()), ids=str)
async def test_what_is_taken_matches_the_schema(
    client: httpx.AsyncClient, app: FastAPI, fields: dict[str, object]
) -> None:
    document = await _document(client)
    body = chat_body() | fields

    assert (await call(app, CHAT, body)).status == 200
    assert _validator(document, _body_schema(document)).is_valid(body)


def _body_schema(document: Document) -> Mapping[str, object]:
    body = document.paths[CHAT]["post"].requestBody
    assert body is not None
    return body.content["application/json"].schema_


CITATION = Citation(
    number=1,
    file_id="file-1",
    filename="talk.mp4",
    kind=MediaKind.VIDEO,
    segment_id="s",
    ordinal=2,
    similarity=0.5,
    score=0.03,
    snippet="churn",
    start_s=1.5,
    end_s=2.5,
)


async def test_chunks_hold_what_the_document_says_and_nothing_else(
    app: FastAPI, service: FakeService
) -> None:
    shortened = Shortened(param="messages.0.content.0", kept_tokens=3, dropped_tokens=4)
    service.script = (
        StageEvent(stage="generate"),
        dataclasses.replace(ACCEPTED, shortened=(shortened,)),
        Sources(citations=(CITATION,)),
        *tokens("Hel", "lo"),
        end("length"),
        StageEvent(stage="generate", seconds=1.0),
    )
    options = {"include_usage": True, "include_stages": True}
    answer = await call(app, CHAT, chat_body(stream=True, stream_options=options))
    chunks = events(answer.body)

    for chunk in chunks:
        read = ChatCompletionChunk.model_validate_json(json.dumps(chunk), strict=True)
        assert read.model_dump(mode="json", exclude_unset=True) == chunk
    # So that nothing that can stand in a chunk is missing here.
    assert set().union(*chunks) == set(ChatCompletionChunk.model_fields)
