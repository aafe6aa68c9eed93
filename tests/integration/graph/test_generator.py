"""The real vLLM engine at the end of the graph, in local testing mode: soft tokens and limits."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

import httpx
import pytest
from prometheus_client import generate_latest

from deployments.app import build
from deployments.backends import make_generator
from multimodal.config import AppArgs, GeneratorArgs, VisionArgs, home
from multimodal.encoders.connector import SafetensorsWords
from multimodal.errors import DeadlineExceeded
from multimodal.models.refs import resolve
from multimodal.stages import GeneratorBackend, Seen
from multimodal.types import (
    ChatRequest,
    GenerationStep,
    GeneratorEmbedding,
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


class NameReader:
    """A connector that "sees" the words that a picture is named after."""

    def __init__(self) -> None:
        self._words = SafetensorsWords(resolve(ENGINE.model, home()))

    def see(self, batch: Sequence[tuple[Seen, Sequence[float]]]) -> list[GeneratorEmbedding]:
        return [GeneratorEmbedding(rows=self._words.rows(seen.sha256)) for seen, _ in batch]


STARTED: list[GeneratorBackend] = []


def start_engine(args: AppArgs) -> GeneratorBackend:
    """Runs in the graph, and is named rather than copied when the graph is built."""
    STARTED.append(make_generator(args))
    return STARTED[-1]


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.AsyncClient]:
    args = AppArgs(generator=ENGINE, vision=VisionArgs())
    app = build(args, replace(FAKES, vision=lambda args: NameReader(), generator=start_engine))
    with running(app, "engine") as client:
        yield client
    for engine in STARTED:
        engine.close()


async def ask(client: httpx.AsyncClient, *parts: dict[str, object], **options: object) -> httpx.Response:
    return await client.post("/v1/chat/completions", json=question(*parts, **options))


async def test_soft_tokens_travel_through_the_graph_and_are_read(client: httpx.AsyncClient) -> None:
    seen = picture(b"a red apple on a wooden table")
    said = answer(await ask(client, seen, words("Describe the picture."), max_tokens=60))
    assert "apple" in said


async def test_soft_tokens_count_as_prompt_tokens(client: httpx.AsyncClient) -> None:
    one = await ask(client, picture(b"a red apple on a wooden table"), words("?"), max_tokens=1)
    two = await ask(
        client,
        picture(b"a red apple on a wooden table"),
        picture(b"a black dog in the snow"),
        words("?"),
        max_tokens=1,
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
