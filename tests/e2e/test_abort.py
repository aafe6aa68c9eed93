"""A client that goes away costs nothing more: the engine stops, and its KV blocks are free again."""

from __future__ import annotations

import re
import threading
import time

import httpx
import openai

from multimodal.serving.background import RunningServer
from tests.e2e.conftest import MODEL

LONG = {
    "model": MODEL,
    "messages": [{"role": "user", "content": "Count from one to ten thousand."}],
    "max_tokens": 4000,
    "ignore_eos": True,
}
PATIENCE_S = 30.0


def metric(http: httpx.Client, name: str) -> float:
    """Sum over all labels."""
    samples = re.findall(rf"^{name}\{{[^}}]*\}} (\S+)$", http.get("/metrics").text, re.MULTILINE)
    assert samples, name
    return sum(map(float, samples))


def until(http: httpx.Client, name: str, wanted: float) -> None:
    end = time.monotonic() + PATIENCE_S
    while (value := metric(http, name)) != wanted:
        assert time.monotonic() < end, f"{name} is {value}"
        time.sleep(0.2)


def assert_engine_is_idle(http: httpx.Client) -> None:
    until(http, "vllm:num_requests_running", 0)
    until(http, "vllm:kv_cache_usage_perc", 0)


def test_closing_a_stream_frees_its_kv_blocks(client: openai.OpenAI, http: httpx.Client) -> None:
    stream = client.chat.completions.create(
        model=MODEL,
        messages=[{"role": "user", "content": "Count from one to ten thousand."}],
        max_tokens=4000,
        stream=True,
        extra_body={"ignore_eos": True},
    )
    for _, _ in zip(range(5), stream, strict=False):
        pass
    until(http, "vllm:num_requests_running", 1)
    stream.close()
    assert_engine_is_idle(http)


def test_a_client_that_hangs_up_before_the_whole_answer_frees_them_too(
    server: RunningServer, http: httpx.Client
) -> None:
    def give_up() -> None:
        with httpx.Client(base_url=server.base_url, timeout=httpx.Timeout(3.0)) as impatient:
            try:
                impatient.post("/v1/chat/completions", json=LONG)
            except httpx.ReadTimeout:
                return
        raise AssertionError("4000 tokens came in 3 s")

    caller = threading.Thread(target=give_up)
    caller.start()
    until(http, "vllm:num_requests_running", 1)
    caller.join()
    assert_engine_is_idle(http)
