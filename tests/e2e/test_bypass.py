"""Two ways to see: an engine that keeps its tower beside a VisionTower with the same weights.

The real graph and a tiny checkpoint with random weights; what it says means nothing, but follows from what it
is shown.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeAlias

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.encode_once.profile import derived
from multimodal.encoders.colours import dominant_colours
from multimodal.generation.bypass import Reason, Route
from multimodal.serving.background import running_server
from tests import media, tiny_models
from tests.e2e.conftest import ROOT
from tests.e2e.parts import picture, words
from tests.e2e.scraped import encoded
from tests.e2e.test_abort import assert_engine_is_idle, until

# torch and transformers, which write the checkpoint, warn about their own parts.
pytestmark = pytest.mark.filterwarnings("ignore")

MODEL = "two-ways"
CELL_PX = 14
"""Of one colour: half of what one image token shows."""
SMALL_PX, LARGE_PX = 112, 224
ENGINE_TOKENS = 24
"""Between one small picture and two."""
ENGINE_QUEUE = 1
"""One answer under way is enough for the engine's tower to be left alone."""
ANSWER_TOKENS = 24
LONG_TOKENS = 4000
"""Seconds more than it takes to look at two pictures."""

DESCRIBED = Counter({"ImageEncoder": 1, "Reader": 1})
"""Encoded of a picture for what stands in the notes, whoever encodes it for the generator."""
SEEN = Counter({"VisionTower": 1})

Pixels: TypeAlias = NDArray[np.uint8]


