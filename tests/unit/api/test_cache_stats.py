"""GET /v1/cache/stats: sums over every replica of the graph, for operators only."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import cast

import httpx
import pytest
from fastapi import FastAPI
from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, generate_latest

from multimodal.api import create_app
from multimodal.api.cache_schemas import Asked, CacheStats, Hits, MemoryStats, TierErrors
from multimodal.api.cache_stats import stats
from multimodal.api.metrics import Metrics
from multimodal.cache import counts
from multimodal.config import ApiArgs, AppArgs
from multimodal.errors import StageUnavailable
from multimodal.identity import Feature, Identities
from multimodal.types import MediaKind, Usage
from tests.unit.api.fakes import FakeService, call, chat_body

URL = "/v1/cache/stats"


class Replica:
    """Counts as `multimodal.cache.counts` does, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        labels = ["feature", "modality", "tier", "result"]
        self._requests = self._counter("requests", labels)
        self._shared = self._counter("shared", ["feature", "modality"])
        self._errors = self._counter("errors", ["tier", "reason"])
        self._evictions = self._counter("evictions", [])
        self._bytes = Gauge("multimodal_cache_bytes", "-", ["tier"], registry=self.registry)
        self._entries = Gauge("multimodal_cache_entries", "-", ["tier"], registry=self.registry)
        self._open = Gauge("multimodal_cache_breaker_open", "-", registry=self.registry)

    def _counter(self, name: str, labels: list[str]) -> Counter:
        return Counter(f"multimodal_cache_{name}", "-", labels, registry=self.registry)

    def asked(self, feature: str, modality: str, tier: str, *, hits: int = 0, misses: int = 0) -> Replica:
        self._requests.labels(feature, modality, tier, "hit").inc(hits)
        self._requests.labels(feature, modality, tier, "miss").inc(misses)
        return self

    def shared(self, feature: str, modality: str, count: int) -> Replica:
        self._shared.labels(feature, modality).inc(count)
        return self

    def holds(self, *, entries: int, size_bytes: int, evictions: int = 0) -> Replica:
        self._entries.labels("memory").set(entries)
        self._bytes.labels("memory").set(size_bytes)
        self._evictions.inc(evictions)
        return self

    def fails(self, tier: str, reason: str, count: int, *, is_open: bool) -> Replica:
        self._errors.labels(tier, reason).inc(count)
        self._open.set(is_open)
        return self

    @property
    def text(self) -> str:
        return generate_latest(self.registry).decode()


def test_tiers_are_summed_over_replicas_and_deployments() -> None:
    first = Replica().asked("image", "image", "memory", hits=3, misses=1)
    second = Replica().asked("image", "image", "memory", misses=4).asked("image", "image", "redis", hits=2)
    other = Replica().asked("transcript", "audio", "library", hits=1, misses=1)
    found = stats({"ImageEncoder": {"a": first.text, "b": second.text}, "AudioEncoder": {"c": other.text}})

    assert found.replicas == {"AudioEncoder": 1, "ImageEncoder": 2}
    assert found.tiers == {
        "memory": Hits(hits=3, misses=5, hit_rate=0.375),
        "redis": Hits(hits=2, misses=0, hit_rate=1.0),
        "library": Hits(hits=1, misses=1, hit_rate=0.5),
        "encoder": Hits(hits=0, misses=0, hit_rate=None),
        "engine": Hits(hits=0, misses=0, hit_rate=None),
    }


def test_a_request_that_several_tiers_were_asked_for_is_one_request() -> None:
    replica = (
        Replica()
        .asked("visual", "image", "memory", hits=2, misses=8)
        .asked("visual", "image", "redis", hits=3, misses=4)
        .asked("visual", "image", "library", hits=1, misses=3)
        .shared("visual", "image", 1)
    )
    (feature,) = stats({"VisionTower": {"a": replica.text}}).features

    assert (feature.feature, feature.modality) == ("visual", "image")
    assert (feature.requests, feature.hits, feature.shared, feature.hit_rate) == (10, 6, 1, 0.6)
    assert feature.tiers == {
        "library": Hits(hits=1, misses=3, hit_rate=0.25),
        "memory": Hits(hits=2, misses=8, hit_rate=0.2),
        "redis": Hits(hits=3, misses=4, hit_rate=0.4286),
    }


