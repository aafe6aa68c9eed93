"""Everything a client can get wrong is answered in OpenAI's envelope: where, what, and what to change."""

from __future__ import annotations

import json

import httpx
import pytest
from fastapi import FastAPI

from multimodal.api import create_app
from multimodal.config import AppArgs, GeneratorArgs, Limits
from multimodal.errors import (
    ContextLengthExceeded,
    DeadlineExceeded,
    InvalidMedia,
    MultimodalError,
    Overloaded,
    StageUnavailable,
    UnsupportedMedia,
)
from tests.unit.api.fakes import (
    MODEL,
    NOW_S,
    FakeService,
    audio_part,
    call,
    chat_body,
    image_part,
    text_part,
    video_part,
)

CHAT = "/v1/chat/completions"
PICTURE = "messages.0.content.0.image_url.url"


def _picture(url: object) -> dict[str, object]:
    return {"type": "image_url", "image_url": {"url": url}}


def _schema(schema: object) -> dict[str, object]:
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}


@pytest.fixture
def args() -> AppArgs:
    limits = Limits(
        image_bytes=1000,
        audio_bytes=2000,
        video_bytes=3000,
        media_parts=3,
        messages=5,
        choices=2,
        body_bytes=9000,
    )
    return AppArgs(limits=limits, generator=GeneratorArgs(max_model_len=100))


BAD_FIELDS: list[tuple[dict[str, object], str]] = [
    ({"model": None}, "model"),
    ({"model": 5}, "model"),
    ({"model": ""}, "model"),
    ({"messages": []}, "messages"),
    ({"messages": "Hi"}, "messages"),
    ({"messages": None}, "messages"),
    ({"messages": [5]}, "messages.0"),
    ({"messages": [{"content": "Hi"}]}, "messages.0.role"),
    ({"messages": [{"role": "tool", "content": "Hi"}]}, "messages.0.role"),
    ({"messages": [{"role": "user"}]}, "messages.0.content"),
    ({"messages": [{"role": "user", "content": None}]}, "messages.0.content"),
    ({"messages": [{"role": "user", "content": 5}]}, "messages.0.content"),
    ({"messages": [{"role": "user", "content": []}]}, "messages.0.content"),
    ({"messages": [{"role": "user", "content": "a\0b"}]}, "messages.0.content"),
    ({"messages": [{"role": "user", "content": [text_part("a\0b")]}]}, "messages.0.content.0.text"),
    ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages.0.content.0.text"),
    ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages.0.content.0.image_url"),
    ({"messages": [{"role": "user", "content": [_picture(5)]}]}, PICTURE),
    ({"messages": [{"role": "user", "content": [image_part(detail="huge")]}]}, PICTURE[:-3] + "detail"),
    ({"messages": [{"role": "user", "content": "Hi"}] * 6}, "messages"),
    ({"messages": [{"role": "assistant", "tool_calls": [{"id": "1"}]}]}, "messages.0"),
    ({"max_tokens": -1}, "max_tokens"),
    ({"max_tokens": 0}, "max_tokens"),
    ({"max_tokens": 1.5}, "max_tokens"),
    ({"max_tokens": "10"}, "max_tokens"),
    ({"max_tokens": 100}, "max_tokens"),
    ({"max_tokens": 10**30}, "max_tokens"),
    ({"max_tokens": 5, "max_completion_tokens": 100}, "max_completion_tokens"),
    ({"max_completion_tokens": 0}, "max_completion_tokens"),
    ({"min_tokens": -1}, "min_tokens"),
    ({"min_tokens": 6, "max_tokens": 5}, "min_tokens"),
    ({"min_tokens": 100}, "min_tokens"),
    ({"temperature": -0.1}, "temperature"),
    ({"temperature": 2.1}, "temperature"),
    ({"temperature": "hot"}, "temperature"),
    ({"top_p": 0}, "top_p"),
    ({"top_p": 1.1}, "top_p"),
    ({"top_k": -2}, "top_k"),
    ({"min_p": 1.1}, "min_p"),
    ({"presence_penalty": 2.1}, "presence_penalty"),
    ({"frequency_penalty": -2.1}, "frequency_penalty"),
    ({"repetition_penalty": 0}, "repetition_penalty"),
    ({"seed": 2**63}, "seed"),
    ({"seed": "x"}, "seed"),
    ({"stop": ""}, "stop"),
    ({"stop": 5}, "stop"),
    ({"stop": ["a", 5]}, "stop.1"),
    ({"stop": ["a"] * 17}, "stop"),
    ({"n": 0}, "n"),
    ({"n": 3}, "n"),
    ({"stream": "yes"}, "stream"),
    ({"stream_options": []}, "stream_options"),
    ({"on_media_error": "ignore"}, "on_media_error"),
    ({"response_format": "json"}, "response_format"),
    ({"response_format": {"type": "xml"}}, "response_format"),
    ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
    ({"response_format": _schema([])}, "response_format.json_schema.schema"),
    ({"response_format": _schema({"description": "x" * 100_001})}, "response_format.json_schema.schema"),
]


