"""Prometheus metrics of the feature cache, in the registry of the process: its replica reports them.

They are of the process: several caches in one add up.
"""

from __future__ import annotations

from enum import StrEnum

from prometheus_client import Counter, Gauge

from multimodal.identity import FeatureKey


class Tier(StrEnum):
    """Where values are kept."""

    MEMORY = "memory"
    REDIS = "redis"
    LIBRARY = "library"
    """Beside uploaded files."""
    ENCODER = "encoder"
    """The memory of an encoder's replica: what callers have missed, and others had made."""


_REQUESTS = Counter(
    "multimodal_cache_requests",
    "Requests that a cache could have helped: kv_prefix is the engine's prefix cache, by prompt",
    ["feature", "modality", "tier", "result"],
)
_SHARED = Counter(
    "multimodal_cache_shared",
    "Requests that joined work on the same feature that was in flight already",
    ["feature", "modality"],
)
_ENTRIES = Gauge("multimodal_cache_entries", "Values kept", ["tier"])
_BYTES = Gauge("multimodal_cache_bytes", "What the values kept take, bytes", ["tier"])
_EVICTIONS = Counter("multimodal_cache_evictions", "Values in memory that gave way to others")
_BREAKER_OPEN = Gauge("multimodal_cache_breaker_open", "1 while Redis is left alone after failures, else 0")
_ERRORS = Counter("multimodal_cache_errors", "Failed calls of a tier", ["tier", "reason"])


def count(key: FeatureKey, tier: Tier, *, hit: bool) -> None:
    """Record what a tier had to say to one request."""
    _REQUESTS.labels(key.feature, key.modality, tier, "hit" if hit else "miss").inc()


def count_shared(key: FeatureKey) -> None:
    """Record a request that waits for the work of another one."""
    _SHARED.labels(key.feature, key.modality).inc()


def count_kept(entries: int, size_bytes: int) -> None:
    """Record that memory holds so much more, or less."""
    _ENTRIES.labels(Tier.MEMORY).inc(entries)
    _BYTES.labels(Tier.MEMORY).inc(size_bytes)


def count_eviction() -> None:
    """Record a value in memory that gave way to others."""
    _EVICTIONS.inc()


def count_error(tier: Tier, reason: str) -> None:
    """Record a failed call. `reason` is one of few: never text of the error itself."""
    _ERRORS.labels(tier, reason).inc()


def breaker_open(is_open: bool) -> None:
    """Record whether Redis is left alone."""
    _BREAKER_OPEN.set(is_open)
