"""Embeddings of texts."""

from __future__ import annotations

import base64

import httpx
import numpy as np
import pytest

from multimodal.config import AppArgs, Limits
from tests.unit.api.fakes import DIMENSIONS, FakeService, vectors

URL = "/v1/embeddings"
MODEL = "all-minilm-l6-v2"


@pytest.fixture
def args() -> AppArgs:
    return AppArgs(limits=Limits(embedding_inputs=4))


async def test_texts_are_embedded_in_order(client: httpx.AsyncClient, service: FakeService) -> None:
    response = await client.post(URL, json={"model": MODEL, "input": ["a", "b", "c"]})

    assert response.status_code == 200
    assert service.texts == ["a", "b", "c"]
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
        ({"input": [{"type": "text", "text": "a"}]}, "input"),
        ({"input": {"a": 1}}, "input"),
        ({"input": ["a\0"]}, "input.0"),
        ({"input": ["a"] * 5}, "input"),
        ({"encoding_format": "hex"}, "encoding_format"),
        ({"dimensions": 0}, "dimensions"),
        ({"dimensions": 7}, "dimensions"),
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
