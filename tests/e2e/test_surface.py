"""The rest of the HTTP surface on the real server."""

from __future__ import annotations

import concurrent.futures

import httpx
import numpy as np
import openai

from tests.e2e.conftest import MODEL


def test_texts_that_mean_the_same_are_near_each_other(client: openai.OpenAI) -> None:
    texts = ["a cat sleeps on the sofa", "a kitten naps on a couch", "the stock market fell sharply"]
    rows = client.embeddings.create(model="text", input=texts)
    cat, kitten, market = (np.asarray(row.embedding) for row in rows.data)
    assert cat @ kitten > 0.5 > cat @ market
    assert np.linalg.norm(cat) == 1.0 or abs(np.linalg.norm(cat) - 1) < 1e-4
    assert rows.usage.prompt_tokens > 0


def test_base64_and_float_embeddings_are_equal(client: openai.OpenAI, http: httpx.Client) -> None:
    # OpenAI's client asks for base64 and decodes it; plain HTTP defaults to float.
    decoded = client.embeddings.create(model="text", input="hello").data[0].embedding
    plain = http.post("/v1/embeddings", json={"model": "text", "input": "hello"}).json()
    assert np.allclose(decoded, plain["data"][0]["embedding"], atol=1e-5)


def test_hundreds_of_texts_are_embedded_in_order(client: openai.OpenAI) -> None:
    numbers = [f"number {n}" for n in range(200)]
    rows = client.embeddings.create(model="text", input=[*numbers, *reversed(numbers)]).data
    vectors = np.asarray([row.embedding for row in rows])
    assert np.allclose(vectors[:200], vectors[200:][::-1], atol=2e-3)
    assert [row.index for row in rows] == list(range(400))


def test_the_generator_is_the_first_model(client: openai.OpenAI) -> None:
    assert client.models.list().data[0].id == MODEL


def test_it_says_that_it_lives_and_that_every_stage_can_serve(http: httpx.Client) -> None:
    assert http.get("/healthz").status_code == 200
    ready = http.get("/readyz")
    assert ready.status_code == 200
    assert set(ready.json()["stages"].values()) == {"ready"}


def test_metrics_show_the_whole_graph_and_vllm(http: httpx.Client, client: openai.OpenAI) -> None:
    client.embeddings.create(model="text", input="count me")
    text = http.get("/metrics").text
    for sample in (
        'multimodal_requests_total{code="200",deployment="Gateway",endpoint="/v1/embeddings",replica="',
        'multimodal_encoded_items_total{deployment="TextEncoder",encoder="TextEncoder",modality="text"',
        'vllm:kv_cache_usage_perc{deployment="Generator"',
        'process_resident_memory_bytes{deployment="AudioEncoder",replica="',
    ):
        assert sample in text


def test_64_requests_at_once_are_queued_and_not_refused(http: httpx.Client) -> None:
    body = {
        "model": MODEL,
        "messages": [{"role": "user", "content": "Count to ten."}],
        "max_tokens": 8,
        "ignore_eos": True,
    }
    with concurrent.futures.ThreadPoolExecutor(64) as pool:
        answers = list(pool.map(lambda _: http.post("/v1/chat/completions", json=body), range(64)))
    assert {answer.status_code for answer in answers} == {200}
    assert {answer.json()["usage"]["completion_tokens"] for answer in answers} == {8}
