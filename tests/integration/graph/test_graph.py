"""The graph's composition in local testing mode: every deployment with a fake in the place of its model."""

from __future__ import annotations

import base64
from collections.abc import Iterator

import httpx
import pytest

from deployments.app import build
from multimodal.config import AppArgs
from tests.integration.graph.backends import FAKES
from tests.integration.graph.local import answer, question, running


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.AsyncClient]:
    with running(build(AppArgs(), FAKES), "fakes") as client:
        yield client


def picture(data: bytes) -> dict[str, object]:
    encoded = base64.b64encode(data).decode()
    return {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{encoded}"}}


def sound(data: bytes) -> dict[str, object]:
    return {"type": "input_audio", "input_audio": {"data": base64.b64encode(data).decode(), "format": "wav"}}


def clip(data: bytes) -> dict[str, object]:
    encoded = base64.b64encode(data).decode()
    return {"type": "video_url", "video_url": {"url": f"data:video/mp4;base64,{encoded}"}}


def words(text: str) -> dict[str, object]:
    return {"type": "text", "text": text}


async def chat(client: httpx.AsyncClient, *parts: dict[str, object], **options: object) -> httpx.Response:
    return await client.post("/v1/chat/completions", json=question(*parts, **options))


async def test_words_reach_the_generator_and_its_answer_comes_back(client: httpx.AsyncClient) -> None:
    assert "hello there" in answer(await chat(client, words("hello there")))


async def test_every_kind_of_media_reaches_the_generator_through_its_encoder(
    client: httpx.AsyncClient,
) -> None:
    said = answer(await chat(client, picture(b"one"), sound(b"two"), clip(b"three"), words("what is it?")))
    for expected in (
        "with the colours",
        "The recording is silent",
        "Nobody speaks in the video",
        "what is it?",
    ):
        assert expected in said


async def test_a_broken_part_is_named(client: httpx.AsyncClient) -> None:
    response = await chat(client, picture(b"fine"), picture(b"bad"), words("?"))
    assert response.status_code == 400
    error = response.json()["error"]
    assert (error["code"], error["param"]) == ("invalid_media", "messages.0.content.1")


async def test_a_broken_part_can_be_skipped(client: httpx.AsyncClient) -> None:
    response = await chat(client, picture(b"bad"), words("still here"), on_media_error="skip")
    assert "still here" in answer(response)
    assert response.json()["media_notes"][0]["note"] == "skipped"


async def test_an_engine_that_dies_in_the_middle_ends_the_stream_with_an_error_event(
    client: httpx.AsyncClient,
) -> None:
    response = await chat(client, words("one crash two"), stream=True)
    assert response.status_code == 200
    *_, last = [line for line in response.text.splitlines() if line]
    assert '"stage_unavailable"' in last
    assert "[DONE]" not in response.text


async def test_texts_are_embedded_in_order(client: httpx.AsyncClient) -> None:
    inputs = ["a dog", "a cat", "a dog"]
    response = await client.post("/v1/embeddings", json={"model": "text", "input": inputs})
    rows = [row["embedding"] for row in response.json()["data"]]
    assert rows[0] == pytest.approx(rows[2])
    assert rows[0] != pytest.approx(rows[1])


async def test_a_text_that_is_too_long_is_named(client: httpx.AsyncClient) -> None:
    inputs = ["short", "word " * 300]
    response = await client.post("/v1/embeddings", json={"model": "text", "input": inputs})
    assert response.status_code == 400
    assert response.json()["error"]["param"] == "input.1"


async def test_it_is_ready_when_every_deployment_is(client: httpx.AsyncClient) -> None:
    response = await client.get("/readyz")
    assert response.status_code == 200
    assert set(response.json()["stages"]) >= {"MediaLoader", "Reader", "VideoEncoder", "Generator"}
