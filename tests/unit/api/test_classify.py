"""Classification of pictures and videos by labels."""

from __future__ import annotations

import json

import httpx
import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from multimodal.api.body import parse
from multimodal.api.classify_schemas import MOST_LABELS, ClassifyBody
from multimodal.config import AppArgs, Limits
from multimodal.errors import MultimodalError
from multimodal.types import ClassifyRequest, FrameSampling, MediaKind, MediaSource
from tests.unit.api.fakes import CLASSIFIED, MODEL, FakeService, audio_part, image_part, text_part, video_part

URL = "/v1/classify"
TEXT_MODEL, IMAGE_MODEL = "all-minilm-l6-v2", "image-tower"


@pytest.fixture
def args() -> AppArgs:
    return AppArgs(limits=Limits(image_bytes=1000))


def body(**fields: object) -> dict[str, object]:
    return {"input": image_part(b"1"), "labels": ["a cat", "a dog"], **fields}


async def test_the_labels_come_with_their_scores(client: httpx.AsyncClient, service: FakeService) -> None:
    response = await client.post(URL, json=body())

    assert response.status_code == 200
    assert response.json() == {
        "object": "classification",
        "model": IMAGE_MODEL,
        "results": [
            {"label": one.label, "score": one.score, "similarity": one.similarity}
            for one in CLASSIFIED.results
        ],
        "usage": {"prompt_tokens": 8, "total_tokens": 8},
    }
    picture = MediaSource(kind=MediaKind.IMAGE, data=b"1", param="input", declared_type="image/png")
    assert service.classified == [ClassifyRequest(source=picture, labels=("a cat", "a dog"))]
    assert service.contexts[0].tenant == "local"


async def test_a_video_keeps_its_options_and_labels_their_template(
    client: httpx.AsyncClient, service: FakeService
) -> None:
    clip = video_part(b"2", frame_sampling="scene", max_frames=5)
    fields = body(input=clip, template="a photo of {}", model="text")
    assert (await client.post(URL, json=fields)).status_code == 200

    (request,) = service.classified
    assert request.template == "a photo of {}"
    assert (request.source.frame_sampling, request.source.max_frames) == (FrameSampling.SCENE, 5)


@pytest.mark.parametrize(
    ("args", "name"),
    [
        (AppArgs.model_validate({"image": {"model": "embedded:tower"}}), "tower"),
        (AppArgs.model_validate({"image": {"model": "embedded:tower", "space": "own"}}), TEXT_MODEL),
        (AppArgs.model_validate({"image": {"model": None}, "vision": None}), TEXT_MODEL),
    ],
)
async def test_the_image_tower_is_named_where_it_is_of_the_space(
    client: httpx.AsyncClient, name: str
) -> None:
    assert (await client.post(URL, json=body())).json()["model"] == name
    assert (await client.post(URL, json=body(model="image"))).json()["model"] == name
    assert (await client.post(URL, json=body(model="text"))).json()["model"] == TEXT_MODEL


async def test_left_out_and_null_are_the_same(client: httpx.AsyncClient, service: FakeService) -> None:
    await client.post(URL, json=body(template=None, model=None))
    await client.post(URL, json=body())
    assert service.classified[0] == service.classified[1]


