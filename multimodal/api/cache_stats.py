"""GET /v1/cache/stats: how well the caches of the whole graph do, for operators.

It is made of the metrics of every replica (`multimodal.cache.counts`), so that it says what /metrics says.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from fastapi import APIRouter, Request
from prometheus_client.parser import text_string_to_metric_families

from multimodal.api.cache_schemas import Asked, CacheStats, FeatureStats, Hits, MemoryStats, TierErrors
from multimodal.api.exchange import exchange_of
from multimodal.api.openapi import error_responses
from multimodal.api.operators import require_operator
from multimodal.api.status import graph_texts
from multimodal.api.surface import Surface
from multimodal.cache.counts import Tier

CACHE_STATS = "/v1/cache/stats"
TIERS = (*Tier, "engine")
"""They are always named, also where nothing was asked of them yet."""

_PREFIX = "multimodal_cache_"


def cache_stats_router(surface: Surface) -> APIRouter:
    """The endpoint over a surface."""
    router = APIRouter(tags=["operation"])

    @router.get(
        CACHE_STATS,
        summary="How often what was made of media was known already, for operators",
        responses=error_responses(),
    )
    async def cache_stats(request: Request) -> CacheStats:
        require_operator(exchange_of(request.scope).tenant, surface.args.api)
        # Beside the event loop: it is the text of every replica.
        return await asyncio.to_thread(stats, await graph_texts(surface))

    return router


def stats(texts: Mapping[str, Mapping[str, str]]) -> CacheStats:
    """The sum over metrics in Prometheus' text format, by deployment and replica.

    Raises ValueError for a text that is not in that format.
    """
    samples = list(_samples(texts))
    features = _features(samples)
    modalities = sorted({one.modality for one in features})
    open_in = Counter(one.deployment for one in samples if one.name == "breaker_open" and one.value > 0)
    return CacheStats(
        replicas={deployment: len(replicas) for deployment, replicas in sorted(texts.items())},
        tiers=_tiers(samples),
        modalities={name: _sum(one for one in features if one.modality == name) for name in modalities},
        features=features,
        memory=_memory(samples),
        breaker_open=bool(open_in),
        breakers_open=dict(sorted(open_in.items())),
        errors=_errors(samples),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sample:
    """One number of one replica."""

    deployment: str
    name: str
    """Without the prefix."""
    labels: Mapping[str, str]
    value: int


def _samples(texts: Mapping[str, Mapping[str, str]]) -> Iterator[_Sample]:
    for deployment, replicas in texts.items():
        for text in replicas.values():
            for family in text_string_to_metric_families(text):
                for sample in family.samples:
                    if sample.name.startswith(_PREFIX):
                        yield _Sample(
                            deployment=deployment,
                            name=sample.name.removeprefix(_PREFIX),
                            labels=sample.labels,
                            value=round(sample.value),
                        )


def _tiers(samples: Iterable[_Sample]) -> dict[str, Hits]:
    counted = {tier: Counter[str]() for tier in TIERS}
    for one in samples:
        if one.name == "requests_total":
            counted.setdefault(one.labels["tier"], Counter())[one.labels["result"]] += one.value
    return {tier: _hits(results) for tier, results in counted.items()}


def _features(samples: Iterable[_Sample]) -> list[FeatureStats]:
    counted: dict[tuple[str, str], dict[str, Counter[str]]] = defaultdict(lambda: defaultdict(Counter))
    shared: Counter[tuple[str, str]] = Counter()
    for one in samples:
        if one.name == "requests_total":
            counted[_place(one)][one.labels["tier"]][one.labels["result"]] += one.value
        elif one.name == "shared_total":
            shared[_place(one)] += one.value
    return [
        _feature(place, {tier: _hits(results) for tier, results in sorted(tiers.items())}, shared[place])
        for place, tiers in sorted(counted.items())
    ]


def _place(sample: _Sample) -> tuple[str, str]:
    return sample.labels["feature"], sample.labels["modality"]


def _feature(place: tuple[str, str], tiers: dict[str, Hits], shared: int) -> FeatureStats:
    feature, modality = place
    hits = sum(one.hits for one in tiers.values())
    # The first tier is asked by every request, the others only for what those before them lack. Encoders call
    # each other past the first one, and a replica that is gone has taken its numbers along: never above one.
    requests = max(hits, *(one.hits + one.misses for one in tiers.values()))
    return FeatureStats(
        feature=feature,
        modality=modality,
        requests=requests,
        hits=hits,
        shared=shared,
        hit_rate=_rate(hits, requests),
        tiers=tiers,
    )


def _sum(features: Iterable[FeatureStats]) -> Asked:
    found = list(features)
    requests, hits = sum(one.requests for one in found), sum(one.hits for one in found)
    shared = sum(one.shared for one in found)
    return Asked(requests=requests, hits=hits, shared=shared, hit_rate=_rate(hits, requests))


def _memory(samples: Iterable[_Sample]) -> dict[str, MemoryStats]:
    counted: dict[str, Counter[str]] = defaultdict(Counter)
    for one in samples:
        counted[one.deployment][one.name] += one.value
        counted[one.deployment]["replicas"] += one.name == "entries"
    return {
        deployment: MemoryStats(
            replicas=numbers["replicas"],
            entries=numbers["entries"],
            bytes=numbers["bytes"],
            evictions=numbers["evictions_total"],
        )
        for deployment, numbers in sorted(counted.items())
        if numbers["replicas"]  # every process has the counter of evictions
    }


def _errors(samples: Iterable[_Sample]) -> list[TierErrors]:
    counted: Counter[tuple[str, str]] = Counter()
    for one in samples:
        if one.name == "errors_total":
            counted[one.labels["tier"], one.labels["reason"]] += one.value
    return [
        TierErrors(tier=tier, reason=reason, count=count)
        for (tier, reason), count in sorted(counted.items())
        if count
    ]


def _hits(results: Counter[str]) -> Hits:
    hits, misses = results["hit"], results["miss"]
    return Hits(hits=hits, misses=misses, hit_rate=_rate(hits, hits + misses))


def _rate(hits: int, requests: int) -> float | None:
    return round(hits / requests, 4) if requests else None
