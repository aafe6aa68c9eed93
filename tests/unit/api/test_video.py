"""POST /v1/video/analyze: JSON and forms, whole and streamed, with and without a question."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import replace

import httpx
import pytest
from fastapi import FastAPI

from multimodal.api import create_app
from multimodal.api.video import as_watched
from multimodal.api.video_examples import TINY_CLIP, VIDEO_EXAMPLES, VIDEO_FORM_EXAMPLES
from multimodal.api.video_schemas import VideoAnalysis, VideoEvent, VideoRequest
from multimodal.config import AppArgs, Limits, LoaderArgs
from multimodal.errors import ContextLengthExceeded, InvalidMedia, MultimodalError, StageUnavailable
from multimodal.media.decoder import decode
from multimodal.types import (
    ColourShare,
    FrameSampling,
    GenerationStep,
    ImageFeatures,
    ImageText,
    MediaKind,
    MediaSource,
    Sampling,
    Scene,
    Shortened,
    SpeechHints,
    StageEvent,
    TextLine,
    Transcript,
    Video,
    VideoFeatures,
)
from tests.unit.api.fakes import (
    ACCEPTED,
    ANSWER,
    MODEL,
    NOW_S,
    SPOKEN,
    AnalysisItem,
    Caller,
    FakeService,
    Fields,
    call,
    data_url,
    end,
    events,
    form_body,
    tokens,
    transcript,
)

PATH = "/v1/video/analyze"
URL = "video_url.url"
QUESTION: dict[str, object] = {"prompt": "What happens?"}
STREAM: dict[str, object] = {"stream": True}
STAGES: dict[str, object] = {"stream_options": {"include_stages": True}}
ID = {"x-request-id": "r-1"}
USAGE = {
    "prompt_tokens": 11,
    "completion_tokens": 3,
    "total_tokens": 14,
    "prompt_tokens_details": {"cached_tokens": 4},
}


def scene(start_s: float, end_s: float, times_s: tuple[float, ...], *texts: str) -> Scene:
    lines = [TextLine(text=text, confidence=0.987654, box=(0.1, 0.2, 1 / 3, 0.4)) for text in texts]
    colours = (ColourShare(name="red", share=2 / 3), ColourShare(name="white", share=0.25))
    image = ImageFeatures(sha256="f", width=640, height=360, colours=colours, vector=None)
    return Scene(
        start_s=start_s, end_s=end_s, times_s=times_s, image=image, text=ImageText(lines=tuple(lines))
    )


SOUND = transcript(*SPOKEN)


def watched(sound: Transcript | None = SOUND) -> VideoFeatures:
    return VideoFeatures(
        sha256="v",
        duration_s=12.50049,
        width=640,
        height=360,
        scenes=(
            scene(0.0, 4.04004, (1.00049, 3.0), "CHAPTER ONE", "by Ada"),
            scene(4.04004, 12.50049, (8.5,)),
        ),
        transcript=sound,
    )


SEEN: tuple[AnalysisItem, ...] = (watched(),)
SCENES = [
    {
        "index": 0,
        "start_s": 0.0,
        "end_s": 4.04,
        "frame_times_s": [1.0, 3.0],
        "text": "CHAPTER ONE\nby Ada",
        "lines": [
            {"text": "CHAPTER ONE", "confidence": 0.9877, "box": [0.1, 0.2, 0.3333, 0.4]},
            {"text": "by Ada", "confidence": 0.9877, "box": [0.1, 0.2, 0.3333, 0.4]},
        ],
        "colours": [{"name": "red", "share": 0.6667}, {"name": "white", "share": 0.25}],
    },
    {
        "index": 1,
        "start_s": 4.04,
        "end_s": 12.5,
        "frame_times_s": [8.5],
        "text": "",
        "lines": [],
        "colours": [{"name": "red", "share": 0.6667}, {"name": "white", "share": 0.25}],
    },
]


@pytest.fixture
def service() -> FakeService:
    return FakeService(analysis=SEEN)


def json_body(
    fields: Mapping[str, object], data: bytes = b"film", options: Mapping[str, object] | None = None
) -> dict[str, object]:
    """`options` stand in the video."""
    return {"video_url": {"url": data_url(data, "video/mp4"), **(options or {})}, **fields}


async def post(
    app: FastAPI,
    fields: Mapping[str, object],
    data: bytes = b"film",
    options: Mapping[str, object] | None = None,
) -> Caller:
    return await call(app, PATH, json_body(fields, data, options), headers=ID)


async def post_form(app: FastAPI, fields: Fields, file: bytes | None = b"film") -> Caller:
    body, headers = form_body(fields, file)
    return await call(app, PATH, body, headers=headers)


# --- whole answers -----------------------------------------------------------------------------


async def test_analysis_without_a_question(app: FastAPI, service: FakeService) -> None:
    caller = await post(app, {})

    assert caller.status == 200
    assert caller.headers["content-type"] == "application/json"
    answer = json.loads(caller.body)
    VideoAnalysis.model_validate(answer)
    spoken = answer.pop("transcript")
    assert answer == {
        "id": "video-r1",
        "object": "video.analysis",
        "created": int(NOW_S),
        "model": MODEL,
        "duration_s": 12.5,
        "width": 640,
        "height": 360,
        "frame_sampling": "scene",
        "frames": [{"time_s": 1.0, "scene": 0}, {"time_s": 3.0, "scene": 0}, {"time_s": 8.5, "scene": 1}],
        "scenes": SCENES,
        "answer": None,
        "finish_reason": None,
        "usage": None,
    }
    assert (spoken["language"], spoken["text"]) == ("en", "Hello there. Good bye!")
    assert [(item["text"], item["start_s"], item["end_s"]) for item in spoken["segments"]] == [
        ("Hello there.", 0.5, 2.0),
        ("Good bye!", 10.0, 12.0),
    ]
    assert spoken["segments"][0]["words"][1] == {"text": "there.", "start_s": 1.25, "end_s": 2.0}


async def test_what_the_service_is_asked_for(app: FastAPI, service: FakeService) -> None:
    await post(app, {})

    request = service.analyzed[0]
    assert (request.question, request.hints, request.sampling) == (None, SpeechHints(), Sampling())
    assert request.source == MediaSource(
        kind=MediaKind.VIDEO,
        data=b"film",
        param=URL,
        declared_type="video/mp4",
        frame_sampling=FrameSampling.SCENE,
        max_frames=None,
    )


async def test_analysis_with_a_question(app: FastAPI, service: FakeService) -> None:
    service.analysis = (*SEEN, *ANSWER)
    answer = json.loads((await post(app, QUESTION)).body)

    assert (answer["answer"], answer["finish_reason"], answer["usage"]) == ("Hello", "stop", USAGE)
    assert answer["scenes"] == SCENES
    assert service.analyzed[0].question == "What happens?"


@pytest.mark.parametrize("prompt", ["", " \n", None])
async def test_a_blank_question_is_none(app: FastAPI, service: FakeService, prompt: str | None) -> None:
    assert json.loads((await post(app, {"prompt": prompt})).body)["answer"] is None
    assert service.analyzed[0].question is None


async def test_a_video_without_sound_has_no_transcript(app: FastAPI, service: FakeService) -> None:
    service.analysis = (watched(None),)
    answer = json.loads((await post(app, {})).body)

    assert answer["transcript"] is None
    VideoAnalysis.model_validate(answer)


async def test_a_silent_sound_track_has_an_empty_transcript(app: FastAPI, service: FakeService) -> None:
    service.analysis = (watched(transcript()),)
    found = json.loads((await post(app, {})).body)["transcript"]

    assert (found["text"], found["segments"]) == ("", [])


async def test_notes_and_stages_are_told(app: FastAPI, service: FakeService) -> None:
    service.analysis = (
        StageEvent(stage="encode", param=URL),
        StageEvent(stage="encode", param=URL, seconds=0.5),
        *SEEN,
        GenerationStep(shortened=(Shortened(param=URL, kept_tokens=1, dropped_tokens=2),)),
        *tokens("x"),
        end("length"),
    )
    answer = json.loads((await post(app, QUESTION | STAGES)).body)
    done = events((await post(app, QUESTION | STREAM | STAGES)).body)[-1]

    for found in (answer, done):
        assert found["stages"] == [{"stage": "encode", "param": URL, "seconds": 0.5}]
        assert '"note": "shortened"' in json.dumps(found["media_notes"])
        assert (found["answer"], found["finish_reason"]) == ("x", "length")
    assert "stages" not in json.loads((await post(app, QUESTION)).body)


def test_frames_are_told_in_the_order_of_time() -> None:
    video = as_watched(watched(None), FrameSampling.UNIFORM)

    times = [frame.time_s for frame in video.frames]
    assert times == sorted(times) == [time_s for scene in video.scenes for time_s in scene.frame_times_s]
    assert all(video.scenes[frame.scene].index == frame.scene for frame in video.frames)


def test_a_video_without_pictures_has_no_scenes() -> None:
    video = as_watched(replace(watched(), scenes=()), FrameSampling.SCENE)

    assert (video.frames, video.scenes) == ([], [])


# --- options -----------------------------------------------------------------------------------


@pytest.mark.parametrize("sampling", FrameSampling)
async def test_frame_options_stand_in_the_video_or_beside_it(
    app: FastAPI, service: FakeService, sampling: FrameSampling
) -> None:
    options: dict[str, object] = {"frame_sampling": sampling.value, "max_frames": 5}
    beside = await post(app, options)
    inside = await post(app, {}, options=options)
    both = await post(app, {"frame_sampling": "keyframes", "max_frames": 9}, options=options)
    form = await post_form(app, {name: str(value) for name, value in options.items()})

    for caller in (beside, inside, both, form):
        assert json.loads(caller.body)["frame_sampling"] == sampling.value
    assert {(asked.source.frame_sampling, asked.source.max_frames) for asked in service.analyzed} == {
        (sampling, 5)
    }


async def test_a_form_says_the_same_as_json(app: FastAPI, service: FakeService) -> None:
    service.analysis = (*SEEN, *ANSWER)
    fields = {"prompt": "Who?", "language": "English", "hint": "Ada", "model": MODEL, "stop": "."}
    numbers: dict[str, object] = {"temperature": 0.5, "max_tokens": 20, "seed": 7, "top_p": 0.9}
    whole = await post(app, fields | numbers)
    form = await post_form(app, fields | {name: str(value) for name, value in numbers.items()})

    of_json, of_form = service.analyzed
    assert of_json.hints == of_form.hints == SpeechHints(language="en", prompt="Ada")
    assert (
        of_json.sampling
        == of_form.sampling
        == Sampling(max_tokens=20, temperature=0.5, seed=7, top_p=0.9, stop=(".",))
    )
    assert of_json.question == of_form.question == "Who?"
    assert of_form.source == MediaSource(
        kind=MediaKind.VIDEO,
        data=b"film",
        param="file",
        declared_type="audio/wav",  # as the helper declares all files
        frame_sampling=FrameSampling.SCENE,
    )
    assert json.loads(whole.body) | {"id": ""} == json.loads(form.body) | {"id": ""}


async def test_unknown_fields_are_ignored(app: FastAPI) -> None:
    assert (await post(app, {"anything": [1]}, options={"detail": "high"})).status == 200
    assert (await post_form(app, {"anything": "x"})).status == 200


# --- streams -----------------------------------------------------------------------------------


async def test_events_of_a_stream(app: FastAPI, service: FakeService) -> None:
    service.analysis = (*SEEN, *ANSWER)
    caller = await post(app, QUESTION | STREAM)

    assert caller.status == 200
    assert caller.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert caller.body.endswith(b"\n\ndata: [DONE]\n\n")
    seen, *deltas, done = events(caller.body)
    VideoEvent.model_validate(seen)
    assert (seen["object"], seen["scenes"]) == ("video.analysis", SCENES)
    assert [(delta["object"], delta["delta"]) for delta in deltas] == [
        ("video.analysis.delta", "Hel"),
        ("video.analysis.delta", "lo"),
    ]
    assert done == {
        "id": "video-r1",
        "object": "video.analysis.done",
        "answer": "Hello",
        "finish_reason": "stop",
        "usage": USAGE,
    }


async def test_stream_and_whole_answer_say_the_same(app: FastAPI, service: FakeService) -> None:
    service.analysis = (*SEEN, *ANSWER)
    whole = json.loads((await post(app, QUESTION)).body)
    found = events((await post(app, QUESTION | STREAM)).body)

    assert {**found[0], **found[-1], "object": "video.analysis"} == whole


async def test_a_form_can_be_streamed(app: FastAPI) -> None:
    caller = await post_form(app, {"stream": "true", "stream_options[include_stages]": "true"})

    assert [event["object"] for event in events(caller.body)] == ["video.analysis", "video.analysis.done"]
    assert events(caller.body)[-1]["stages"] == []


async def test_scenes_and_stages_are_told_as_they_come(app: FastAPI, service: FakeService) -> None:
    loaded, answered = asyncio.Event(), asyncio.Event()
    service.analysis = (
        StageEvent(stage="load", param=URL),
        loaded,
        StageEvent(stage="load", param=URL, seconds=0.25),
        *SEEN,
        answered,
        *ANSWER,
    )
    caller = Caller(app, PATH, json_body(QUESTION | STREAM | STAGES))

    await caller.until_sent(b"loading video 1/1")
    loaded.set()
    await caller.until_sent(b"CHAPTER ONE")
    assert b'"Hel"' not in caller.body
    answered.set()
    await caller.task
    entered = events(caller.body)[0]
    assert entered["object"] == "video.analysis.stage"
    assert entered["stage"] == {"stage": "load", "param": URL, "label": "loading video 1/1", "seconds": None}


async def test_error_in_the_middle_ends_the_stream(app: FastAPI, service: FakeService) -> None:
    service.analysis = (*SEEN, ContextLengthExceeded("Too long.", param="prompt"))
    caller = await post(app, QUESTION | STREAM)

    assert caller.status == 200
    assert events(caller.body)[-1] == {
        "error": {
            "message": "Too long.",
            "type": "invalid_request_error",
            "param": "prompt",
            "code": "context_length_exceeded",
        }
    }
    assert b"[DONE]" not in caller.body


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (InvalidMedia("Damaged.", param=URL), 400),
        (ContextLengthExceeded("Too long.", param="prompt"), 400),
        (StageUnavailable("VideoEncoder is restarting.", retry_after_s=30), 503),
    ],
    ids=str,
)
@pytest.mark.parametrize("stream", [True, False])
async def test_errors_of_the_service_have_their_own_status(
    app: FastAPI, service: FakeService, error: MultimodalError, status: int, stream: bool
) -> None:
    service.analysis = (StageEvent(stage="load"), error)
    caller = await post(app, {**QUESTION, "stream": stream})

    assert (caller.status, caller.error["code"], caller.error["param"]) == (status, error.code, error.param)
    assert caller.headers.get("retry-after") == (str(error.retry_after_s) if error.retry_after_s else None)


@pytest.mark.parametrize("analysis", [SEEN, (*SEEN, ACCEPTED, *tokens("x")), ANSWER], ids=len)
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
@pytest.mark.parametrize("before", [(), SEEN, (*SEEN, ACCEPTED, *tokens("x"))], ids=len)
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
        ({"frame_sampling": "random"}, "frame_sampling"),
        ({"frame_sampling": "SCENE"}, "frame_sampling"),
        ({"frame_sampling": 3}, "frame_sampling"),
        ({"max_frames": 0}, "max_frames"),
        ({"max_frames": -1}, "max_frames"),
        ({"max_frames": 65}, "max_frames"),
        ({"max_frames": 10**30}, "max_frames"),
        ({"max_frames": 1.5}, "max_frames"),
        ({"max_frames": "8"}, "max_frames"),
        ({"prompt": 7}, "prompt"),
        ({"prompt": "a\0"}, "prompt"),
        ({"hint": "\0"}, "hint"),
        ({"language": "klingon"}, "language"),
        ({"model": ""}, "model"),
        ({"temperature": 3}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"seed": 2**63}, "seed"),
        ({"stop": [""]}, "stop.0"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 10_000_000}, "max_tokens"),
        ({"stream": "true"}, "stream"),
        ({"stream_options": []}, "stream_options"),
        ({"stream_options": {"include_stages": "yes"}}, "stream_options.include_stages"),
        ({"video_url": None}, "video_url"),
        ({"video_url": "data:video/mp4;base64,ZmlsbQ=="}, "video_url"),
        ({"video_url": {}}, URL),
        ({"video_url": {"url": 5}}, URL),
        ({"video_url": {"url": ""}}, URL),
        ({"video_url": {"url": "data:video/mp4;base64,"}}, URL),
        ({"video_url": {"url": "data:video/mp4;base64,!"}}, URL),
        ({"video_url": {"url": "film.mp4"}}, URL),
    ],
    ids=str,
)
async def test_wrong_fields_are_named(
    app: FastAPI, service: FakeService, fields: dict[str, object], param: str
) -> None:
    caller = await post(app, fields)

    assert (caller.status, caller.error["param"]) == (400, param)
    assert caller.error["type"] == "invalid_request_error"
    assert not service.analyzed


@pytest.mark.parametrize(
    ("options", "param"),
    [
        ({"frame_sampling": "random"}, "video_url.frame_sampling"),
        ({"max_frames": 0}, "video_url.max_frames"),
        ({"max_frames": 65}, "video_url.max_frames"),
    ],
    ids=str,
)
async def test_wrong_options_in_the_video_are_named(
    app: FastAPI, options: dict[str, object], param: str
) -> None:
    caller = await post(app, {}, options=options)

    assert (caller.status, caller.error["param"]) == (400, param)


async def test_a_video_is_required(app: FastAPI) -> None:
    caller = await call(app, PATH, {"prompt": "What happens?"})

    assert (caller.status, caller.error["param"]) == (400, "video_url")
    assert caller.error["message"] == "video_url is required."


@pytest.mark.parametrize("url", ["https://example.org/a.mp4", "http://127.0.0.1/", "file:///etc/passwd"])
async def test_remote_videos_are_refused(app: FastAPI, service: FakeService, url: str) -> None:
    caller = await post(app, {"video_url": {"url": url}})

    assert (caller.status, caller.error["code"]) == (400, "remote_url_not_allowed")
    assert caller.error["param"] == URL
    assert url not in str(caller.error["message"])
    assert not service.analyzed


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"frame_sampling": "random"}, "frame_sampling"),
        ({"max_frames": "0"}, "max_frames"),
        ({"max_frames": "-3"}, "max_frames"),
        ({"max_frames": "65"}, "max_frames"),
        ({"max_frames": "many"}, "max_frames"),
        ({"prompt": "a\0"}, "prompt"),
        ({"language": "klingon"}, "language"),
        ({"temperature": "warm"}, "temperature"),
        ({"stream": "perhaps"}, "stream"),
        ({"stream_options": "{"}, "stream_options"),
        ({"stream_options[include_stages]": "maybe"}, "stream_options.include_stages"),
    ],
    ids=str,
)
async def test_wrong_fields_of_forms_are_named(
    app: FastAPI, service: FakeService, fields: Fields, param: str
) -> None:
    caller = await post_form(app, fields)

    assert (caller.status, caller.error["param"]) == (400, param)
    assert not service.analyzed


@pytest.mark.parametrize("file", [None, b""], ids=["missing", "empty"])
async def test_a_form_needs_a_file(app: FastAPI, file: bytes | None) -> None:
    caller = await post_form(app, {"prompt": "What happens?"}, file)

    assert (caller.status, caller.error["param"]) == (400, "file")


async def test_only_the_generator_answers(app: FastAPI) -> None:
    for caller in (await post(app, {"model": "whisper-1"}), await post_form(app, {"model": "whisper-1"})):
        assert (caller.status, caller.error["code"]) == (404, "model_not_found")


async def test_limits_are_configured(service: FakeService) -> None:
    args = AppArgs(limits=Limits(video_bytes=1000), loader=LoaderArgs(max_frames_limit=4))
    app = create_app(lambda: service, args)

    too_large = (await post(app, {}, b"x" * 1001)), (await post_form(app, {}, b"x" * 1001))
    assert [(caller.status, caller.error["code"], caller.error["param"]) for caller in too_large] == [
        (413, "media_too_large", URL),
        (413, "media_too_large", "file"),
    ]
    assert (await post(app, {"max_frames": 5})).error["message"] == "max_frames must be at most 4."
    assert not service.analyzed
    assert (await post(app, {"max_frames": 4}, b"x" * 1000)).status == 200
    assert (await post_form(app, {"max_frames": "4"}, b"x" * 1000)).status == 200


# --- the document ------------------------------------------------------------------------------


async def test_examples_work(app: FastAPI, service: FakeService) -> None:
    service.analysis = (*SEEN, *ANSWER)
    for example in VIDEO_EXAMPLES.values():
        assert isinstance(example, dict)
        assert (await call(app, PATH, example)).status == 200
    for example in VIDEO_FORM_EXAMPLES.values():
        assert isinstance(example, dict)
        fields = {name: str(value) for name, value in example.items() if name != "file"}
        assert (await post_form(app, fields, example["file"].encode("ascii"))).status == 200
    assert {request.source.data for request in service.analyzed} == {TINY_CLIP}


@pytest.mark.parametrize("sampling", FrameSampling)
def test_the_video_of_the_examples_can_be_watched(sampling: FrameSampling) -> None:
    source = MediaSource(kind=MediaKind.VIDEO, data=TINY_CLIP, param="p", frame_sampling=sampling)
    video = decode(source, Limits(), LoaderArgs())

    assert isinstance(video, Video)
    assert (video.width, video.height, video.duration_s) == (8, 4, 1.5)
    assert video.frames[0, 0, 0].tolist() == pytest.approx([0x20, 0x40, 0x60], abs=3)


async def test_the_document_describes_both_bodies_and_both_answers(client: httpx.AsyncClient) -> None:
    document = (await client.get("/openapi.json")).json()
    operation = document["paths"][PATH]["post"]
    schemas = document["components"]["schemas"]

    content = operation["requestBody"]["content"]
    names = {kind: body["schema"]["$ref"].rpartition("/")[2] for kind, body in content.items()}
    assert names == {"application/json": VideoRequest.__name__, "multipart/form-data": "VideoUpload"}
    assert all(body["examples"] for body in content.values())
    assert schemas["VideoUpload"]["required"] == ["file"]
    assert "default scene" in schemas["VideoRequest"]["properties"]["frame_sampling"]["description"]
    assert set(operation["responses"]) == {"200", "4XX", "5XX"}
    assert set(operation["responses"]["200"]["content"]) == {"application/json", "text/event-stream"}
    assert "VideoEvent" in json.dumps(operation["responses"]["200"]["content"]["text/event-stream"])