@pytest.fixture(scope="module")
def http(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    folder = tmp_path_factory.mktemp("model")
    tiny_models.qwen2_5_vl(folder)
    bypass = {"route": "auto", "engine_tokens": ENGINE_TOKENS, "engine_queue": ENGINE_QUEUE}
    changes = {
        "media_cpu": "normal",  # two pictures are looked at while a text is written
        "vision": {"source": "tower", "dtype": "float32", "bypass": bypass},
        "generator": {
            "model": f"file:{folder}",
            "served_name": MODEL,
            "dtype": "float32",
            "enforce_eager": True,
            "pixels": True,
            "image_placeholder": "<|vision_start|><|image_pad|><|vision_end|>",
            "max_model_len": 4096,
            "kv_cache_bytes": 64 << 20,
            "max_images": 4,
        },
    }
    with (
        derived(ROOT / "serve_config.yaml", changes) as profile,
        running_server(profile.path) as server,
        httpx.Client(base_url=server.base_url, timeout=120) as client,
    ):
        yield client


@dataclass(frozen=True)
class Seen:
    """What one request with pictures got, and what it cost."""

    text: str
    prompt_tokens: int
    cached_tokens: int
    """Of the prompt: the engine had them in its prefix cache."""
    stages: list[tuple[str, bool]]
    """Those before generation, and whether all was known."""
    routes: Counter[tuple[str, str]]
    """Where its pictures were encoded, and why."""
    made: Counter[str]
    """Items that each encoder worked on."""


def look(http: httpx.Client, *pictures: bytes) -> Seen:
    """Ask what they show, while nobody else asks about any."""
    routes, made = routed(http), encoded(http)
    parts = [*map(picture, pictures), words("What is it?")]
    body = {
        "model": MODEL,
        "messages": [{"role": "user", "content": parts}],
        "max_tokens": ANSWER_TOKENS,
        "temperature": 0,
        "ignore_eos": True,
        "stream_options": {"include_stages": True},
    }
    response = http.post("/v1/chat/completions", json=body)
    assert response.status_code == 200, response.text
    answer = response.json()
    usage = answer["usage"]
    stages = [(one["stage"], one.get("cached", False)) for one in answer["stages"]]
    return Seen(
        text=answer["choices"][0]["message"]["content"],
        prompt_tokens=usage["prompt_tokens"],
        cached_tokens=usage["prompt_tokens_details"]["cached_tokens"],
        stages=[one for one in stages if one[0] != "generate"],
        routes=routed(http) - routes,
        made=encoded(http) - made,
    )


def routed(http: httpx.Client) -> Counter[tuple[str, str]]:
    """Requests with pictures so far, by route and reason."""
    found: Counter[tuple[str, str]] = Counter()
    for family in text_string_to_metric_families(http.get("/metrics").raise_for_status().text):
        for sample in family.samples if family.name == "multimodal_vision_route" else ():
            if sample.name.endswith("_total"):
                found[sample.labels["route"], sample.labels["reason"]] += int(sample.value)
    return found


@contextmanager
def answer_under_way(http: httpx.Client) -> Iterator[None]:
    """A long answer to a text is being written; afterwards the engine is idle again."""
    body = {
        "model": MODEL,
        "messages": [{"role": "user", "content": "Count."}],
        "max_tokens": LONG_TOKENS,
        "ignore_eos": True,
        "stream": True,
    }
    with http.stream("POST", "/v1/chat/completions", json=body):
        until(http, "vllm:num_requests_running", 1)
        yield
    assert_engine_is_idle(http)


def mosaic(seed: int, side_px: int) -> Pixels:
    """Random cells of four colours."""
    colours = np.array([(200, 30, 30), (30, 140, 60), (40, 60, 200), (240, 220, 60)], np.uint8)
    cells = np.random.default_rng(seed).integers(0, 4, (side_px // CELL_PX, side_px // CELL_PX))
    return np.repeat(np.repeat(colours[cells], CELL_PX, axis=0), CELL_PX, axis=1)


def png(pixels: Pixels) -> bytes:
    return media.encode(Image.fromarray(pixels), "png")


def once(route: Route, reason: Reason) -> Counter[tuple[str, str]]:
    return Counter({(route.value, reason.value): 1})


def test_few_tokens_go_into_an_idle_engine(http: httpx.Client) -> None:
    small = png(mosaic(1, SMALL_PX))
    first, again = look(http, small), look(http, small)
    assert first.routes == again.routes == once(Route.ENGINE, Reason.FEW_TOKENS)
    assert first.stages == [("load", False), ("encode", False)]
    assert first.made == DESCRIBED
    # What stands in the notes is known now. Pixels are not kept: they are decoded again.
    assert again.stages == [("load", False), ("encode", True)]
    assert again.made == Counter()
    assert again.text == first.text


def test_many_tokens_go_to_the_tower_which_is_asked_once(http: httpx.Client) -> None:
    large = png(mosaic(2, LARGE_PX))
    first, again = look(http, large), look(http, large)
    assert first.routes == once(Route.TOWER, Reason.MANY_TOKENS)
    assert first.stages == [("load", False), ("encode", False)]
    assert first.made == DESCRIBED + SEEN
    assert again.routes == once(Route.TOWER, Reason.CACHED)
    assert again.stages == [("encode", True)]
    assert again.made == Counter()
    assert again.text == first.text


def test_all_pictures_of_a_request_count_together(http: httpx.Client) -> None:
    seen = look(http, *(png(mosaic(seed, SMALL_PX)) for seed in (3, 4)))
    assert seen.routes == once(Route.TOWER, Reason.MANY_TOKENS)
    assert seen.made == DESCRIBED + SEEN + DESCRIBED + SEEN


def test_the_engine_does_not_encode_again_what_the_tower_knows(http: httpx.Client) -> None:
    large, small = png(mosaic(6, LARGE_PX)), png(mosaic(7, SMALL_PX))
    look(http, large)
    seen = look(http, large, small)
    assert seen.routes == once(Route.TOWER, Reason.MANY_TOKENS)
    assert seen.made == DESCRIBED + SEEN


def test_both_towers_see_the_same(http: httpx.Client) -> None:
    upright = mosaic(5, SMALL_PX)
    turned = upright[::-1, ::-1]
    # So all that the notes say of them is the same: only who looks can tell one from the other.
    assert dominant_colours(upright) == dominant_colours(turned)
    pictures = [png(upright), png(turned)]
    by_engine = [look(http, one) for one in pictures]
    with answer_under_way(http):
        by_tower = [look(http, one) for one in pictures]
    known = [look(http, one) for one in pictures]
    for pixels, rows, again in zip(by_engine, by_tower, known, strict=True):
        assert pixels.routes == once(Route.ENGINE, Reason.FEW_TOKENS)
        assert (rows.routes, rows.made) == (once(Route.TOWER, Reason.BUSY), SEEN)
        assert (again.routes, again.made) == (once(Route.TOWER, Reason.CACHED), Counter())
        assert pixels.text == rows.text == again.text
        assert pixels.prompt_tokens == rows.prompt_tokens
        # The engine has read the rows themselves: its prefix cache knew no more than the words before them.
        assert rows.cached_tokens < again.cached_tokens
    assert by_engine[0].prompt_tokens == by_engine[1].prompt_tokens
    assert by_engine[0].text != by_engine[1].text
