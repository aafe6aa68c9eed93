"""What is in a picture: answers, search and classification, in a style that the image tower never saw."""

from __future__ import annotations

import io
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import openai
import pytest
from numpy.typing import NDArray
from openai.types.chat import ChatCompletionContentPartParam
from PIL import Image, ImageDraw

from tests import media
from tests.e2e.conftest import MODEL
from tests.e2e.parts import clip, picture, user, words
from tests.unseen import Drawing, drawing, drawings

AT_ONCE = 16
WHAT = "What is in this picture?"
UNKNOWN = "not recognised"

Part = ChatCompletionContentPartParam


def shown(pixels: Image.Image) -> Part:
    return picture(media.encode(pixels, "png"))


def ask(client: openai.OpenAI, *parts: Part, max_tokens: int = 40) -> str:
    completion = client.chat.completions.create(
        model=MODEL, messages=[user(*parts)], max_tokens=max_tokens, temperature=0
    )
    return completion.choices[0].message.content or ""


def names(answer: str, one: Drawing) -> bool:
    return any(name.casefold() in answer.casefold() for name in one.names)


def vectors(http: httpx.Client, inputs: Sequence[object]) -> NDArray[np.float64]:
    """(n, 384), in parts that one request may have."""
    rows: list[list[float]] = []
    for start in range(0, len(inputs), 32):
        body = {"model": "text", "input": inputs[start : start + 32]}
        answer = http.post("/v1/embeddings", json=body).raise_for_status().json()
        rows += [one["embedding"] for one in answer["data"]]
    return np.array(rows)


# --- answers -----------------------------------------------------------------------------------


def test_things_in_a_style_it_never_saw_are_named(client: openai.OpenAI) -> None:
    unseen = drawings()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        answers = list(pool.map(lambda one: ask(client, shown(one.picture), words(WHAT)), unseen))
    right = [names(answer, one) for answer, one in zip(answers, unseen, strict=True)]
    assert len(right) == 200
    assert np.mean(right) >= 0.45


def test_two_pictures_in_one_message_are_told_apart(client: openai.OpenAI) -> None:
    both = [shown(drawing("sunflower")), shown(drawing("helicopter"))]
    assert "helicopter" in ask(client, *both, words("What is in the second picture?"))
    assert "sunflower" in ask(client, *reversed(both), words("What is in the second picture?"))


def test_what_is_drawn_and_what_is_written_are_both_in_the_answer(client: openai.OpenAI) -> None:
    poster = Image.new("RGB", (640, 400), "white")
    poster.paste(drawing("helicopter").resize((288, 288)), (176, 10))
    poster.paste(media.draw_text("FLIGHT 42", size=(400, 80)), (120, 310))
    answer = ask(client, shown(poster), words("What does the picture show, and what does the text say?"))
    assert "helicopter" in answer
    assert "FLIGHT 42" in answer


@pytest.mark.parametrize(("second", "name"), [(1, "sunflower"), (3, "helicopter"), (5, "crab")])
def test_the_scene_at_a_second_of_a_clip_is_named(client: openai.OpenAI, second: int, name: str) -> None:
    scenes = [drawing(one).resize((256, 256)) for one in ("sunflower", "helicopter", "crab")]
    asked = words(f"What does the video show at {second} seconds?")
    assert name in ask(client, clip(media.slide_show(scenes)), asked, max_tokens=100)


def test_a_drawing_of_a_shape_is_named_with_its_colour(client: openai.OpenAI) -> None:
    paper = Image.new("RGB", (320, 320), "white")
    ImageDraw.Draw(paper).polygon([(160, 40), (290, 270), (30, 270)], fill="green")
    answer = ask(client, shown(paper), words(WHAT))
    assert "green" in answer
    assert "triangle" in answer


def test_what_it_does_not_know_it_does_not_invent(client: openai.OpenAI) -> None:
    noise = np.random.default_rng(3).integers(0, 256, (200, 200, 3), np.uint8)
    assert UNKNOWN in ask(client, shown(Image.fromarray(noise)), words(WHAT))


# --- search and classification -----------------------------------------------------------------


def test_a_picture_is_nearer_to_its_description_than_to_others(http: httpx.Client) -> None:
    unseen = drawings()
    seen = vectors(http, [shown(one.picture) for one in unseen])
    described = vectors(http, [f"a picture of {one.names[0]}" for one in unseen])
    similar = seen @ described.T
    rng = np.random.default_rng(7)
    wins = []
    for number in range(len(unseen)):
        others = rng.choice(np.delete(np.arange(len(unseen)), number), 20, replace=False)
        wins.append(similar[number, number] > similar[number, others].max())
    assert np.mean(wins) >= 0.9


def test_a_clip_is_near_what_it_shows(http: httpx.Client) -> None:
    scenes = [drawing("sunflower").resize((256, 256))]
    seen, flower, machine = vectors(http, [clip(media.slide_show(scenes)), "a sunflower", "a helicopter"])
    assert seen @ flower > seen @ machine


def test_a_picture_is_classified_among_labels(http: httpx.Client) -> None:
    labels = ["sunflower", "helicopter", "watch", "carrot"]
    body = {"input": shown(drawing("watch")), "labels": labels, "template": "a picture of a {}"}
    answer = http.post("/v1/classify", json=body).raise_for_status().json()
    assert answer["results"][0]["label"] == "watch"
    assert {one["label"] for one in answer["results"]} == set(labels)
    assert sum(one["score"] for one in answer["results"]) == pytest.approx(1)


def test_a_jpeg_photograph_sized_drawing_is_the_same_thing(http: httpx.Client) -> None:
    large = drawing("carrot").resize((1600, 1600), Image.Resampling.BICUBIC)
    file = io.BytesIO()
    large.save(file, "jpeg", quality=80)
    small, big = vectors(http, [shown(drawing("carrot")), picture(file.getvalue(), "image/jpeg")])
    assert small @ big > 0.95
