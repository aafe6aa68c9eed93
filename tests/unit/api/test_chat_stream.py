"""Chat as a stream: its events, their order, when the status goes out, and how it ends."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping

from fastapi import FastAPI
from openai.types.chat import ChatCompletionChunk

from multimodal.errors import DeadlineExceeded, InvalidMedia, StageUnavailable
from multimodal.types import (
    Citation,
    Delta,
    GenerationStep,
    MediaKind,
    MediaSkipped,
    Shortened,
    Sources,
    StageEvent,
)
from tests.unit.api.fakes import (
    ACCEPTED,
    HELLO,
    MODEL,
    NOW_S,
    Caller,
    FakeService,
    call,
    chat_body,
    end,
    events,
    image_part,
    text_part,
    tokens,
)

CHAT = "/v1/chat/completions"
STREAM = {"stream": True}
WITH_STAGES = {"stream": True, "stream_options": {"include_stages": True}}


def _choices(chunks: list[dict[str, object]]) -> list[object]:
    return [chunk["choices"] for chunk in chunks]


def _choice(delta: Mapping[str, object], finish_reason: str | None = None, index: int = 0) -> list[object]:
    return [{"index": index, "delta": delta, "logprobs": None, "finish_reason": finish_reason}]


ROLE = {"role": "assistant", "content": "", "refusal": None}


async def test_chunks_are_those_of_openai(app: FastAPI) -> None:
    caller = await call(app, CHAT, chat_body(**STREAM), headers={"x-request-id": "r1"})

    assert caller.status == 200
    assert caller.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert caller.headers["cache-control"] == "no-cache"
    assert caller.body.endswith(b"\n\ndata: [DONE]\n\n")
    chunks = events(caller.body)
    assert _choices(chunks) == [
        _choice(ROLE),
        _choice({"content": "Hel"}),
        _choice({"content": "lo"}),
        _choice({}, "stop"),
    ]
    for chunk in chunks:
        del chunk["choices"]
        assert chunk == {
            "id": "chatcmpl-r1",
            "object": "chat.completion.chunk",
            "created": int(NOW_S),
            "model": MODEL,
        }


async def test_usage_comes_last_and_is_null_before(app: FastAPI) -> None:
    body = chat_body(stream=True, stream_options={"include_usage": True})
    chunks = events((await call(app, CHAT, body)).body)

    assert [chunk["usage"] for chunk in chunks[:-1]] == [None] * (len(chunks) - 1)
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"] == {
        "prompt_tokens": 11,
        "completion_tokens": 3,
        "total_tokens": 14,
        "prompt_tokens_details": {"cached_tokens": 4},
    }


async def test_one_engine_step_is_one_write(app: FastAPI, service: FakeService) -> None:
    step = GenerationStep(deltas=tuple(Delta(index=i, text=f"t{i}", tokens=1) for i in range(3)))
    service.script = (ACCEPTED, step, end())
    caller = await call(app, CHAT, chat_body(stream=True, n=3))

    writes = [message["body"] for message in caller.sent if message["type"] == "http.response.body"]
    assert [writes[0].count(f'"content":"t{i}"'.encode()) for i in range(3)] == [1, 1, 1]
    assert writes[0].count(b'"role":"assistant"') == 3


async def test_any_text_survives(app: FastAPI, service: FakeService) -> None:
    texts = ['"quotes" and \\ and \n\r\n', "\u2028\u0085\x1e", "日本語 🎈", "data: [DONE]\n\n", "\ud83d"]
    service.script = (ACCEPTED, *tokens(*texts), end())
    body = (await call(app, CHAT, chat_body(**STREAM))).body

    assert body.isascii()
    assert len(body.decode().splitlines()) == body.count(b"\n")
    chunks = [ChatCompletionChunk.model_validate(event) for event in events(body)]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "".join(texts)


async def test_status_goes_out_when_the_prompt_is_accepted(app: FastAPI, service: FakeService) -> None:
    loaded, first_token = asyncio.Event(), asyncio.Event()
    service.script = (StageEvent(stage="encode"), loaded, ACCEPTED, first_token, *tokens("x"), end())
    caller = Caller(app, CHAT, chat_body(**STREAM))

    await service.waiting.wait()
    service.waiting.clear()
    assert caller.status is None
    loaded.set()
    await service.waiting.wait()
    assert caller.status == 200
    assert caller.body == b""
    first_token.set()
    await caller.task
    assert caller.body.endswith(b"data: [DONE]\n\n")


async def test_error_before_acceptance_has_its_own_status(app: FastAPI, service: FakeService) -> None:
    service.script = (StageEvent(stage="encode"), InvalidMedia("Damaged.", param="messages.0.content.0"))
    caller = await call(app, CHAT, chat_body(**STREAM))

    assert caller.status == 400
    assert caller.error == {
        "message": "Damaged.",
        "type": "invalid_request_error",
        "param": "messages.0.content.0",
        "code": "invalid_media",
    }


async def test_error_in_the_middle_ends_the_stream_with_an_error_event(
    app: FastAPI, service: FakeService
) -> None:
    service.script = (ACCEPTED, *tokens("Hel"), DeadlineExceeded("Too late."))
    caller = await call(app, CHAT, chat_body(**STREAM))

    *chunks, last = events(caller.body)
    assert caller.status == 200
    assert _choices(chunks) == [_choice(ROLE), _choice({"content": "Hel"})]
    assert last["error"] == {
        "message": "Too late.",
        "type": "timeout_error",
        "param": None,
        "code": "deadline_exceeded",
    }
    assert b"[DONE]" not in caller.body
    assert caller.sent[-1]["more_body"] is False


async def test_unexpected_error_in_the_middle_leaks_nothing(app: FastAPI, service: FakeService) -> None:
    service.script = (ACCEPTED, *tokens("Hel"), KeyError("/home/secret"))
    caller = await call(app, CHAT, chat_body(**STREAM), headers={"x-request-id": "r1"})

    last = events(caller.body)[-1]["error"]
    assert isinstance(last, dict)
    assert last["code"] == "internal_error"
    assert "r1" in last["message"]
    assert b"secret" not in caller.body
    assert caller.sent[-1]["more_body"] is False


async def test_empty_generator_is_an_error(app: FastAPI, service: FakeService) -> None:
    service.script = ()
    assert (await call(app, CHAT, chat_body(**STREAM))).status == 500


async def test_notes_stand_in_the_chunk_that_ends_the_answer(app: FastAPI, service: FakeService) -> None:
    service.script = (
        MediaSkipped(param="messages.0.content.1", code="unsupported_media", message="No such codec."),
        GenerationStep(shortened=(Shortened(param="messages.0.content.2", kept_tokens=1, dropped_tokens=2),)),
        *tokens("x"),
        end("length"),
    )
    chunks = events((await call(app, CHAT, chat_body(**STREAM))).body)

    assert all(chunk["choices"] for chunk in chunks)
    assert [chunk.get("media_notes") for chunk in chunks[:-1]] == [None, None]
    notes = chunks[-1]["media_notes"]
    assert isinstance(notes, list)
    assert [note["note"] for note in notes] == ["skipped", "shortened"]
    assert chunks[-1]["choices"] == _choice({}, "length")


async def test_stages_are_told_as_they_happen(app: FastAPI, service: FakeService) -> None:
    encoded = asyncio.Event()
    service.script = (
        StageEvent(stage="encode", param="messages.0.content.2"),
        encoded,
        StageEvent(stage="encode", param="messages.0.content.2", seconds=0.5),
        StageEvent(stage="generate"),
        *HELLO,
        StageEvent(stage="generate", seconds=2.0),
    )
    body = chat_body(image_part(), text_part(), image_part(b"other"), **WITH_STAGES)
    caller = Caller(app, CHAT, body)

    await caller.until_sent(b"encoding image 2/2")
    assert caller.status == 200
    encoded.set()
    await caller.task
    chunks = events(caller.body)
    extras = [chunk for chunk in chunks if not chunk["choices"]]
    assert [chunk["stage"] for chunk in extras if "stage" in chunk] == [
        {"stage": "encode", "param": "messages.0.content.2", "label": "encoding image 2/2", "seconds": None},
        {"stage": "encode", "param": "messages.0.content.2", "label": "encoding image 2/2", "seconds": 0.5},
        {"stage": "generate", "param": None, "label": "generating", "seconds": None},
        {"stage": "generate", "param": None, "label": "generating", "seconds": 2.0},
    ]
    assert chunks[-1]["stages"] == [
        {"stage": "encode", "param": "messages.0.content.2", "seconds": 0.5},
        {"stage": "generate", "param": None, "seconds": 2.0},
    ]


async def test_error_after_a_stage_event_is_the_last_event(app: FastAPI, service: FakeService) -> None:
    service.script = (StageEvent(stage="encode"), StageUnavailable("Restarting.", retry_after_s=3))
    caller = await call(app, CHAT, chat_body(**WITH_STAGES))

    assert caller.status == 200
    assert json.loads(caller.body.split(b"\n\n")[-2][6:])["error"]["code"] == "stage_unavailable"
    assert caller.sent[-1]["more_body"] is False


async def test_without_asking_there_are_no_stages(app: FastAPI, service: FakeService) -> None:
    service.script = (StageEvent(stage="generate"), *HELLO, StageEvent(stage="generate", seconds=2.0))
    assert b"stage" not in (await call(app, CHAT, chat_body(**STREAM))).body


CITATION = Citation(
    number=1,
    file_id="file-1",
    filename="talk.mp4",
    kind=MediaKind.VIDEO,
    segment_id="s",
    ordinal=2,
    similarity=1.25,
    score=0.03,
    snippet="churn",
    start_s=1.5,
    end_s=2.5,
)


async def test_citations_come_before_the_words_and_again_at_the_end(
    app: FastAPI, service: FakeService
) -> None:
    service.script = (ACCEPTED, Sources(citations=(CITATION,)), *tokens("Hi"), end())
    answer = await call(app, CHAT, chat_body(**STREAM, retrieval={"top_k": 1}))
    chunks = events(answer.body)

    assert chunks[0]["choices"] == []
    first, last = chunks[0]["citations"], chunks[-1]["citations"]
    assert first == last
    assert first == [
        {
            "number": 1,
            "file_id": "file-1",
            "filename": "talk.mp4",
            "type": "video",
            "url": "/v1/files/file-1/content#t=1.5,2.5",
            "similarity_score": 1.0,
            "snippet": "churn",
            "start_s": 1.5,
            "end_s": 2.5,
            "page": None,
            "box": None,
        }
    ]
    assert service.retrievals[0] is not None


async def test_nothing_found_is_an_empty_list(app: FastAPI, service: FakeService) -> None:
    service.script = (ACCEPTED, Sources(citations=()), *tokens("Hi"), end())
    chunks = events((await call(app, CHAT, chat_body(**STREAM, retrieval={}))).body)
    assert chunks[0]["citations"] == chunks[-1]["citations"] == []


async def test_an_answer_in_one_piece_has_its_citations(app: FastAPI, service: FakeService) -> None:
    service.script = (ACCEPTED, Sources(citations=(CITATION,)), *tokens("Hi"), end())
    body = json.loads((await call(app, CHAT, chat_body(retrieval={}))).body)
    assert [one["file_id"] for one in body["citations"]] == ["file-1"]
    service.script = (ACCEPTED, *tokens("Hi"), end())
    assert "citations" not in json.loads((await call(app, CHAT, chat_body())).body)
