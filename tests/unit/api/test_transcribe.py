"""POST /v1/audio/transcribe: JSON and forms, whole and streamed, with and without a question."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
from collections.abc import Mapping
from itertools import count

import pytest
from fastapi import FastAPI

from multimodal.api import create_app
from multimodal.api.audio_schemas import AudioAnalysis, RecordingEvent, TranscriptPartEvent
from multimodal.config import AppArgs
from multimodal.errors import ContextLengthExceeded, InvalidMedia, StageUnavailable
from multimodal.types import (
    GenerationStep,
    MediaKind,
    Sampling,
    Shortened,
    SpeechHints,
    StageEvent,
    TranscriptPart,
)
from tests.unit.api.fakes import (
    ACCEPTED,
    ANSWER,
    HEARD,
    MODEL,
    NOW_S,
    AnalysisItem,
    Caller,
    FakeService,
    Fields,
    call,
    end,
    events,
    form_body,
    tokens,
    transcript,
)

PATH = "/v1/audio/transcribe"
TEXT = "Hello there. Good bye!"
USAGE = {
    "prompt_tokens": 11,
    "completion_tokens": 3,
    "total_tokens": 14,
    "prompt_tokens_details": {"cached_tokens": 4},
}
QUESTION: dict[str, object] = {"prompt": "Who speaks?"}
STREAM: dict[str, object] = {"stream": True}
STAGES: dict[str, object] = {"stream_options": {"include_stages": True}}
ID = {"x-request-id": "r1"}


def json_body(fields: Mapping[str, object], data: bytes = b"sound") -> dict[str, object]:
    return {"input_audio": {"data": base64.b64encode(data).decode(), "format": "wav"}, **fields}


async def post(app: FastAPI, fields: Mapping[str, object], data: bytes = b"sound") -> Caller:
    return await call(app, PATH, json_body(fields, data), headers=ID)


async def post_form(app: FastAPI, fields: Fields, file: bytes | None = b"sound") -> Caller:
    body, headers = form_body(fields, file)
    return await call(app, PATH, body, headers=headers)


async def test_transcript_without_a_question(app: FastAPI, service: FakeService) -> None:
    caller = await post(app, {})

    assert caller.status == 200
    assert caller.headers["content-type"] == "application/json"
    answer = json.loads(caller.body)
    AudioAnalysis.model_validate(answer)
    segments = answer.pop("segments")
    assert answer == {
        "id": "transcription-r1",
        "object": "audio.transcription",
        "created": int(NOW_S),
        "model": MODEL,
        "text": TEXT,
        "language": "en",
        "duration_s": 12.5,
        "answer": None,
        "finish_reason": None,
        "usage": None,
    }
    assert [(item["text"], item["start_s"], item["end_s"]) for item in segments] == [
        ("Hello there.", 0.5, 2.0),
        ("Good bye!", 10.0, 12.0),
    ]
    assert segments[0]["words"][1] == {"text": "there.", "start_s": 1.25, "end_s": 2.0}
    request = service.analyzed[0]
    assert (request.question, request.hints, request.sampling) == (None, SpeechHints(), Sampling())
    assert (request.source.kind, request.source.data) == (MediaKind.AUDIO, b"sound")
    assert (request.source.param, request.source.declared_type) == ("input_audio", "wav")


async def test_transcript_with_a_question(app: FastAPI, service: FakeService) -> None:
    answer = json.loads((await post(app, QUESTION)).body)

    assert (answer["answer"], answer["finish_reason"], answer["usage"]) == ("Hello", "stop", USAGE)
    assert answer["text"] == TEXT
    assert service.analyzed[0].question == "Who speaks?"


async def test_a_form_says_the_same_as_json(app: FastAPI, service: FakeService) -> None:
    fields = {"prompt": "Who?", "language": "English", "hint": "Ada", "model": MODEL}
    numbers: dict[str, object] = {"temperature": 0.5, "max_tokens": 20, "seed": 7, "top_p": 0.9}
    assert (await post(app, fields | numbers)).status == 200
    form = fields | {name: str(value) for name, value in numbers.items()}
    assert (await post_form(app, form)).status == 200

    of_json, of_form = service.analyzed
    assert of_json.hints == of_form.hints == SpeechHints(language="en", prompt="Ada")
    assert of_json.sampling == of_form.sampling == Sampling(max_tokens=20, temperature=0.5, seed=7, top_p=0.9)
    assert of_json.question == of_form.question == "Who?"
    assert (of_form.source.data, of_form.source.param, of_form.source.declared_type) == (
        b"sound",
        "file",
        "audio/wav",
    )


async def test_a_blank_question_is_none(app: FastAPI, service: FakeService) -> None:
    answer = json.loads((await post(app, {"prompt": " \n"})).body)

    assert answer["answer"] is None
    assert service.analyzed[0].question is None


async def test_times_can_be_left_out(app: FastAPI) -> None:
    assert "segments" not in json.loads((await post(app, {"include_timestamps": False})).body)
    assert "segments" not in json.loads((await post_form(app, {"include_timestamps": "false"})).body)
    parts = events((await post(app, {"include_timestamps": False, **STREAM})).body)[:2]
    assert [part["text"] for part in parts] == ["Hello there.", "Good bye!"]
    assert not any("segments" in part for part in parts)


@pytest.mark.parametrize(
    ("format", "kind", "begins"),
    [("text", "plain", "Hello there."), ("srt", "plain", "1\n00:00:00,500"), ("vtt", "vtt", "WEBVTT\n\n")],
)
async def test_written_formats(app: FastAPI, format: str, kind: str, begins: str) -> None:
    caller = await post(app, {"format": format})

    assert caller.status == 200
    assert caller.headers["content-type"] == f"text/{kind}; charset=utf-8"
    assert caller.body.decode().startswith(begins)


async def test_silence_is_no_error(app: FastAPI, service: FakeService) -> None:
    service.analysis = (TranscriptPart(segments=()), transcript())
    answer = json.loads((await post(app, {})).body)
    streamed = events((await post(app, STREAM)).body)

    assert (answer["text"], answer["segments"]) == ("", [])
    assert [event["object"] for event in streamed] == ["audio.transcription", "audio.transcription.done"]


async def test_notes_and_stages_are_told(app: FastAPI, service: FakeService) -> None:
    service.analysis = (
        StageEvent(stage="encode", param="input_audio"),
        StageEvent(stage="encode", param="input_audio", seconds=0.5),
        *HEARD,
        GenerationStep(shortened=(Shortened(param="input_audio", kept_tokens=1, dropped_tokens=2),)),
        *tokens("x"),
        end("length"),
    )
    answer = json.loads((await post(app, QUESTION | STAGES)).body)
    done = events((await post(app, QUESTION | STREAM | STAGES)).body)[-1]

    for found in (answer, done):
        assert found["stages"] == [{"stage": "encode", "param": "input_audio", "seconds": 0.5}]
        assert '"note": "shortened"' in json.dumps(found["media_notes"])
        assert (found["answer"], found["finish_reason"]) == ("x", "length")
    assert "stages" not in json.loads((await post(app, QUESTION)).body)


# --- streams -----------------------------------------------------------------------------------


async def test_events_of_a_stream(app: FastAPI) -> None:
    caller = await post(app, QUESTION | STREAM)

    assert caller.status == 200
    assert caller.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert caller.body.endswith(b"\n\ndata: [DONE]\n\n")
    found = events(caller.body)
    assert {event["id"] for event in found} == {"transcription-r1"}
    assert [str(event["object"]).removeprefix("audio.transcription") for event in found] == [
        ".part",
        ".part",
        "",
        ".delta",
        ".delta",
        ".done",
    ]
    TranscriptPartEvent.model_validate(found[0])
    RecordingEvent.model_validate(found[2])
    assert found[1]["text"] == "Good bye!"
    assert [event["delta"] for event in found[3:5]] == ["Hel", "lo"]
    assert found[5] == {
        "id": "transcription-r1",
        "object": "audio.transcription.done",
        "answer": "Hello",
        "finish_reason": "stop",
        "usage": USAGE,
    }


async def test_stream_and_whole_answer_say_the_same(app: FastAPI) -> None:
    whole = json.loads((await post(app, QUESTION)).body)
    found = events((await post(app, QUESTION | STREAM)).body)

    assert {**found[2], **found[-1], "object": "audio.transcription"} == whole
    assert [found[0]["segments"], found[1]["segments"]] == [[segment] for segment in whole["segments"]]


async def test_a_stream_without_a_question(app: FastAPI) -> None:
    *_, recording, done = events((await post(app, STREAM)).body)

    assert recording["text"] == TEXT
    assert (done["answer"], done["finish_reason"], done["usage"]) == (None, None, None)


async def test_parts_are_told_as_they_come(app: FastAPI, service: FakeService) -> None:
    heard, answered = asyncio.Event(), asyncio.Event()
    service.analysis = (HEARD[0], heard, *HEARD[1:], ACCEPTED, *tokens("Hel"), answered, *tokens("lo"), end())
    caller = Caller(app, PATH, json_body(QUESTION | STREAM))

    await caller.until_sent(b"Hello there.")
    assert b"Good bye!" not in caller.body
    heard.set()
    await caller.until_sent(b'"Hel"')
    answered.set()
    await caller.task
    assert caller.body.endswith(b"[DONE]\n\n")


async def test_stages_are_told_as_they_happen(app: FastAPI, service: FakeService) -> None:
    loaded = asyncio.Event()
    service.analysis = (
        StageEvent(stage="load", param="input_audio"),
        loaded,
        StageEvent(stage="load", param="input_audio", seconds=0.25),
        *HEARD,
    )
    caller = Caller(app, PATH, json_body(STREAM | STAGES))

    await caller.until_sent(b"loading audio 1/1")
    loaded.set()
    await caller.task
    entered, left, *_ = events(caller.body)
    assert entered["object"] == "audio.transcription.stage"
    stage = {"stage": "load", "param": "input_audio", "label": "loading audio 1/1"}
    assert (entered["stage"], left["stage"]) == ({**stage, "seconds": None}, {**stage, "seconds": 0.25})


async def test_without_asking_there_are_no_stages(app: FastAPI, service: FakeService) -> None:
    service.analysis = (StageEvent(stage="load", seconds=0.25), *HEARD)

    assert b"stage" not in (await post(app, STREAM)).body


async def test_any_text_survives(app: FastAPI, service: FakeService) -> None:
    texts = ['"quotes" and \\ and \n\r\n', "\u2028\u0085\x1e", "日本語 🎈", "data: [DONE]\n\n", "\ud83d"]
    service.analysis = (*HEARD, ACCEPTED, *tokens(*texts), end())
    body = (await post(app, QUESTION | STREAM)).body

    assert body.isascii()
    assert len(body.decode().splitlines()) == body.count(b"\n")
    assert events(body)[-1]["answer"] == "".join(texts)
    assert json.loads((await post(app, QUESTION)).body)["answer"] == "".join(texts)


async def test_error_before_anything_was_told_has_its_own_status(app: FastAPI, service: FakeService) -> None:
    service.analysis = (StageEvent(stage="load"), InvalidMedia("Damaged.", param="input_audio"))
    caller = await post(app, STREAM)

    assert (caller.status, caller.error["code"], caller.error["param"]) == (
        400,
        "invalid_media",
        "input_audio",
    )


async def test_error_in_the_middle_ends_the_stream(app: FastAPI, service: FakeService) -> None:
    service.analysis = (*HEARD, ContextLengthExceeded("Too long.", param="prompt"))
    caller = await post(app, QUESTION | STREAM)

    assert caller.status == 200
    *_, recording, last = events(caller.body)
    assert recording["text"] == TEXT
    assert last["error"] == {
        "message": "Too long.",
        "type": "invalid_request_error",
        "param": "prompt",
        "code": "context_length_exceeded",
    }
    assert b"[DONE]" not in caller.body
    assert caller.sent[-1]["more_body"] is False


@pytest.mark.parametrize("analysis", [HEARD, (*HEARD, ACCEPTED, *tokens("x")), (HEARD[0],), ANSWER], ids=len)
@pytest.mark.parametrize("stream", [True, False])
async def test_half_an_analysis_is_an_error(
    app: FastAPI, service: FakeService, analysis: tuple[AnalysisItem, ...], stream: bool
) -> None:
    service.analysis = analysis
    caller = await post(app, {**QUESTION, "stream": stream})

    assert b"internal_error" in caller.body
    assert b"[DONE]" not in caller.body
    assert caller.status == (200 if stream else 500)


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("before", [(), HEARD, (*HEARD, ACCEPTED, *tokens("x"))], ids=len)
async def test_a_client_that_goes_away_ends_the_work(
    app: FastAPI, service: FakeService, before: tuple[AnalysisItem, ...], stream: bool
) -> None:
    service.analysis = (*before, asyncio.Event())
    caller = Caller(app, PATH, json_body({**QUESTION, "stream": stream}))
    await service.waiting.wait()

    caller.go_away()

    await asyncio.wait_for(service.closed.wait(), 10)
    await asyncio.wait_for(caller.task, 10)
    assert service.ended_in == [caller.task]


# --- wrong requests ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"prompt": 7}, "prompt"),
        ({"prompt": "a\0"}, "prompt"),
        ({"language": "klingon"}, "language"),
        ({"hint": "x" * 5000}, "hint"),
        ({"format": "xml"}, "format"),
        ({"format": "srt", "prompt": "Who?"}, "prompt"),
        ({"format": "vtt", "stream": True}, "stream"),
        ({"include_timestamps": "true"}, "include_timestamps"),
        ({"temperature": 3}, "temperature"),
        ({"temperature": "0.5"}, "temperature"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 10_000_000}, "max_tokens"),
        ({"stream_options": []}, "stream_options"),
        ({"stream_options": "{"}, "stream_options"),
        ({"input_audio": None}, "input_audio"),
        ({"input_audio": {}}, "input_audio.data"),
        ({"input_audio": {"data": "!"}}, "input_audio.data"),
        ({"input_audio": {"data": ""}}, "input_audio.data"),
    ],
    ids=str,
)
async def test_wrong_fields_are_named(
    app: FastAPI, service: FakeService, fields: dict[str, object], param: str
) -> None:
    caller = await post(app, fields)

    assert (caller.status, caller.error["param"]) == (400, param)
    assert not service.analyzed


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"temperature": "warm"}, "temperature"),
        ({"stream": "perhaps"}, "stream"),
        ({"stream_options": "yes"}, "stream_options"),
        ({"format": "srt", "prompt": "Who?"}, "prompt"),
    ],
    ids=str,
)
async def test_wrong_fields_of_forms_are_named(app: FastAPI, fields: Fields, param: str) -> None:
    caller = await post_form(app, fields)

    assert (caller.status, caller.error["param"]) == (400, param)


@pytest.mark.parametrize(
    "fields",
    [{"stream_options[include_stages]": "true"}, {"stream_options": '{"include_stages": true}'}],
    ids=str,
)
async def test_objects_in_forms(app: FastAPI, fields: Fields) -> None:
    assert json.loads((await post_form(app, fields)).body)["stages"] == []


async def test_a_form_needs_a_file(app: FastAPI) -> None:
    caller = await post_form(app, {"model": MODEL}, None)

    assert (caller.status, caller.error["param"]) == (400, "file")


async def test_only_the_generator_answers(app: FastAPI) -> None:
    caller = await post(app, {"model": "whisper-1"})

    assert (caller.status, caller.error["code"]) == (404, "model_not_found")


class TestSmallLimits:
    """With a small limit for recordings."""

    @pytest.fixture
    def args(self) -> AppArgs:
        return AppArgs.model_validate({"limits": {"audio_bytes": 1000}})

    async def test_large_recordings_are_refused(self, app: FastAPI) -> None:
        of_json, of_form = await post(app, {}, b"x" * 1001), await post_form(app, {}, b"x" * 1001)

        assert (of_json.status, of_json.error["param"]) == (413, "input_audio.data")
        assert (of_form.status, of_form.error["param"]) == (413, "file")


# --- metrics and logs --------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [True, False])
async def test_times_and_tokens_are_recorded(
    service: FakeService, caplog: pytest.LogCaptureFixture, stream: bool
) -> None:
    caplog.set_level(logging.INFO, "multimodal.request")
    ticks = count()  # every look at the timer is a second later
    app = create_app(lambda: service, AppArgs(), timer=lambda: float(next(ticks)))
    service.analysis = (StageEvent(stage="encode", param="input_audio", seconds=0.5), *HEARD, *ANSWER)
    await post(app, {**QUESTION, "stream": stream})

    line = json.loads(caplog.messages[0])
    assert (line["endpoint"], line["prompt_tokens"], line["completion_tokens"]) == (PATH, 11, 3)
    assert line["stages"] == [{"stage": "encode", "param": "input_audio", "seconds": 0.5}]
    metrics = (await call(app, "/metrics", method="GET")).body.decode().splitlines()
    values = {entry.split("{")[0]: entry.rsplit(" ", 1)[1] for entry in metrics if not entry.startswith("#")}
    assert values["multimodal_stage_seconds_sum"] == "0.5"
    assert values["multimodal_ttft_seconds_count"] == "1.0"
    assert values["multimodal_inter_token_seconds_count"] == "1.0"


@pytest.mark.parametrize("stream", [True, False])
async def test_an_error_in_the_middle_is_recorded(
    app: FastAPI, service: FakeService, caplog: pytest.LogCaptureFixture, stream: bool
) -> None:
    caplog.set_level(logging.INFO, "multimodal.request")
    service.analysis = (*HEARD, StageUnavailable("Restarting."))
    await post(app, {**QUESTION, "stream": stream})

    line = json.loads(caplog.messages[0])
    assert (line["status"], line["code"]) == (503, "stage_unavailable")
