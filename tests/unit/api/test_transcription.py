"""POST /v1/audio/transcriptions as OpenAI's clients see it."""

from __future__ import annotations

import asyncio
from typing import Literal

import openai
import pytest
from fastapi import FastAPI
from openai.types.audio import TranscriptionTextDeltaEvent, TranscriptionTextDoneEvent

from multimodal.config import AppArgs
from multimodal.errors import InvalidMedia, StageUnavailable
from multimodal.types import MediaKind, SpeechHints, StageEvent, Transcript, TranscriptPart
from tests.unit.api.fakes import (
    HEARD,
    SPOKEN,
    Caller,
    FakeService,
    Fields,
    call,
    events,
    form_body,
    segment,
    transcript,
)

PATH = "/v1/audio/transcriptions"
TEXT = "Hello there. Good bye!"


def start(
    app: FastAPI, fields: Fields, file: bytes | None = b"sound", pipe_breaks_after: int = 1_000_000
) -> Caller:
    body, headers = form_body({"model": "whisper-1", **fields}, file)
    return Caller(app, PATH, body, headers=headers, pipe_breaks_after=pipe_breaks_after)


async def post(app: FastAPI, fields: Fields, file: bytes | None = b"sound") -> Caller:
    caller = start(app, fields, file)
    await asyncio.wait_for(caller.task, 30)
    return caller


async def test_json_is_the_default(official: openai.AsyncOpenAI, service: FakeService) -> None:
    answer = await official.audio.transcriptions.create(
        file=("talk.mp3", b"sound", "audio/mpeg"),
        model="whisper-1",
        language="German",
        prompt="Names: Grüße",
        temperature=0.2,
    )

    assert answer.to_dict() == {"text": TEXT, "usage": {"type": "duration", "seconds": 13}}
    request = service.analyzed[0]
    assert request.question is None
    assert (request.source.kind, request.source.param) == (MediaKind.AUDIO, "file")
    assert (request.source.data, request.source.declared_type) == (b"sound", "audio/mpeg")
    assert request.hints == SpeechHints(language="de", prompt="Names: Grüße", temperature=0.2)


async def test_hints_may_be_left_out(app: FastAPI, service: FakeService) -> None:
    assert (await post(app, {"language": "", "prompt": "", "temperature": ""})).status == 200
    assert service.analyzed[0].hints == SpeechHints()


async def test_the_real_name_of_the_model(app: FastAPI) -> None:
    assert (await post(app, {"model": "whisper-tiny.en"})).status == 200


@pytest.mark.parametrize("name", ["smollm2-135m-instruct", "text", "gpt-4o-transcribe"])
async def test_other_models_are_not_found(app: FastAPI, name: str) -> None:
    caller = await post(app, {"model": name})

    assert caller.status == 404
    assert caller.error["code"] == "model_not_found"


async def test_verbose(official: openai.AsyncOpenAI) -> None:
    answer = await official.audio.transcriptions.create(
        file=b"sound", model="whisper-1", response_format="verbose_json"
    )

    assert (answer.language, answer.duration, answer.text) == ("english", 12.5, TEXT)
    assert answer.words is None
    assert answer.segments is not None
    assert [(item.id, item.start, item.end) for item in answer.segments] == [(0, 0.5, 2.0), (1, 10.0, 12.0)]


async def test_verbose_with_words(official: openai.AsyncOpenAI) -> None:
    answer = await official.audio.transcriptions.create(
        file=b"sound",
        model="whisper-1",
        response_format="verbose_json",
        timestamp_granularities=["word", "segment"],
    )

    assert answer.words is not None
    assert [word.word for word in answer.words] == TEXT.split()
    assert (answer.words[1].start, answer.words[1].end) == (1.25, 2.0)
    assert answer.segments is not None


@pytest.mark.parametrize(("format", "kind"), [("text", "plain"), ("srt", "plain"), ("vtt", "vtt")])
async def test_written_formats(app: FastAPI, format: str, kind: str) -> None:
    caller = await post(app, {"response_format": format})

    assert caller.status == 200
    assert caller.headers["content-type"] == f"text/{kind}; charset=utf-8"
    assert b"Good bye!" in caller.body
    assert (b"-->" in caller.body) == (format != "text")


@pytest.mark.parametrize("format", ["text", "srt", "vtt"])
async def test_the_official_client_takes_written_formats_as_text(
    official: openai.AsyncOpenAI, format: Literal["text", "srt", "vtt"]
) -> None:
    answer: object = await official.audio.transcriptions.create(
        file=b"sound", model="whisper-1", response_format=format
    )

    assert isinstance(answer, str)
    assert "Good bye!" in answer


