"""What the feature cache tells Prometheus."""

from __future__ import annotations

import pytest
from prometheus_client import REGISTRY, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from multimodal.api.graph_metrics import merge
from multimodal.api.metrics import Metrics
from multimodal.cache import counts
from multimodal.cache.codec import Codec
from multimodal.cache.counts import Tier
from multimodal.cache.features import FeatureCache
from multimodal.cache.memory import MemoryTier
from multimodal.config import CacheArgs
from multimodal.identity import Feature, FeatureKey
from multimodal.types import MediaKind, Usage

KEY = FeatureKey(feature=Feature.OCR, modality=MediaKind.VIDEO, digest="ab" * 32, affinity="cd" * 16)


def sample(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(f"multimodal_cache_{name}", labels) or 0.0


@pytest.mark.parametrize("tier", Tier)
@pytest.mark.parametrize("hit", [True, False])
def test_what_a_tier_said_is_counted(tier: Tier, hit: bool) -> None:
    labels = {"feature": "ocr", "modality": "video", "tier": tier.value}
    result, other = ("hit", "miss") if hit else ("miss", "hit")
    before = sample("requests_total", **labels, result=result)
    before_other = sample("requests_total", **labels, result=other)

    counts.count(KEY, tier, hit=hit)

    assert sample("requests_total", **labels, result=result) == before + 1
    assert sample("requests_total", **labels, result=other) == before_other


def test_shared_work_is_counted() -> None:
    before = sample("shared_total", feature="ocr", modality="video")
    counts.count_shared(KEY)
    assert sample("shared_total", feature="ocr", modality="video") == before + 1


def test_errors_are_counted_by_reason() -> None:
    before = sample("errors_total", tier="redis", reason="timeout")
    counts.count_error(Tier.REDIS, "timeout")
    assert sample("errors_total", tier="redis", reason="timeout") == before + 1


@pytest.mark.parametrize("is_open", [True, False])
def test_the_breaker_is_shown(is_open: bool) -> None:
    counts.breaker_open(is_open)
    assert REGISTRY.get_sample_value("multimodal_cache_breaker_open") == float(is_open)


def test_caches_in_one_process_add_up() -> None:
    before = sample("entries", tier="memory")
    for _ in range(2):
        memory = MemoryTier(1024 * 1024)
        FeatureCache(CacheArgs(), Codec(bytes(32)), memory)
        memory.put("digest", "value", 10, cost_s=1.0, ttl_s=1.0)
    assert sample("entries", tier="memory") == before + 2


def test_gateways_exposition_has_prompts_and_features_in_one_family() -> None:
    counts.count(KEY, Tier.MEMORY, hit=True)
    surface = Metrics()
    surface.count_prompt(Usage(prompt_tokens=8, completion_tokens=1, cached_tokens=4))
    text = generate_latest(REGISTRY).decode() + surface.render().decode()

    merged = merge({"Gateway": {"one": text}}).decode()

    (family,) = [
        one for one in text_string_to_metric_families(merged) if one.name == "multimodal_cache_requests"
    ]
    totals = [one.labels for one in family.samples if one.name.endswith("_total")]
    assert {labels["feature"] for labels in totals} >= {"ocr", "kv_prefix"}
    assert {frozenset(labels) for labels in totals} == {
        frozenset({"feature", "modality", "tier", "result", "deployment", "replica"})
    }