BAD: list[tuple[dict[str, object], str, str]] = [
    ({"input": None}, "unknown_part_type", "input"),
    ({"input": "a cat"}, "unknown_part_type", "input"),
    ({"input": [image_part()]}, "unknown_part_type", "input"),
    ({"input": text_part()}, "unknown_part_type", "input"),
    ({"input": audio_part()}, "unknown_part_type", "input"),
    ({"input": {"type": ["image_url"]}}, "unknown_part_type", "input"),
    ({"input": {"type": "image_url"}}, "invalid_request", "input.image_url"),
    ({"input": {"type": "image_url", "image_url": {"url": "a"}}}, "invalid_media", "input.image_url.url"),
    ({"input": image_part(b"")}, "invalid_media", "input.image_url.url"),
    ({"input": video_part(max_frames=65)}, "invalid_request", "input.video_url.max_frames"),
    ({"labels": None}, "invalid_request", "labels"),
    ({"labels": "a cat"}, "invalid_request", "labels"),
    ({"labels": []}, "invalid_request", "labels"),
    ({"labels": ["a cat"]}, "invalid_request", "labels"),
    ({"labels": ["a cat", "a dog", "a cat"]}, "invalid_request", "labels"),
    ({"labels": [str(number) for number in range(MOST_LABELS + 1)]}, "invalid_request", "labels"),
    ({"labels": ["a cat", ""]}, "invalid_request", "labels.1"),
    ({"labels": ["a cat", 5]}, "invalid_request", "labels.1"),
    ({"labels": ["a cat", "a\0dog"]}, "invalid_request", "labels.1"),
    ({"template": ""}, "invalid_request", "template"),
    ({"template": "a photo"}, "invalid_request", "template"),
    ({"template": "{} and {}"}, "invalid_request", "template"),
    ({"template": "{0}"}, "invalid_request", "template"),
    ({"template": "\0{}"}, "invalid_request", "template"),
    ({"template": 5}, "invalid_request", "template"),
    ({"model": ""}, "invalid_request", "model"),
]


@pytest.mark.parametrize(("fields", "code", "param"), BAD, ids=[str(row[0])[:60] for row in BAD])
async def test_bad_field_is_named(
    client: httpx.AsyncClient, service: FakeService, fields: dict[str, object], code: str, param: str
) -> None:
    response = await client.post(URL, json=body(**fields))

    error = response.json()["error"]
    assert (response.status_code, error["code"], error["param"]) == (400, code, param)
    assert error["message"].endswith(".")
    assert not service.classified


@pytest.mark.parametrize("field", ["input", "labels"])
async def test_missing_field(client: httpx.AsyncClient, field: str) -> None:
    fields = body()
    del fields[field]
    response = await client.post(URL, json=fields)

    assert response.status_code == 400
    assert response.json()["error"]["message"] == f"{field} is required."


async def test_a_picture_over_the_limit(client: httpx.AsyncClient) -> None:
    response = await client.post(URL, json=body(input=image_part(b"x" * 1001)))

    error = response.json()["error"]
    assert (response.status_code, error["code"]) == (413, "media_too_large")
    assert error["param"] == "input.image_url.url"


@pytest.mark.parametrize("model", [MODEL, "none"])
async def test_a_model_that_does_not_classify(client: httpx.AsyncClient, model: str) -> None:
    response = await client.post(URL, json=body(model=model))

    assert response.status_code == 404
    assert response.json()["error"]["code"] == "model_not_found"
    assert TEXT_MODEL in response.json()["error"]["message"]


async def test_as_many_labels_as_are_allowed(client: httpx.AsyncClient, service: FakeService) -> None:
    labels = [str(number) for number in range(MOST_LABELS)]
    assert (await client.post(URL, json=body(labels=labels))).status_code == 200
    assert service.classified[0].labels == tuple(labels)


# --- the document ------------------------------------------------------------------------------------

SCHEMA = jsonschema_rs.Draft202012Validator(ClassifyBody.model_json_schema())


def _is_taken(document: dict[str, object]) -> bool:
    try:
        parse(ClassifyBody, bytearray(json.dumps(document).encode()))
    except MultimodalError:
        return False
    return True


@given(st.text("{}a\n\0"))
def test_the_document_tells_which_templates_are_taken(template: str) -> None:
    fields = body(template=template)
    assert SCHEMA.is_valid(fields) == _is_taken(fields)
    assert _is_taken(fields) == (template.count("{}") == 1 and "\0" not in template)


@pytest.mark.parametrize("fields", [row[0] for row in BAD if row[1] != "invalid_media"], ids=str)
def test_what_is_refused_does_not_match_the_schema(fields: dict[str, object]) -> None:
    refused_by_limit = "max_frames" in str(fields)
    assert SCHEMA.is_valid(body(**fields)) == refused_by_limit