def test_encoders_that_are_asked_past_the_first_tier_do_not_lift_the_rate_above_one() -> None:
    callers = Replica().asked("image", "image", "memory", hits=4, misses=1)
    encoder = Replica().asked("image", "image", "encoder", hits=5)
    (feature,) = stats({"Gateway": {"a": callers.text}, "ImageEncoder": {"b": encoder.text}}).features

    assert (feature.requests, feature.hits, feature.hit_rate) == (9, 9, 1.0)


def test_modalities_are_sums_of_features() -> None:
    replica = (
        Replica()
        .asked("image", "image", "memory", hits=1, misses=1)
        .asked("ocr", "image", "memory", hits=3, misses=3)
        .asked("ocr", "image", "redis", hits=1, misses=2)
        .shared("ocr", "image", 2)
        .asked("transcript", "video", "memory", misses=1)
    )
    found = stats({"Gateway": {"a": replica.text}})

    assert found.modalities == {
        "image": Asked(requests=8, hits=5, shared=2, hit_rate=0.625),
        "video": Asked(requests=1, hits=0, shared=0, hit_rate=0.0),
    }
    assert [(one.feature, one.modality) for one in found.features] == [
        ("image", "image"),
        ("ocr", "image"),
        ("transcript", "video"),
    ]


def test_memory_is_told_by_deployment() -> None:
    one = Replica().holds(entries=2, size_bytes=300, evictions=1)
    two = Replica().holds(entries=5, size_bytes=50)
    other = Replica().holds(entries=1, size_bytes=7, evictions=4)
    found = stats({"Gateway": {"a": one.text, "b": two.text}, "Ingestor": {"c": other.text}, "Reader": {}})

    assert found.memory == {
        "Gateway": MemoryStats(replicas=2, entries=7, bytes=350, evictions=1),
        "Ingestor": MemoryStats(replicas=1, entries=1, bytes=7, evictions=4),
    }
    assert found.replicas["Reader"] == 0


def test_one_open_breaker_is_enough() -> None:
    well = Replica().fails("redis", "timeout", 1, is_open=False)
    ill = Replica().fails("redis", "timeout", 3, is_open=True).fails("redis", "refused", 2, is_open=True)
    found = stats({"Gateway": {"a": well.text, "b": ill.text}, "Ingestor": {"c": well.text}})

    assert (found.breaker_open, found.breakers_open) == (True, {"Gateway": 1})
    assert found.errors == [
        TierErrors(tier="redis", reason="refused", count=2),
        TierErrors(tier="redis", reason="timeout", count=5),
    ]


def test_nothing_is_wrong_where_nothing_was_counted() -> None:
    found = stats({"Gateway": {"a": Replica().text, "b": ""}, "Generator": {"c": "# EOF\n"}})

    assert (found.breaker_open, found.breakers_open, found.errors, found.features) == (False, {}, [], [])
    assert {rate.hit_rate for rate in found.tiers.values()} == {None}


def test_other_metrics_are_not_mixed_in() -> None:
    text = (
        'vllm:cache_requests_total{tier="memory",result="hit"} 9\nmultimodal_cache_requests_created{} 1.7e9\n'
    )
    assert stats({"Generator": {"a": text}}).tiers["memory"].hits == 0


def _gateway_text(surface: Metrics) -> str:
    """As a Gateway tells it: its process, then its surface. One family is in both."""
    return generate_latest(REGISTRY).decode() + surface.render().decode()


def test_what_the_cache_counts_is_what_is_read() -> None:
    surface = Metrics()
    before = stats({"Gateway": {"a": _gateway_text(surface)}})
    content = Identities(b"secret").content("tenant", "0" * 64, MediaKind.DOCUMENT)
    key = content.key(Feature.DOCUMENT, {})
    for tier, hit in ((counts.Tier.MEMORY, False), (counts.Tier.REDIS, False), (counts.Tier.LIBRARY, True)):
        counts.count(key, tier, hit=hit)
    counts.count_shared(key)
    counts.count_error(counts.Tier.REDIS, "made up here")
    counts.count_kept(3, 1000)
    counts.count_eviction()
    surface.count_prompt(Usage(prompt_tokens=9, completion_tokens=1, cached_tokens=0))
    found = stats({"Gateway": {"a": _gateway_text(surface)}})

    (document,) = [one for one in found.features if one.feature == "document"]
    assert {"memory", "redis", "library"} == set(document.tiers)
    assert document.shared >= 1
    assert found.tiers["engine"] == Hits(hits=0, misses=1, hit_rate=0.0)
    assert TierErrors(tier="redis", reason="made up here", count=1) in found.errors
    earlier = before.memory.get("Gateway", MemoryStats(replicas=0, entries=0, bytes=0, evictions=0))
    now = found.memory["Gateway"]
    assert (now.replicas, now.entries - earlier.entries, now.bytes - earlier.bytes) == (1, 3, 1000)
    assert now.evictions > earlier.evictions
    counts.count_kept(-3, -1000)