@pytest.mark.parametrize("format", ["json", "text", "srt", "vtt", "verbose_json"])
async def test_silence_is_no_error(app: FastAPI, service: FakeService, format: str) -> None:
    service.analysis = (TranscriptPart(segments=()), transcript())
    caller = await post(app, {"response_format": format})

    assert caller.status == 200
    assert b"Hello" not in caller.body


async def test_stream(official: openai.AsyncOpenAI) -> None:
    stream = await official.audio.transcriptions.create(
        file=b"sound", model="whisper-1", stream=True, response_format="json"
    )
    found = [event async for event in stream]

    *deltas, done = found
    assert all(isinstance(event, TranscriptionTextDeltaEvent) for event in deltas)
    assert [event.delta for event in deltas if isinstance(event, TranscriptionTextDeltaEvent)] == [
        "Hello there.",
        " Good bye!",
    ]
    assert isinstance(done, TranscriptionTextDoneEvent)
    assert done.to_dict() == {"type": "transcript.text.done", "text": TEXT}


async def test_stream_tells_parts_as_they_come(app: FastAPI, service: FakeService) -> None:
    goes_on = asyncio.Event()
    service.analysis = (HEARD[0], goes_on, *HEARD[1:])
    caller = start(app, {"stream": "true", "response_format": "text"})

    await caller.until_sent(b"Hello there.")
    assert caller.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert b"Good" not in caller.body
    goes_on.set()
    await caller.task
    assert caller.body.endswith(b"\n\ndata: [DONE]\n\n")


async def test_deltas_are_the_text(app: FastAPI, service: FakeService) -> None:
    segments = (segment("one", 0, 1), segment("", 1, 2), segment("two", 2, 3), segment("three", 3, 4))
    service.analysis = (
        TranscriptPart(segments=segments[:2]),
        TranscriptPart(segments=()),
        TranscriptPart(segments=segments[2:]),
        transcript(*segments),
    )
    *deltas, done = events((await post(app, {"stream": "true"})).body)

    assert "".join(str(event["delta"]) for event in deltas) == done["text"]


async def test_silence_is_streamed(app: FastAPI, service: FakeService) -> None:
    service.analysis = (TranscriptPart(segments=()), transcript())
    caller = await post(app, {"stream": "true"})

    assert caller.status == 200
    assert events(caller.body) == [{"type": "transcript.text.done", "text": ""}]


async def test_error_before_the_first_part_has_its_own_status(app: FastAPI, service: FakeService) -> None:
    service.analysis = (StageEvent(stage="load"), InvalidMedia("Damaged.", param="file"))
    for stream in ("true", "false"):
        caller = await post(app, {"stream": stream})
        assert (caller.status, caller.error["param"]) == (400, "file")


async def test_error_in_the_middle_ends_the_stream(app: FastAPI, service: FakeService) -> None:
    service.analysis = (HEARD[0], StageUnavailable("AudioEncoder is restarting."))
    caller = await post(app, {"stream": "true"})

    assert caller.status == 200
    first, last = events(caller.body)
    assert first["delta"] == "Hello there."
    assert isinstance(last["error"], dict)
    assert last["error"]["code"] == "stage_unavailable"
    assert caller.sent[-1]["more_body"] is False


async def test_the_official_client_raises_an_error_in_the_middle(
    official: openai.AsyncOpenAI, service: FakeService
) -> None:
    service.analysis = (HEARD[0], StageUnavailable("AudioEncoder is restarting."))
    stream = await official.audio.transcriptions.create(file=b"sound", model="whisper-1", stream=True)
    with pytest.raises(openai.APIError, match="restarting"):
        _ = [event async for event in stream]


@pytest.mark.parametrize("analysis", [[HEARD[0]], [StageEvent(stage="load")]])
@pytest.mark.parametrize("stream", ["true", "false"])
async def test_no_transcript_is_an_error(
    app: FastAPI, service: FakeService, analysis: list[TranscriptPart | StageEvent], stream: str
) -> None:
    service.analysis = analysis
    caller = await post(app, {"stream": stream})

    assert caller.status == 500 or b"internal_error" in caller.body
    assert b"[DONE]" not in caller.body


@pytest.mark.parametrize("stream", ["true", "false"])
async def test_a_client_that_goes_away_ends_the_work(app: FastAPI, service: FakeService, stream: str) -> None:
    service.analysis = (HEARD[0], asyncio.Event())
    caller = start(app, {"stream": stream})
    await service.waiting.wait()

    caller.go_away()

    await asyncio.wait_for(service.closed.wait(), 10)
    await asyncio.wait_for(caller.task, 10)
    assert service.ended_in == [caller.task]


async def test_a_broken_pipe_ends_the_work(app: FastAPI, service: FakeService) -> None:
    service.analysis = (*HEARD, asyncio.Event())
    caller = start(app, {"stream": "true"}, pipe_breaks_after=2)

    await asyncio.wait_for(caller.task, 10)
    assert service.closed.is_set()


