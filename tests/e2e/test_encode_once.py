"""A medium that was seen once costs nothing any more: the real server, real models, real media."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

import httpx
import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam
from PIL import Image, ImageDraw, ImageFont

from tests import documents, media
from tests.e2e.conftest import MODEL
from tests.e2e.parts import clip, picture, sound, user, words
from tests.e2e.scraped import encoded
from tests.e2e.test_library import upload, wait_processed

AT_ONCE = 64
BLOCK_TOKENS = 32
"""`generator.block_tokens`: prefixes are found in whole blocks."""


def poster(*lines: str, side: int = 600) -> bytes:
    pixels = Image.new("RGB", (side, side), "white")
    ImageDraw.Draw(pixels).text((20, 40), "\n".join(lines), "black", font=ImageFont.load_default(36))
    return media.encode(pixels, "png")


def stages_of(http: httpx.Client, *parts: object) -> list[dict[str, object]]:
    """What a chat went through, by the last event of its stream that says so."""
    body = {
        "model": MODEL,
        "messages": [{"role": "user", "content": [*parts, words("What is it?")]}],
        "max_tokens": 4,
        "stream": True,
        "stream_options": {"include_stages": True},
    }
    with http.stream("POST", "/v1/chat/completions", json=body) as response:
        assert response.status_code == 200, response.read()
        events = [line.removeprefix("data: ") for line in response.iter_lines() if line.startswith("data: {")]
    (found,) = [stages for event in events if (stages := json.loads(event).get("stages")) is not None]
    assert isinstance(found, list)
    return found


def encoding(stages: list[dict[str, object]]) -> list[tuple[object, bool]]:
    """Stages before generation, and whether all was known."""
    return [(one["stage"], one.get("cached", False) is True) for one in stages if one["stage"] != "generate"]


FIRST = [("load", False), ("encode", False)]
AGAIN = [("encode", True)]


MAKE: Mapping[str, Callable[[], object]] = {
    "picture": lambda: picture(poster("ENCODED", "ONCE")),
    "recording": lambda: sound(media.speech("This sentence is heard only once.")),
    "video": lambda: clip(media.numbered_clip(10)),
}


@pytest.mark.parametrize("kind", MAKE)
def test_what_was_sent_before_is_not_encoded_again(http: httpx.Client, kind: str) -> None:
    part = MAKE[kind]()
    assert encoding(stages_of(http, part)) == FIRST
    before = encoded(http)
    assert encoding(stages_of(http, part)) == AGAIN
    assert encoded(http) == before


def test_who_asks_for_the_same_at_once_has_it_encoded_once(http: httpx.Client) -> None:
    part = picture(poster("SIXTY-FOUR", "AT ONCE"))
    before = encoded(http)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        answers = list(pool.map(lambda _: stages_of(http, part), range(AT_ONCE)))
    assert len(answers) == AT_ONCE
    after = encoded(http)
    for encoder in ("ImageEncoder", "Reader", "VisionTower"):
        assert after[encoder] - before[encoder] == 1, encoder


@pytest.fixture
def files(http: httpx.Client) -> Iterator[dict[str, str]]:
    """Uploaded and processed, one of each kind."""
    contents = {
        "card.png": poster("BOARDING", "GATE 17"),
        "memo.wav": media.speech("The boat leaves at seven."),
        "demo.mp4": media.numbered_clip(8),
        "terms.docx": documents.docx(("Terms", "Payment is due within thirty days.")),
    }
    ids = {name: upload(http, name, data) for name, data in contents.items()}
    wait_processed(http, *ids.values())
    yield ids
    for file_id in ids.values():
        http.delete(f"/v1/files/{file_id}")


def test_the_first_chat_about_an_uploaded_file_encodes_nothing(
    http: httpx.Client, files: dict[str, str]
) -> None:
    before = encoded(http)
    for file_id in files.values():
        stages = stages_of(http, {"type": "file", "file": {"file_id": file_id}})
        assert encoding(stages) == AGAIN, file_id
    assert encoded(http) == before


def test_the_second_turn_about_a_picture_finds_its_prefix(client: openai.OpenAI) -> None:
    lines = [f"Line {number}: the {word} is in room {number * 7}" for number, word in enumerate(WORDS)]
    messages: list[ChatCompletionMessageParam] = [user(picture(poster(*lines, side=1000)), words("Read it."))]
    first = client.chat.completions.create(model=MODEL, messages=messages, max_tokens=8, temperature=0)
    messages += [
        {"role": "assistant", "content": first.choices[0].message.content},
        user(words("Where is the lamp?")),
    ]
    second = client.chat.completions.create(model=MODEL, messages=messages, max_tokens=8, temperature=0)
    assert first.usage is not None
    assert second.usage is not None
    assert second.usage.prompt_tokens_details is not None
    cached = second.usage.prompt_tokens_details.cached_tokens or 0
    # All whole blocks of what the first turn read.
    assert cached >= first.usage.prompt_tokens // BLOCK_TOKENS * BLOCK_TOKENS > 0


WORDS = ("table", "chair", "lamp", "plant", "printer", "camera", "ladder", "piano", "mirror", "carpet")


def test_operators_are_told_what_the_caches_do(http: httpx.Client) -> None:
    part = picture(poster("COUNTED"))
    stages_of(http, part)
    before = http.get("/v1/cache/stats").raise_for_status().json()
    stages_of(http, part)
    after = http.get("/v1/cache/stats").raise_for_status().json()
    hits = [stats["tiers"]["memory"]["hits"] for stats in (before, after)]
    assert hits[1] - hits[0] >= 3  # of the picture, of its text, of what the generator looks at
    assert after["memory"]["Gateway"]["bytes"] > 0
    assert after["modalities"]["image"]["hits"] > before["modalities"]["image"]["hits"]
    assert not after["breaker_open"]