@pytest.mark.parametrize(("fields", "param"), BAD_FIELDS)
async def test_bad_field_is_named(fields: dict[str, object], param: str, service: FakeService) -> None:
    limits = Limits(messages=5, choices=2)
    args = AppArgs(limits=limits, generator=GeneratorArgs(max_model_len=100))
    caller = await call(create_app(lambda: service, args), CHAT, chat_body() | fields)

    assert caller.status == 400
    assert caller.error["type"] == "invalid_request_error"
    assert caller.error["code"] == "invalid_request"
    assert caller.error["param"] == param
    assert not service.requests


UNSUPPORTED: list[tuple[dict[str, object], str]] = [
    ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools"),
    ({"tools": [{"type": "function"}], "tool_choice": "auto"}, "tools"),
    ({"functions": [{"name": "f"}]}, "functions"),
    ({"logprobs": True}, "logprobs"),
    ({"logit_bias": {"50256": -100}}, "logit_bias"),
    ({"modalities": ["text", "audio"]}, "modalities"),
    ({"web_search_options": {}}, "web_search_options"),
]


@pytest.mark.parametrize(("fields", "param"), UNSUPPORTED)
async def test_what_cannot_be_honoured_is_refused(
    client: httpx.AsyncClient, fields: dict[str, object], param: str
) -> None:
    response = await client.post(CHAT, json=chat_body() | fields)

    assert response.status_code == 400
    error = response.json()["error"]
    assert (error["code"], error["param"]) == ("unsupported_parameter", param)


@pytest.mark.parametrize(
    "fields",
    [
        {"tools": [], "tool_choice": "auto", "functions": None},
        {"tools": [{"type": "function"}], "tool_choice": "none"},
        {"logprobs": False, "top_logprobs": None, "logit_bias": {}, "modalities": ["text"]},
        {"user": "u", "store": False, "metadata": {"a": "b"}, "reasoning_effort": "low", "new_field": [1]},
        dict.fromkeys(("max_tokens", "temperature", "stop", "n", "stream", "stream_options", "seed")),
        dict.fromkeys(("response_format", "on_media_error", "tools", "tool_choice", "modalities", "top_k")),
    ],
)
async def test_harmless_fields_are_accepted(client: httpx.AsyncClient, fields: dict[str, object]) -> None:
    assert (await client.post(CHAT, json=chat_body() | fields)).status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"{'model': 1}",
        b'{"model": "x",}',
        b'{"temperature": NaN}',
        b"\xff\xfe",
        b'"\\ud800"',
        b'{"model": "a\x00b"}',
        b"[" * 100_000,
        b"1" * 10_000,
        b"\x1f\x8b\x08\x00",
    ],
    ids=[
        "empty",
        "cut off",
        "quotes",
        "comma",
        "NaN",
        "not UTF-8",
        "surrogate",
        "raw NUL",
        "deep",
        "long number",
        "gzip",
    ],
)
async def test_malformed_json(app: FastAPI, body: bytes) -> None:
    caller = await call(create_app(FakeService, AppArgs()), CHAT, body)

    assert caller.status == 400
    assert caller.error["code"] == "invalid_json"


@pytest.mark.parametrize("body", [b"[]", b"null", b'"text"', b"5"])
async def test_json_that_is_no_object(app: FastAPI, body: bytes) -> None:
    caller = await call(app, CHAT, body)

    assert caller.status == 400
    assert caller.error["message"] == "The body must be a JSON object."


async def test_more_values_than_any_request_needs(service: FakeService) -> None:
    body = json.dumps({"model": MODEL, "messages": [0] * 600_000}).encode()
    caller = await call(create_app(lambda: service, AppArgs()), CHAT, body)

    assert caller.status == 400
    assert "JSON values" in str(caller.error["message"])


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image_embeds", "image_embeds": "AAAA"},
        {"type": "x" * 1000},
        {"type": ["text"]},
        {"text": "no type"},
        "text",
        5,
        None,
    ],
)
async def test_unknown_part_type_names_the_part_and_the_known_types(
    client: httpx.AsyncClient, part: object
) -> None:
    response = await client.post(CHAT, json=chat_body(text_part(), part))

    assert response.status_code == 400
    error = response.json()["error"]
    assert (error["code"], error["param"]) == ("unknown_part_type", "messages.0.content.1")
    assert "text, image_url, input_audio, video_url" in error["message"]
    assert "xxx" not in error["message"]


async def test_unknown_model(client: httpx.AsyncClient) -> None:
    response = await client.post(CHAT, json=chat_body() | {"model": "gpt-4o"})

    assert response.status_code == 404
    error = response.json()["error"]
    assert (error["type"], error["code"], error["param"]) == ("not_found_error", "model_not_found", "model")
    assert MODEL in error["message"]