@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ({"model": ""}, "model", "invalid_request"),
        ({"language": "klingon"}, "language", "invalid_request"),
        ({"language": "x" * 100}, "language", "invalid_request"),
        ({"prompt": "x" * 5000}, "prompt", "invalid_request"),
        ({"response_format": "xml"}, "response_format", "invalid_request"),
        ({"response_format": "diarized_json"}, "response_format", "unsupported_parameter"),
        ({"temperature": "1.5"}, "temperature", "invalid_request"),
        ({"temperature": "-0.1"}, "temperature", "invalid_request"),
        ({"temperature": "warm"}, "temperature", "invalid_request"),
        ({"stream": "perhaps"}, "stream", "invalid_request"),
        ({"stream": "true", "response_format": "srt"}, "stream", "invalid_request"),
        ({"stream": "true", "response_format": "verbose_json"}, "stream", "invalid_request"),
        ({"timestamp_granularities": ["word"]}, "timestamp_granularities", "invalid_request"),
        (
            {"timestamp_granularities": ["letter"], "response_format": "verbose_json"},
            "timestamp_granularities.0",
            "invalid_request",
        ),
        ({"include": ["logprobs"]}, "include", "unsupported_parameter"),
        ({"languages": ["en", "de"]}, "languages", "unsupported_parameter"),
        ({"keywords": ["Ray"]}, "keywords", "unsupported_parameter"),
        ({"known_speaker_names": ["Ada"]}, "known_speaker_names", "unsupported_parameter"),
        ({"known_speaker_references": ["data:"]}, "known_speaker_references", "unsupported_parameter"),
        ({"chunking_strategy": "7"}, "chunking_strategy", "unsupported_parameter"),
        ({"chunking_strategy": "manual"}, "chunking_strategy", "unsupported_parameter"),
        ({"chunking_strategy[threshold]": "0.5"}, "chunking_strategy", "unsupported_parameter"),
    ],
    ids=str,
)
async def test_wrong_fields_are_named(
    app: FastAPI, service: FakeService, fields: Fields, param: str, code: str
) -> None:
    caller = await post(app, fields)

    assert caller.status == 400
    assert (caller.error["param"], caller.error["code"]) == (param, code)
    assert not service.analyzed


@pytest.mark.parametrize(
    "fields",
    [
        {"chunking_strategy": "auto"},
        {"chunking_strategy": '{"type": "server_vad"}'},
        {"chunking_strategy[type]": "server_vad"},
        {"user": "someone"},
    ],
    ids=str,
)
async def test_harmless_fields_are_taken(app: FastAPI, fields: Fields) -> None:
    assert (await post(app, fields)).status == 200


async def test_a_form_without_file_is_refused(app: FastAPI) -> None:
    caller = await post(app, {}, None)

    assert (caller.status, caller.error["param"]) == (400, "file")
    assert "file is required" in str(caller.error["message"])


async def test_json_is_refused(app: FastAPI) -> None:
    caller = await call(app, PATH, {"model": "whisper-1"}, headers={"content-type": "application/json"})

    assert caller.status == 400
    assert "multipart/form-data" in str(caller.error["message"])


class TestSmallLimits:
    """With a small limit for recordings."""

    @pytest.fixture
    def args(self) -> AppArgs:
        return AppArgs.model_validate({"limits": {"audio_bytes": 1000, "body_bytes": 4000}})

    @pytest.mark.parametrize(("size", "code"), [(1001, "media_too_large"), (5000, "request_too_large")])
    async def test_large_files_are_refused(
        self, app: FastAPI, service: FakeService, size: int, code: str
    ) -> None:
        caller = await post(app, {}, b"x" * size)

        assert caller.status == 413
        assert caller.error["code"] == code
        assert not service.analyzed

    async def test_smaller_ones_are_taken(self, app: FastAPI) -> None:
        assert (await post(app, {}, b"x" * 1000)).status == 200


@pytest.mark.parametrize("stream", ["true", "false"])
async def test_stages_are_recorded(app: FastAPI, service: FakeService, stream: str) -> None:
    service.analysis = (StageEvent(stage="encode", param="file", seconds=0.5), *HEARD)
    await post(app, {"stream": stream})
    metrics = (await call(app, "/metrics", method="GET")).body

    sums = [line for line in metrics.decode().splitlines() if "stage_seconds_sum" in line]
    assert len(sums) == 1
    assert 'stage="encode"' in sums[0]
    assert sums[0].endswith(" 0.5")


def test_the_usual_transcript_is_whole() -> None:
    """What the tests above count on."""
    assert isinstance(HEARD[-1], Transcript)
    assert HEARD[-1].segments == SPOKEN
