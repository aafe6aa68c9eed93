"""Requests as frozen messages."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multimodal.api.body import parse
from multimodal.api.catalogue import Catalogue
from multimodal.api.convert import ChatCall, ChatConverter
from multimodal.api.openapi import RED_PIXEL
from multimodal.api.schemas import ChatCompletionRequest
from multimodal.config import AppArgs, Limits
from multimodal.errors import InvalidRequest, MediaTooLarge, MultimodalError
from multimodal.library.records import Retrieval
from multimodal.types import (
    FileReference,
    FrameSampling,
    InputMessage,
    MediaKind,
    MediaSource,
    OnMediaError,
    Role,
    Sampling,
    TextPart,
)
from tests.unit.api.fakes import MODEL, NOW_S, audio_part, chat_body, image_part, text_part, video_part

ARGS = AppArgs()


def _convert(body: dict[str, object]) -> ChatCall:
    schema = parse(ChatCompletionRequest, bytearray(json.dumps(body).encode()))
    return ChatConverter(ARGS, Catalogue(ARGS), lambda: NOW_S).convert(schema)


def test_parts_keep_their_order_and_place() -> None:
    parts = [image_part(b"1"), text_part("What?"), audio_part(b"2", "mp3"), video_part(b"3")]
    messages = [{"role": "developer", "content": "Be brief."}, {"role": "user", "content": parts}]
    body = chat_body() | {"messages": messages}

    assert _convert(body).request.messages == (
        InputMessage(role=Role.SYSTEM, parts=(TextPart(text="Be brief."),)),
        InputMessage(
            role=Role.USER,
            parts=(
                MediaSource(
                    kind=MediaKind.IMAGE, data=b"1", param="messages.1.content.0", declared_type="image/png"
                ),
                TextPart(text="What?"),
                MediaSource(
                    kind=MediaKind.AUDIO, data=b"2", param="messages.1.content.2", declared_type="mp3"
                ),
                MediaSource(
                    kind=MediaKind.VIDEO, data=b"3", param="messages.1.content.3", declared_type="video/mp4"
                ),
            ),
        ),
    )


@pytest.mark.parametrize(
    ("part", "sampling", "max_frames"),
    [
        (video_part(), FrameSampling.UNIFORM, None),
        (video_part(frame_sampling="scene", max_frames=3), FrameSampling.SCENE, 3),
        (video_part() | {"frame_sampling": "keyframes", "max_frames": 5}, FrameSampling.KEYFRAMES, 5),
        (video_part(max_frames=2) | {"max_frames": 5}, FrameSampling.UNIFORM, 2),
    ],
)
def test_frame_options_stand_in_the_url_or_beside_it(
    part: dict[str, object], sampling: FrameSampling, max_frames: int | None
) -> None:
    source = _convert(chat_body(part)).request.messages[0].parts[0]

    assert isinstance(source, MediaSource)
    assert (source.frame_sampling, source.max_frames) == (sampling, max_frames)


def test_every_sampling_parameter_arrives() -> None:
    fields: dict[str, object] = {
        "max_tokens": 7,
        "min_tokens": 2,
        "temperature": 0,
        "top_p": 0.9,
        "top_k": 40,
        "min_p": 0.1,
        "presence_penalty": 0.5,
        "frequency_penalty": -0.5,
        "repetition_penalty": 1.2,
        "seed": -3,
        "stop": "END",
        "n": 2,
        "ignore_eos": True,
        "response_format": {"type": "json_object"},
    }
    assert _convert(chat_body(**fields)).request.sampling == Sampling(
        max_tokens=7,
        min_tokens=2,
        temperature=0.0,
        top_p=0.9,
        top_k=40,
        min_p=0.1,
        presence_penalty=0.5,
        frequency_penalty=-0.5,
        repetition_penalty=1.2,
        seed=-3,
        stop=("END",),
        n=2,
        ignore_eos=True,
        json_object=True,
    )


def test_what_is_not_said_is_left_to_the_model() -> None:
    call = _convert(chat_body())

    assert call.request.sampling == Sampling()
    assert call.request.on_media_error is OnMediaError.FAIL
    assert (call.stream, call.include_usage, call.include_stages) == (False, False, False)


def test_newer_name_of_max_tokens_wins() -> None:
    assert _convert(chat_body(max_tokens=7, max_completion_tokens=9)).request.sampling.max_tokens == 9


def test_schema_arrives_as_json() -> None:
    schema = {"type": "object", "properties": {"name": {"type": "string"}}}
    response_format = {"type": "json_schema", "json_schema": {"name": "x", "strict": True, "schema": schema}}
    sampling = _convert(chat_body(response_format=response_format)).request.sampling

    assert sampling.json_schema is not None
    assert json.loads(sampling.json_schema) == schema
    assert sampling.json_object is False


def test_schema_with_a_number_beyond_all_floats_is_refused() -> None:
    body = json.dumps(
        chat_body(response_format={"type": "json_schema", "json_schema": {"schema": {"maximum": 77}}})
    ).replace("77", "1e999")
    schema = parse(ChatCompletionRequest, bytearray(body.encode()))
    with pytest.raises(InvalidRequest, match="too large"):
        ChatConverter(ARGS, Catalogue(ARGS), lambda: NOW_S).convert(schema)


def test_stream_options_count_without_stream_too() -> None:
    call = _convert(chat_body(stream_options={"include_stages": True, "include_usage": True, "other": 1}))
    assert (call.stream, call.include_stages, call.include_usage) == (False, True, True)


def test_skipped_media_are_left_out_and_noted() -> None:
    broken = {"type": "image_url", "image_url": {"url": "http://example.com/x.png"}}
    call = _convert(chat_body(broken, text_part("What?"), image_part(b"1"), on_media_error="skip"))

    assert [part.param for part in call.request.messages[0].parts if isinstance(part, MediaSource)] == [
        "messages.0.content.2"
    ]
    assert [(item.param, item.code) for item in call.skipped] == [
        ("messages.0.content.0", "remote_url_not_allowed")
    ]


def test_body_is_emptied_once_it_is_parsed() -> None:
    body = bytearray(json.dumps(chat_body()).encode())
    parse(ChatCompletionRequest, body)
    assert body == b""


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
field_names = st.sampled_from(sorted(ChatCompletionRequest.model_fields))


@given(st.dictionaries(field_names, json_values, max_size=4))
def test_any_values_are_converted_or_refused_with_a_sentence(fields: dict[str, object]) -> None:
    refusal: MultimodalError | None = None
    try:
        _convert(chat_body() | {"model": MODEL} | fields)
    except MultimodalError as error:
        refusal = error
    assert refusal is None or (400 <= refusal.status < 500 and refusal.message.endswith("."))


@given(st.binary())
def test_any_bytes_are_refused_with_a_sentence(body: bytes) -> None:
    with pytest.raises(InvalidRequest):
        parse(ChatCompletionRequest, bytearray(body))


# --- files and retrieval -------------------------------------------------------------------------


def _file(**file: object) -> dict[str, object]:
    return {"type": "file", "file": file}


def _only_part(part: dict[str, object]) -> object:
    ((found,),) = [message.parts for message in _convert(chat_body(part)).request.messages]
    return found


def test_a_file_id_is_left_to_the_library() -> None:
    part = _only_part(_file(file_id="file-1") | {"frame_sampling": "scene", "max_frames": 3})
    assert part == FileReference(
        file_id="file-1",
        param="messages.0.content.0",
        frame_sampling=FrameSampling.SCENE,
        max_frames=3,
    )


@pytest.mark.parametrize("prefix", ["", "data:text/markdown;base64,"])
def test_a_document_may_come_as_a_data_url_or_as_base64(prefix: str) -> None:
    text = b"# Fees\n\nSeven dollars.\n"
    part = _only_part(_file(file_data=prefix + base64.b64encode(text).decode(), filename="fees.md"))
    assert isinstance(part, MediaSource)
    assert (part.kind, part.data, part.filename) == (MediaKind.DOCUMENT, text, "fees.md")
    assert part.param == "messages.0.content.0"


def test_a_picture_may_come_as_a_file() -> None:
    _, _, png = RED_PIXEL.partition(",")
    part = _only_part(_file(file_data=png))
    assert isinstance(part, MediaSource)
    assert part.kind is MediaKind.IMAGE


@pytest.mark.parametrize(
    ("file", "code", "param"),
    [
        ({}, "invalid_request", "file"),
        (
            {"file_data": "AAECAw=="},
            "unsupported_media",
            "file.file_data",
        ),
        ({"file_data": "https://example.com/a.pdf"}, "remote_url_not_allowed", "file.file_data"),
        ({"file_data": "not base64!"}, "invalid_media", "file.file_data"),
    ],
)
def test_a_file_that_is_none_is_named(file: dict[str, object], code: str, param: str) -> None:
    with pytest.raises(InvalidRequest) as error:
        _convert(chat_body(_file(**file)))
    assert (error.value.code, error.value.param) == (code, f"messages.0.content.0.{param}")


def test_a_document_over_the_limit_is_refused_before_it_is_looked_at() -> None:
    args = AppArgs(limits=Limits(document_bytes=10))
    body = chat_body(_file(file_data=base64.b64encode(b"eleven bytes").decode(), filename="a.txt"))
    schema = parse(ChatCompletionRequest, bytearray(json.dumps(body).encode()))
    with pytest.raises(MediaTooLarge):
        ChatConverter(args, Catalogue(args), lambda: NOW_S).convert(schema)


def test_retrieval_is_off_unless_it_is_asked_for() -> None:
    assert _convert(chat_body()).retrieval is None
    assert _convert(chat_body(retrieval={"enabled": False, "top_k": 3})).retrieval is None
    assert _convert(chat_body(retrieval={})).retrieval == Retrieval()


def test_what_is_said_of_retrieval_arrives() -> None:
    options = {
        "top_k": 3,
        "score_threshold": 0.5,
        "file_ids": ["file-1", "file-2", "file-1"],
        "filters": {"kind": "video", "file_ids": ["file-2", "file-3"], "date": "last_7_days"},
    }
    found = _convert(chat_body(retrieval=options)).retrieval
    assert found is not None
    assert (found.top_k, found.min_similarity) == (3, 0.5)
    assert found.filter.file_ids == ("file-2",)
    assert found.filter.kinds == (MediaKind.VIDEO,)
    assert found.filter.created_s is not None
    assert found.filter.created_s.gte == NOW_S - 7 * 86400


@pytest.mark.parametrize(
    ("options", "param"),
    [
        ({"top_k": 101}, "retrieval.top_k"),
        ({"top_k": 0}, "retrieval.top_k"),
        ({"filters": {"fiel_id": "x"}}, "retrieval.filters"),
        ({"file_ids": []}, "retrieval.file_ids"),
        ({"score_threshold": 2}, "retrieval.score_threshold"),
    ],
)
def test_retrieval_that_cannot_be_is_named(options: dict[str, object], param: str) -> None:
    with pytest.raises(InvalidRequest) as error:
        _convert(chat_body(retrieval=options))
    assert error.value.param == param
