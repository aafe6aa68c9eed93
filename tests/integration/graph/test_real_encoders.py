"""The graph in local testing mode with real decoders and encoders; the generator repeats what it is told."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import httpx
import pytest

from deployments.app import build
from deployments.backends import Backends
from multimodal.config import AppArgs
from tests import media
from tests.integration.graph.backends import FAKES
from tests.integration.graph.local import answer, question, running
from tests.integration.graph.test_graph import clip, picture, sound, words


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.AsyncClient]:
    with running(build(AppArgs(), replace(Backends(), generator=FAKES.generator)), "encoders") as client:
        yield client


async def told(client: httpx.AsyncClient, *parts: dict[str, object], **options: object) -> str:
    """What the generator is told about a message."""
    body = question(*parts, **options)
    return answer(await client.post("/v1/chat/completions", json=body))


async def test_printed_words_in_a_picture_are_read(client: httpx.AsyncClient) -> None:
    notes = await told(client, picture(media.picture_with_text("TOTAL 42 EUR")), words("?"))
    assert "TOTAL 42 EUR" in notes


async def test_a_picture_of_3840_x_2160_is_read_and_told_with_its_own_size(
    client: httpx.AsyncClient,
) -> None:
    large = media.encode(media.draw_text("TOTAL 42 EUR", size=(3840, 2160)), "jpeg")
    notes = await told(client, picture(large), words("?"))
    assert "TOTAL 42 EUR" in notes
    assert "3840 x 2160" in notes


async def test_spoken_words_are_heard(client: httpx.AsyncClient) -> None:
    notes = await told(
        client, sound(media.speech("Hello, my name is Anna and I live in Berlin.")), words("?")
    )
    assert "my name is Anna and I live in Berlin" in notes


async def test_sight_and_sound_of_a_video_line_up(client: httpx.AsyncClient) -> None:
    captions = [("red", "CHAPTER ONE"), ("green", "CHAPTER TWO"), ("blue", "THE END")]
    notes = await told(client, clip(media.captioned_clip(captions=captions)), words("?"))
    assert notes.index("CHAPTER ONE") < notes.index("CHAPTER TWO") < notes.index("THE END")
    for colour in ("red", "green", "blue"):
        assert colour in notes


async def test_a_picture_without_text_is_described_by_what_was_measured(client: httpx.AsyncClient) -> None:
    notes = await told(client, picture(media.plain("blue", size=(120, 80))), words("?"))
    assert "blue" in notes
    assert "120 x 80" in notes


async def test_a_conversation_keeps_its_media_apart(client: httpx.AsyncClient) -> None:
    body = {
        "model": "smollm2-135m-instruct",
        "messages": [
            {"role": "user", "content": [picture(media.picture_with_text("ALPHA")), words("first")]},
            {"role": "assistant", "content": "ok"},
            {"role": "user", "content": [picture(media.picture_with_text("OMEGA")), words("second")]},
        ],
    }
    notes = answer(await client.post("/v1/chat/completions", json=body))
    assert notes.index("ALPHA") < notes.index("first") < notes.index("OMEGA") < notes.index("second")
