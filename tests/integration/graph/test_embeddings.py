"""Vectors and classes of texts and media through the graph, in local testing mode."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import replace

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from deployments.app import build
from multimodal.config import AppArgs
from multimodal.errors import InvalidRequest
from tests.encoder_fakes import LOGIT_SCALE, FakeImageEncoder, FakeTextEncoder, vector_of
from tests.integration.graph.backends import FAKES
from tests.integration.graph.local import running
from tests.unit.api.fakes import audio_part, image_part, text_part, video_part

SEEN = vector_of("black")
"""Every picture and every frame of the fakes is black."""
TOWERLESS = replace(FAKES, image=lambda args: FakeImageEncoder(has_tower=False))


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.AsyncClient]:
    with running(build(AppArgs(), FAKES), "vectors") as client:
        yield client


def changed(name: str, **args: object) -> AbstractContextManager[httpx.AsyncClient]:
    return running(build(AppArgs.model_validate(args), FAKES), name)


async def embed(client: httpx.AsyncClient, *inputs: object) -> httpx.Response:
    return await client.post("/v1/embeddings", json={"model": "text", "input": list(inputs)})


async def classify(client: httpx.AsyncClient, part: object, *labels: str) -> httpx.Response:
    return await client.post("/v1/classify", json={"input": part, "labels": list(labels)})


def rows(response: httpx.Response) -> NDArray[np.float64]:
    response.raise_for_status()
    return np.asarray([item["embedding"] for item in response.json()["data"]])


async def test_texts_pictures_videos_and_recordings_share_one_space(client: httpx.AsyncClient) -> None:
    heard = text_part("3.0 seconds of sound")
    response = await embed(client, "white", image_part(), heard, video_part(), audio_part(b"hum for 3 s"))

    spoken = vector_of("3.0 seconds of sound")
    expected = np.stack([vector_of("white"), SEEN, spoken, SEEN, spoken])
    assert rows(response) == pytest.approx(expected, abs=1e-5)
    assert response.json()["usage"] == {"prompt_tokens": 3 + 6 + 6, "total_tokens": 3 + 6 + 6}


async def test_a_picture_is_classified_by_its_labels(client: httpx.AsyncClient) -> None:
    for part in (image_part(), video_part(max_frames=2)):
        response = await classify(client, part, "white", "black", "a black one")
        response.raise_for_status()
        results = response.json()["results"]
        assert [one["label"] for one in results] == ["black", "a black one", "white"]
        assert sum(one["score"] for one in results) == pytest.approx(1)
        powers = [np.exp(LOGIT_SCALE * float(vector_of(one["label"]) @ SEEN)) for one in results]
        assert [one["score"] for one in results] == pytest.approx(list(powers / np.sum(powers)), rel=1e-4)


@pytest.mark.parametrize(
    ("inputs", "code", "param"),
    [
        ((image_part(), image_part(b"bad")), "invalid_media", "input.1"),
        ((image_part(), "word " * 300), "invalid_request", "input.1"),
        ((image_part(), "x" * 10, text_part("word " * 300)), "invalid_request", "input.2"),
        (("a", audio_part(b"silence")), "invalid_request", "input.1"),
    ],
    ids=["damaged", "too long", "a part that is too long", "silent"],
)
async def test_what_cannot_be_embedded_is_named(
    client: httpx.AsyncClient, inputs: tuple[object, ...], code: str, param: str
) -> None:
    response = await embed(client, *inputs)
    assert response.status_code == 400
    error = response.json()["error"]
    assert (error["code"], error["param"]) == (code, param)


class _Uncounted(FakeTextEncoder):
    """Refuses what is far too long without counting it, as OpenClipTextEncoder does."""

    def count_tokens(self, text: str) -> int:
        if len(text) > 100:
            raise InvalidRequest("A text is far too long. Split it.")
        return super().count_tokens(text)


async def test_a_text_that_is_not_even_counted_is_named() -> None:
    backends = replace(FAKES, text=lambda args: _Uncounted())
    with running(build(AppArgs(), backends), "uncounted") as client:
        response = await embed(client, image_part(), "short", "x" * 101)
        assert response.status_code == 400
        assert response.json()["error"]["param"] == "input.2"


async def test_a_label_that_is_too_long_is_named(client: httpx.AsyncClient) -> None:
    response = await classify(client, image_part(), "black", "word " * 300)
    assert response.status_code == 400
    assert response.json()["error"]["param"] == "labels.1"


async def test_long_recordings_are_embedded_in_pieces_of_whole_segments() -> None:
    with changed("short", text={"max_tokens": 10}) as client:
        response = await embed(client, audio_part(b"hum for 70 s"))
        piece, rest = "30.0 seconds of sound", "30.0 seconds of sound 10.0 seconds of sound"
        mean = 6 * vector_of(piece) + 10 * vector_of(rest)
        assert rows(response)[0] == pytest.approx(mean / np.linalg.norm(mean), abs=1e-5)
        assert response.json()["usage"]["prompt_tokens"] == 6 + 10


async def test_without_a_tower_pictures_have_no_vectors() -> None:
    with running(build(AppArgs(), TOWERLESS), "towerless") as client:
        for response, param in (
            (await embed(client, "a", image_part()), "input.1"),
            (await embed(client, "a", video_part()), "input.1"),
            (await classify(client, image_part(), "black", "white"), "input"),
        ):
            assert response.status_code == 400
            assert response.json()["error"]["param"] == param
            assert "image.model" in response.json()["error"]["message"]
        assert (await embed(client, "a", audio_part(b"hum for 3 s"))).status_code == 200


async def test_a_tower_with_a_space_of_its_own_is_not_compared_with_texts() -> None:
    with changed("apart", image={"space": "own"}) as client:
        for response, param in (
            (await embed(client, "a", image_part()), "input.1"),
            (await classify(client, video_part(), "black", "white"), "input"),
        ):
            assert response.status_code == 400
            assert response.json()["error"]["param"] == param
            assert "image.space" in response.json()["error"]["message"]
