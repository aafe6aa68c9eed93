"""Chat without streaming."""

from __future__ import annotations

import json

import httpx
import pytest

from multimodal.types import (
    Delta,
    GenerationStep,
    InputMessage,
    MediaSkipped,
    MediaSource,
    Role,
    Shortened,
    StageEvent,
    TextPart,
)
from tests.unit.api.fakes import (
    ACCEPTED,
    MODEL,
    NOW_S,
    USAGE,
    FakeService,
    audio_part,
    chat_body,
    end,
    image_part,
    text_part,
    tokens,
)

CHAT = "/v1/chat/completions"


async def test_answer_has_the_shape_of_a_chat_completion(client: httpx.AsyncClient) -> None:
    response = await client.post(CHAT, json=chat_body(), headers={"x-request-id": "abc-123"})

    assert response.status_code == 200
    assert response.json() == {
        "id": "chatcmpl-abc123",
        "object": "chat.completion",
        "created": int(NOW_S),
        "model": MODEL,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Hello", "refusal": None},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {
            "prompt_tokens": 11,
            "completion_tokens": 3,
            "total_tokens": 14,
            "prompt_tokens_details": {"cached_tokens": 4},
        },
    }


async def test_choices_are_told_apart(client: httpx.AsyncClient, service: FakeService) -> None:
    both = GenerationStep(deltas=(Delta(index=0, text="a", tokens=1), Delta(index=1, text="b", tokens=1)))
    over = GenerationStep(deltas=(Delta(index=1, text="", tokens=0, finish_reason="length"),))
    service.script = (ACCEPTED, both, over, *tokens("A"), end())

    choices = (await client.post(CHAT, json=chat_body(n=2))).json()["choices"]

    assert [(c["message"]["content"], c["finish_reason"]) for c in choices] == [
        ("aA", "stop"),
        ("b", "length"),
    ]


async def test_a_response_message_is_accepted_as_history(
    client: httpx.AsyncClient, service: FakeService
) -> None:
    answer = (await client.post(CHAT, json=chat_body())).json()["choices"][0]["message"]
    dumped = answer | {"annotations": [], "audio": None, "function_call": None, "tool_calls": None, "x": [1]}
    silent = dumped | {"content": None}
    messages = [{"role": "user", "content": "1"}, dumped, {"role": "user", "content": "2"}, silent]

    response = await client.post(CHAT, json=chat_body() | {"messages": messages})

    assert response.status_code == 200
    assert service.requests[-1].messages == (
        InputMessage(role=Role.USER, parts=(TextPart(text="1"),)),
        InputMessage(role=Role.ASSISTANT, parts=(TextPart(text="Hello"),)),
        InputMessage(role=Role.USER, parts=(TextPart(text="2"),)),
        InputMessage(role=Role.ASSISTANT, parts=()),
    )


async def test_context_has_id_tenant_and_deadline(client: httpx.AsyncClient, service: FakeService) -> None:
    await client.post(CHAT, json=chat_body(), headers={"x-request-id": "abc-123"})

    ctx = service.contexts[0]
    assert (ctx.request_id, ctx.tenant, ctx.deadline_s) == ("abc-123", "local", NOW_S + 120.0)


@pytest.mark.parametrize("content_type", [None, "text/plain", "application/x-www-form-urlencoded"])
async def test_body_is_json_whatever_its_content_type(
    client: httpx.AsyncClient, content_type: str | None
) -> None:
    headers = {} if content_type is None else {"content-type": content_type}
    response = await client.post(CHAT, content=json.dumps(chat_body()), headers=headers)

    assert response.status_code == 200


async def test_skipped_and_shortened_media_are_noted(client: httpx.AsyncClient, service: FakeService) -> None:
    service.script = (
        MediaSkipped(param="messages.0.content.2", code="invalid_media", message="It is damaged."),
        GenerationStep(shortened=(Shortened(param="messages.0.content.3", kept_tokens=5, dropped_tokens=7),)),
        *tokens("ok"),
        end(),
    )
    broken = {"type": "image_url", "image_url": {"url": "data:image/png;base64,%%%"}}
    body = chat_body(text_part(), broken, image_part(), audio_part(), on_media_error="skip")

    notes = (await client.post(CHAT, json=body)).json()["media_notes"]

    assert [(note["param"], note["note"], note.get("code")) for note in notes] == [
        ("messages.0.content.1", "skipped", "invalid_media"),
        ("messages.0.content.2", "skipped", "invalid_media"),
        ("messages.0.content.3", "shortened", None),
    ]
    assert notes[2]["kept_tokens"] == 5
    assert notes[2]["dropped_tokens"] == 7
    assert "5 of 12" in notes[2]["message"]
    assert "kept_tokens" not in notes[0]


async def test_stages_are_in_the_answer_when_asked_for(
    client: httpx.AsyncClient, service: FakeService
) -> None:
    service.script = (
        StageEvent(stage="encode", param="messages.0.content.0"),
        StageEvent(stage="encode", param="messages.0.content.0", seconds=0.25),
        StageEvent(stage="generate"),
        *(ACCEPTED, *tokens("ok"), end()),
        StageEvent(stage="generate", seconds=1.5),
    )
    asked = await client.post(CHAT, json=chat_body(image_part(), stream_options={"include_stages": True}))
    not_asked = await client.post(CHAT, json=chat_body(image_part()))

    assert asked.json()["stages"] == [
        {"stage": "encode", "param": "messages.0.content.0", "seconds": 0.25},
        {"stage": "generate", "param": None, "seconds": 1.5},
    ]
    assert "stages" not in not_asked.json()


async def test_an_answer_that_never_comes_is_an_error(
    client: httpx.AsyncClient, service: FakeService
) -> None:
    service.script = (ACCEPTED,)
    response = await client.post(CHAT, json=chat_body())

    assert response.status_code == 500
    assert response.json()["error"]["code"] == "internal_error"


async def test_large_body_is_parsed_all_the_same(client: httpx.AsyncClient, service: FakeService) -> None:
    data = bytes(range(256)) * 4096
    response = await client.post(CHAT, json=chat_body(image_part(data)))

    assert response.status_code == 200
    part = service.requests[0].messages[0].parts[0]
    assert isinstance(part, MediaSource)
    assert part.data == data
    assert response.json()["usage"]["prompt_tokens"] == USAGE.prompt_tokens
