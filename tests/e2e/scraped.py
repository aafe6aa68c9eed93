"""What a server counts, by its /metrics."""

from __future__ import annotations

from collections import Counter

import httpx
from prometheus_client.parser import text_string_to_metric_families


def encoded(http: httpx.Client) -> Counter[str]:
    """Items that each encoder has worked on."""
    return _sums(http, "multimodal_encoded_items", "encoder")


def cached(http: httpx.Client, tier: str) -> Counter[str]:
    """What a tier of the cache was asked, by what it said: hit or miss."""
    return _sums(http, "multimodal_cache_requests", "result", tier=tier)


def _sums(http: httpx.Client, family: str, by: str, **labels: str) -> Counter[str]:
    found: Counter[str] = Counter()
    for one in text_string_to_metric_families(http.get("/metrics").raise_for_status().text):
        for sample in one.samples if one.name == family else ():
            if sample.name.endswith("_total") and labels.items() <= sample.labels.items():
                found[sample.labels[by]] += int(sample.value)
    return found
