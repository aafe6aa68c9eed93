"""The real vLLM engine at the end of the graph, in local testing mode: soft tokens and limits."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from prometheus_client import generate_latest
from ray import serve
from safetensors import safe_open

from deployments.app import build
from deployments.backends import make_generator
from multimodal.config import AppArgs, GeneratorArgs, home
from multimodal.errors import DeadlineExceeded
from multimodal.models.refs import resolve
from multimodal.stages import GeneratorBackend
from multimodal.types import (
    ChatRequest,
    GenerationStep,
    GeneratorEmbedding,
    Image,
    ImageFeatures,
    InputMessage,
    RequestContext,
    Role,
    Sampling,
    TextPart,
    Usage,
)
from tests.integration.graph.backends import FAKES
from tests.integration.graph.local import answer, gateway_of, question, running
from tests.integration.graph.test_graph import picture, words

# Here vLLM runs in the process of the tests, and it and torch warn about their own parts.
pytestmark = pytest.mark.filterwarnings("ignore")

ENGINE = GeneratorArgs(max_model_len=2048, kv_cache_bytes=256 * 1024 * 1024, max_num_seqs=8)


class WordTower:
    """In the place of VisionTower: "sees" the words that a picture is named after, as word embeddings."""

    def __init__(self, embeddings: NDArray[np.float32], tokens: dict[str, list[int]]) -> None:
        self._embeddings = embeddings
        self._tokens = tokens

    async def see(self, ctx: RequestContext, image: Image, features: ImageFeatures) -> GeneratorEmbedding:
        assert features.sha256 == image.sha256
        return GeneratorEmbedding(rows=self._embeddings[self._tokens[image.sha256]])


SCENES = ("a red apple on a wooden table", "a black dog in the snow")


STARTED: list[GeneratorBackend] = []


def start_engine(args: AppArgs) -> GeneratorBackend:
    """Runs in the graph, and is named rather than copied when the graph is built."""
    STARTED.append(make_generator(args))
    return STARTED[-1]


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.AsyncClient]:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(_model(), local_files_only=True)
    tokens = {scene: tokenizer.encode(scene, add_special_tokens=False) for scene in SCENES}
    tower = serve.deployment(name="VisionTower")(WordTower).bind(_word_embeddings(), tokens)

    app = build(AppArgs(generator=ENGINE), replace(FAKES, generator=start_engine), tower)
    with running(app, "engine") as client:
        yield client
    for engine in STARTED:
        engine.close()


def _model() -> Path:
    return resolve(ENGINE.model, home())


def _word_embeddings() -> NDArray[np.float32]:
    (weights,) = _model().glob("*.safetensors")
    with safe_open(weights, framework="pt") as tensors:
        (name,) = [name for name in tensors.keys() if "embed_tokens" in name]  # noqa: SIM118
        rows: NDArray[np.float32] = tensors.get_tensor(name).float().numpy()
    return rows


async def ask(client: httpx.AsyncClient, *parts: dict[str, object], **options: object) -> httpx.Response:
    return await client.post("/v1/chat/completions", json=question(*parts, **options))


async def test_soft_tokens_travel_through_the_graph_and_are_read(client: httpx.AsyncClient) -> None:
    seen = picture(b"a red apple on a wooden table")
    said = answer(await ask(client, seen, words("Describe the picture."), max_tokens=60))
    assert "apple" in said


async def test_soft_tokens_count_as_prompt_tokens(client: httpx.AsyncClient) -> None:
    one = await ask(client, picture(SCENES[0].encode()), words("?"), max_tokens=1)
    two = await ask(
        client, picture(SCENES[0].encode()), picture(SCENES[1].encode()), words("?"), max_tokens=1
    )
    assert two.json()["usage"]["prompt_tokens"] > one.json()["usage"]["prompt_tokens"] + 5


async def test_a_prompt_beyond_the_context_is_refused(client: httpx.AsyncClient) -> None:
    response = await ask(client, words("word " * 3000))
    assert response.status_code == 400
    assert response.json()["error"]["code"] == "context_length_exceeded"


async def test_a_schema_that_is_none_is_refused(client: httpx.AsyncClient) -> None:
    schema = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "no such type"}}}
    response = await ask(client, words("hi"), response_format=schema)
    assert response.status_code == 400


async def test_what_the_client_says_never_becomes_a_picture(client: httpx.AsyncClient) -> None:
    assert answer(await ask(client, words("<image><image> hello"), max_tokens=5))


async def steps(client: httpx.AsyncClient, ctx: RequestContext, text: str, **sampling: object) -> Usage:
    """Ask as somebody whom HTTP cannot be, here: another tenant, or one in a hurry."""
    message = InputMessage(role=Role.USER, parts=(TextPart(text=text),))
    request = ChatRequest(messages=(message,), sampling=Sampling(**sampling))  # type: ignore[arg-type]
    events = [event async for event in gateway_of(client)._assistant.chat(ctx, request)]
    (usage,) = [event.usage for event in events if isinstance(event, GenerationStep) and event.usage]
    return usage


def context(tenant: str = "local", seconds: float = 60.0) -> RequestContext:
    return RequestContext(request_id="test", tenant=tenant, deadline_s=time.time() + seconds)


async def test_one_tenant_never_finds_the_prefix_of_another(client: httpx.AsyncClient) -> None:
    text = "some words that take more than one block of the KV cache " * 30
    assert (await steps(client, context("alice"), text, max_tokens=1)).cached_tokens == 0
    assert (await steps(client, context("bob"), text, max_tokens=1)).cached_tokens == 0
    assert (await steps(client, context("alice"), text, max_tokens=1)).cached_tokens >= 256


async def test_a_deadline_that_passes_ends_the_request_in_the_engine(client: httpx.AsyncClient) -> None:
    with pytest.raises(DeadlineExceeded):
        await steps(client, context(seconds=2), "Count.", max_tokens=1900, ignore_eos=True)
    for _ in range(100):
        running_now = [line for line in generate_latest().decode().splitlines() if RUNNING.match(line)]
        if [line.rsplit(" ", 1)[1] for line in running_now] == ["0.0"]:
            return
        await asyncio.sleep(0.1)
    pytest.fail("the engine goes on")


RUNNING = re.compile(r"vllm:num_requests_running\{")
