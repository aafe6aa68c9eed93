"""Embeddings of texts and media."""

from __future__ import annotations

import base64

import httpx
import numpy as np
import pytest

from multimodal.config import AppArgs, Limits
from multimodal.types import MediaKind, MediaSource
from tests.unit.api.fakes import (
    DIMENSIONS,
    FakeService,
    audio_part,
    image_part,
    text_part,
    vectors,
    video_part,
)

URL = "/v1/embeddings"
MODEL, IMAGE_MODEL = "all-minilm-l6-v2", "image-tower"


@pytest.fixture
def args() -> AppArgs:
    return AppArgs(limits=Limits(embedding_inputs=4, media_parts=3, image_bytes=1000))


async def test_texts_are_embedded_in_order(client: httpx.AsyncClient, service: FakeService) -> None:
    response = await client.post(URL, json={"model": MODEL, "input": ["a", "b", "c"]})

    assert response.status_code == 200
    assert service.inputs == ["a", "b", "c"]
    assert response.json() == {
        "object": "list",
        "data": [
            {"object": "embedding", "index": index, "embedding": row.tolist()}
            for index, row in enumerate(vectors(3))
        ],
        "model": MODEL,
        "usage": {"prompt_tokens": 6, "total_tokens": 6},
    }


async def test_conventional_name_and_single_text(client: httpx.AsyncClient, service: FakeService) -> None:
    response = await client.post(URL, json={"model": "text", "input": "a", "dimensions": DIMENSIONS})

    assert response.json()["model"] == MODEL
    assert len(response.json()["data"]) == 1
    assert service.contexts[0].tenant == "local"


async def test_base64_holds_little_endian_floats(client: httpx.AsyncClient) -> None:
    response = await client.post(
        URL, json={"model": "text", "input": ["a", "b"], "encoding_format": "base64"}
    )

    rows = [
        np.frombuffer(base64.b64decode(item["embedding"]), dtype="<f4") for item in response.json()["data"]
    ]
    np.testing.assert_array_equal(np.stack(rows), vectors(2))


async def test_texts_and_parts_keep_their_order_and_place(
    client: httpx.AsyncClient, service: FakeService
) -> None:
    inputs = ["a", video_part(b"1", max_frames=3), text_part("b"), audio_part(b"2")]
    response = await client.post(URL, json={"model": "image", "input": inputs, "space": "unified"})

    assert response.status_code == 200
    assert response.json()["model"] == IMAGE_MODEL
    assert [item["embedding"] for item in response.json()["data"]] == vectors(4).tolist()
    assert service.inputs == [
        "a",
        MediaSource(
            kind=MediaKind.VIDEO, data=b"1", param="input.1", declared_type="video/mp4", max_frames=3
        ),
        "b",
        MediaSource(kind=MediaKind.AUDIO, data=b"2", param="input.3", declared_type="wav"),
    ]


async def test_a_list_may_begin_with_a_part(client: httpx.AsyncClient, service: FakeService) -> None:
    response = await client.post(URL, json={"model": "text", "input": [image_part(b"1"), "a"]})

    assert response.status_code == 200
    assert service.inputs == [
        MediaSource(kind=MediaKind.IMAGE, data=b"1", param="input.0", declared_type="image/png"),
        "a",
    ]


async def test_stages_of_media_are_counted(client: httpx.AsyncClient) -> None:
    await client.post(URL, json={"model": "text", "input": [image_part(), image_part()]})

    metrics = (await client.get("/metrics")).text
    series = [line for line in metrics.splitlines() if line.startswith("multimodal_stage_seconds_count")]
    assert len(series) == 1
    assert 'stage="encode"' in series[0]
    assert series[0].endswith(" 2.0")


@pytest.mark.parametrize(
    ("part", "status", "code", "place"),
    [
        ({"type": "image_url", "image_url": {"url": "a.png"}}, 400, "invalid_media", ".image_url.url"),
        (
            {"type": "image_url", "image_url": {"url": "https://a/b"}},
            400,
            "remote_url_not_allowed",
            ".image_url.url",
        ),
        (audio_part(b""), 400, "invalid_media", ".input_audio.data"),
        (image_part(b"x" * 1001), 413, "media_too_large", ".image_url.url"),
        ({"type": "image_embeds"}, 400, "unknown_part_type", ""),
        ({"text": "no type"}, 400, "unknown_part_type", ""),
    ],
)
async def test_bad_part_is_named(
    client: httpx.AsyncClient, part: dict[str, object], status: int, code: str, place: str
) -> None:
    response = await client.post(URL, json={"model": "text", "input": ["a", part]})

    error = response.json()["error"]
    assert (response.status_code, error["code"], error["param"]) == (status, code, f"input.1{place}")


async def test_too_many_media_parts(client: httpx.AsyncClient) -> None:
    response = await client.post(URL, json={"model": "text", "input": [image_part()] * 4})

    error = response.json()["error"]
    assert (response.status_code, error["code"], error["param"]) == (413, "media_too_large", "input")
    assert "3 media parts, this one has 4" in error["message"]


async def test_texts_are_no_media(client: httpx.AsyncClient) -> None:
    response = await client.post(URL, json={"model": "text", "input": [text_part()] * 4})
    assert response.status_code == 200


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"input": None}, "input"),
        ({"input": ""}, "input"),
        ({"input": []}, "input"),
        ({"input": ["a", ""]}, "input.1"),
        ({"input": ["a", None]}, "input.1"),
        ({"input": [1, 2, 3]}, "input"),
        ({"input": [[1, 2], [3]]}, "input"),
        ({"input": {"a": 1}}, "input"),
        ({"input": image_part()}, "input"),
        ({"input": ["a", 5]}, "input.1"),
        ({"input": ["a", [1]]}, "input.1"),
        ({"input": [text_part("")]}, "input.0.text"),
        ({"input": ["a", text_part("a\0")]}, "input.1.text"),
        ({"input": ["a", {"type": "image_url"}]}, "input.1.image_url"),
        ({"input": ["a", {"type": "image_url", "image_url": {}}]}, "input.1.image_url.url"),
        ({"input": [video_part(max_frames=65)]}, "input.0.video_url.max_frames"),
        ({"input": [video_part(frame_sampling="all")]}, "input.0.video_url.frame_sampling"),
        ({"input": ["a\0"]}, "input.0"),
        ({"input": ["a"] * 5}, "input"),
        ({"encoding_format": "hex"}, "encoding_format"),
        ({"dimensions": 0}, "dimensions"),
        ({"dimensions": 7}, "dimensions"),
        ({"space": "clip"}, "space"),
        ({"space": 5}, "space"),
    ],
)
async def test_bad_field_is_named(client: httpx.AsyncClient, fields: dict[str, object], param: str) -> None:
    response = await client.post(URL, json={"model": MODEL, "input": "a"} | fields)

    assert response.status_code == 400
    error = response.json()["error"]
    assert (error["code"], error["param"]) == ("invalid_request", param)


async def test_missing_input(client: httpx.AsyncClient) -> None:
    response = await client.post(URL, json={"model": MODEL})

    assert response.status_code == 400
    assert response.json()["error"]["message"] == "input is required."


async def test_a_generator_embeds_nothing(client: httpx.AsyncClient) -> None:
    response = await client.post(URL, json={"model": "smollm2-135m-instruct", "input": "a"})

    assert response.status_code == 404
    assert response.json()["error"]["code"] == "model_not_found"
    assert MODEL in response.json()["error"]["message"]
