"""Several replicas and a real Redis: what one has had encoded, all know. Redis may go, requests go on."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from multimodal.serving.background import RunningServer, running_server
from tests.e2e.conftest import MODEL
from tests.e2e.profile import Options, replicas, write_profile
from tests.e2e.scraped import cached, encoded
from tests.redis_server import RedisServer, running_redis

PASSWORD = "only for this test"
AT_ONCE = 64
UNIQUE = 8
REPLICAS = 2
SEEN = "A picture of 6 x 4 pixels"
SECRET = "of the tests, and as long as it has to be"


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    with running_redis("--requirepass", PASSWORD) as server:
        yield server


@pytest.fixture(scope="module")
def profile(tmp_path_factory: pytest.TempPathFactory, redis: RedisServer) -> Path:
    """Two replicas of each deployment that a picture meets; a Redis that is given time, as cores are few."""

    def change(args: dict[str, object], options: Options) -> None:
        args["cache"] = {"redis_url": redis.url, "redis_wait_s": 2.0, "breaker_failures": 1, "breaker_s": 600}
        for name in ("Gateway", "MediaLoader", "ImageEncoder", "Reader"):
            options[name] |= replicas(REPLICAS)

    return write_profile(tmp_path_factory.mktemp("profile"), change)


@pytest.fixture(scope="module")
def server(profile: Path) -> Iterator[RunningServer]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REDIS_PASSWORD", PASSWORD)
        patch.setenv("MULTIMODAL_SECRET", SECRET)
        with running_server(profile) as server:
            yield server


@pytest.fixture
def http(server: RunningServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.base_url, timeout=120) as client:
        yield client


def ask(http: httpx.Client, name: str) -> str:
    """The answer about a picture of this name; the fakes repeat what they are told."""
    url = f"data:image/png;base64,{base64.b64encode(name.encode()).decode()}"
    parts = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": "?"}]
    body = {"model": MODEL, "messages": [{"role": "user", "content": parts}]}
    answer = http.post("/v1/chat/completions", json=body)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["choices"][0]["message"]["content"])


def test_each_picture_is_encoded_once_for_all_replicas(http: httpx.Client) -> None:
    before = encoded(http)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for number in range(UNIQUE):
            names = [f"shared {number}"] * AT_ONCE
            answers = list(pool.map(lambda name: ask(http, name), names))
            assert len(set(answers)) == 1
    after = encoded(http)
    for encoder in ("ImageEncoder", "Reader"):
        assert after[encoder] - before[encoder] == UNIQUE, encoder
    assert cached(http, "redis")["hit"] > 0  # of the Gateway that had nothing encoded


def test_nothing_that_is_kept_names_a_tenant_or_a_picture(http: httpx.Client, redis: RedisServer) -> None:
    ask(http, "a private picture")
    with redis.client(PASSWORD) as client:
        kept = {bytes(key): client.get(key) for key in client.scan_iter()}
        assert kept
        assert all(client.pttl(key) > 0 for key in kept)
    assert all(b"local" not in key and b"private" not in key for key in kept)


def test_values_that_were_tampered_with_are_made_again(http: httpx.Client, redis: RedisServer) -> None:
    ask(http, "tampered")
    before = encoded(http)
    with redis.client(PASSWORD) as client:
        for key in list(client.scan_iter()):
            value = client.get(key)
            assert isinstance(value, bytes)
            client.set(key, value[:-1] + bytes([value[-1] ^ 1]))
    for _ in range(4 * REPLICAS):  # both Gateways
        assert SEEN in ask(http, "tampered")
    # The other Gateway asked the encoders, whose replicas know what they have made.
    assert encoded(http) == before


def test_requests_go_on_without_redis(http: httpx.Client, redis: RedisServer) -> None:
    redis.kill()
    for number in range(4 * REPLICAS):
        assert SEEN in ask(http, f"alone {number}")
    stats = http.get("/v1/cache/stats").raise_for_status().json()
    assert stats["breaker_open"]
    assert stats["errors"]