# --- over HTTP ---------------------------------------------------------------------------------


class Graph(FakeService):
    """A service whose replicas have metrics."""

    texts: Mapping[str, Mapping[str, str]] = {}

    async def metrics(self) -> Mapping[str, Mapping[str, str]]:
        return self.texts


async def _answer(app: FastAPI, key: str | None = None) -> CacheStats:
    headers = {} if key is None else {"authorization": f"Bearer {key}"}
    caller = await call(app, URL, method="GET", headers=headers)
    assert caller.status == 200
    return CacheStats.model_validate_json(caller.body)


async def test_the_whole_graph_and_this_surface_are_asked() -> None:
    service = Graph()
    service.texts = {"VisionTower": {"x": Replica().asked("visual", "image", "memory", hits=1).text}}
    app = create_app(lambda: service, AppArgs())
    await call(app, "/v1/chat/completions", chat_body())  # 4 of its tokens were in the engine's prefix cache

    found = await _answer(app)
    assert found.object == "cache.stats"
    assert found.replicas == {"Gateway": 1, "VisionTower": 1}
    assert found.tiers["memory"].hits == found.tiers["engine"].hits == 1
    (prefix,) = [one for one in found.features if one.feature == "kv_prefix"]
    assert (prefix.modality, prefix.requests, prefix.hit_rate) == ("prompt", 1, 1.0)
    assert set(found.modalities) == {"image", "prompt"}


async def test_each_request_is_answered_as_of_now(client: httpx.AsyncClient, app: FastAPI) -> None:
    before = CacheStats.model_validate((await client.get(URL)).json()).tiers["engine"]
    await call(app, "/v1/chat/completions", chat_body())
    after = CacheStats.model_validate((await client.get(URL)).json()).tiers["engine"]

    assert (before.hits, after.hits) == (0, 1)


def _with_keys(*operators: str) -> FastAPI:
    keys = {hashlib.sha256(f"key-{name}".encode()).hexdigest(): f"team-{name}" for name in "ab"}
    return create_app(FakeService, AppArgs(api=ApiArgs(keys=keys, operators=operators)))


async def test_operators_may_ask() -> None:
    app = _with_keys("team-b", "team-a")
    assert (await _answer(app, "key-a")).object == (await _answer(app, "key-b")).object == "cache.stats"


@pytest.mark.parametrize("operators", [(), ("team-b",), ("TEAM-A", "team-a ")])
async def test_other_tenants_are_told_what_to_configure(operators: tuple[str, ...]) -> None:
    caller = await call(_with_keys(*operators), URL, method="GET", headers={"authorization": "Bearer key-a"})

    assert caller.status == 403
    assert (caller.error["type"], caller.error["code"]) == ("permission_error", "forbidden")
    message = cast(str, caller.error["message"])
    assert "api.operators" in message
    assert "team-" not in message


async def test_without_keys_this_machine_may_ask_whoever_the_operators_are() -> None:
    app = create_app(FakeService, AppArgs(api=ApiArgs(operators=("team-a",))))

    assert (await call(app, URL, method="GET")).status == 200
    assert (await call(app, URL, method="GET", client=("10.0.0.1", 1))).status == 403


async def test_strangers_are_strangers() -> None:
    assert (await call(_with_keys("team-a"), URL, method="GET")).status == 401


async def test_a_graph_that_does_not_answer_is_an_error_of_its_own() -> None:
    class Silent(FakeService):
        async def metrics(self) -> Mapping[str, Mapping[str, str]]:
            raise StageUnavailable("Gone.", retry_after_s=1)

    caller = await call(create_app(Silent, AppArgs()), URL, method="GET")
    assert (caller.status, json.loads(caller.body)["error"]["code"]) == (503, "stage_unavailable")


async def test_where_there_are_operators_only_they_read_the_metrics_which_name_every_tenant() -> None:
    app = _with_keys("team-a")
    for key, status in (("key-a", 200), ("key-b", 403)):
        headers = {"authorization": f"Bearer {key}"}
        assert (await call(app, "/metrics", method="GET", headers=headers)).status == status
    unset = await call(_with_keys(), "/metrics", method="GET", headers={"authorization": "Bearer key-b"})
    assert unset.status == 200