@pytest.mark.parametrize(
    ("part", "status", "code", "param"),
    [
        (_picture("data:image/png;base64,%%%"), 400, "invalid_media", PICTURE),
        (_picture("data:image/png;base64,AAA"), 400, "invalid_media", PICTURE),
        (_picture("data:image/png;base64,"), 400, "invalid_media", PICTURE),
        (_picture("data:image/png,AAAA"), 400, "invalid_media", PICTURE),
        (_picture(""), 400, "invalid_media", PICTURE),
        (_picture("https://example.com/a.png"), 400, "remote_url_not_allowed", PICTURE),
        (_picture("file:///etc/passwd"), 400, "remote_url_not_allowed", PICTURE),
        (audio_part(b""), 400, "invalid_media", "messages.0.content.0.input_audio.data"),
        (image_part(b"x" * 1001), 413, "media_too_large", PICTURE),
        (audio_part(b"x" * 2001), 413, "media_too_large", "messages.0.content.0.input_audio.data"),
        (video_part(b"x" * 3001), 413, "media_too_large", "messages.0.content.0.video_url.url"),
        (video_part(max_frames=65), 400, "invalid_request", "messages.0.content.0.video_url.max_frames"),
        (video_part() | {"max_frames": 65}, 400, "invalid_request", "messages.0.content.0.max_frames"),
        (video_part(max_frames=0), 400, "invalid_request", "messages.0.content.0.video_url.max_frames"),
        (
            video_part(frame_sampling="all"),
            400,
            "invalid_request",
            "messages.0.content.0.video_url.frame_sampling",
        ),
    ],
)
async def test_media_that_are_unusable_at_first_sight(
    client: httpx.AsyncClient, part: dict[str, object], status: int, code: str, param: str
) -> None:
    response = await client.post(CHAT, json=chat_body(part))

    assert response.status_code == status
    error = response.json()["error"]
    assert (error["code"], error["param"]) == (code, param)


async def test_too_many_media_parts(client: httpx.AsyncClient) -> None:
    response = await client.post(CHAT, json=chat_body(*[image_part(b"x")] * 40))

    assert response.status_code == 413
    error = response.json()["error"]
    assert (error["code"], error["param"]) == ("media_too_large", "messages")
    assert "3 media parts, this one has 40" in error["message"]


@pytest.mark.parametrize(
    ("error", "status", "kind", "retry_after"),
    [
        (InvalidMedia("Damaged."), 400, "invalid_request_error", None),
        (UnsupportedMedia("No such codec."), 400, "invalid_request_error", None),
        (ContextLengthExceeded("Too long."), 400, "invalid_request_error", None),
        (DeadlineExceeded("Too late."), 504, "timeout_error", None),
        (StageUnavailable("Restarting.", retry_after_s=7), 503, "server_error", "7"),
        (StageUnavailable("Restarting."), 503, "server_error", "5"),
        (Overloaded("Full."), 429, "rate_limit_error", "1"),
    ],
)
@pytest.mark.parametrize("stream", [True, False])
async def test_errors_of_the_service_keep_their_status(
    client: httpx.AsyncClient,
    service: FakeService,
    error: MultimodalError,
    status: int,
    kind: str,
    retry_after: str | None,
    stream: bool,
) -> None:
    service.script = (error,)
    response = await client.post(CHAT, json=chat_body(stream=stream))

    assert response.status_code == status
    assert response.json()["error"] == {
        "message": error.message,
        "type": kind,
        "param": None,
        "code": error.code,
    }
    assert response.headers.get("retry-after") == retry_after


async def test_unexpected_error_leaks_nothing(client: httpx.AsyncClient, service: FakeService) -> None:
    service.script = (RuntimeError("/home/secret 10.0.0.1"),)
    response = await client.post(CHAT, json=chat_body(), headers={"x-request-id": "r1"})

    assert response.status_code == 500
    assert response.json()["error"]["code"] == "internal_error"
    assert "r1" in response.json()["error"]["message"]
    assert "secret" not in response.text
    assert "10.0.0.1" not in response.text


async def test_values_are_never_repeated(client: httpx.AsyncClient) -> None:
    for fields in ({"temperature": "SECRET"}, {"model": "SECRET"}, {"messages": [{"role": "SECRET"}]}):
        assert "SECRET" not in (await client.post(CHAT, json=chat_body() | fields)).text


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/", 404, "not_found"),
        ("POST", "/v1/chat/completions/", 404, "not_found"),
        ("GET", "/docs", 404, "not_found"),
        ("GET", "/v1/chat/completions", 405, "method_not_allowed"),
        ("DELETE", "/v1/models", 405, "method_not_allowed"),
    ],
)
async def test_unknown_paths_and_methods(
    client: httpx.AsyncClient, method: str, path: str, status: int, code: str
) -> None:
    response = await client.request(method, path)

    assert response.status_code == status
    assert response.json()["error"]["code"] == code


async def test_a_refused_method_names_those_that_are_allowed(client: httpx.AsyncClient) -> None:
    assert (await client.request("TRACE", CHAT)).headers["allow"] == "POST"
    assert (await client.delete("/v1/models")).headers["allow"] == "GET"


async def test_server_goes_on_after_an_error(client: httpx.AsyncClient, service: FakeService) -> None:
    service.script = (RuntimeError("boom"),)
    await client.post(CHAT, json=chat_body())
    service.script = FakeService().script

    response = await client.post(CHAT, json=chat_body())
    assert response.status_code == 200
    assert response.json()["created"] == int(NOW_S)
