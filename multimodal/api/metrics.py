"""Prometheus metrics of one HTTP surface, in a registry of its own."""

from __future__ import annotations

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Histogram, generate_latest

from multimodal.types import Usage

CONTENT_TYPE = CONTENT_TYPE_LATEST

FAST_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5)
"""Bucket bounds in seconds for the time between tokens: 1,000 to 0.4 tokens/s."""

SLOW_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
"""Bucket bounds in seconds for stages and for the first token."""


class Metrics:
    """Counters and histograms with the prefix `multimodal_`."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "multimodal_requests",
            "Requests by endpoint, HTTP status (of an error in the middle of a stream: its own) and tenant",
            ["endpoint", "code", "tenant"],
            registry=self.registry,
        )
        self.cache_requests = Counter(
            "multimodal_cache_requests",
            "Requests that a cache could have helped: kv_prefix is the engine's prefix cache, by prompt",
            ["feature", "modality", "tier", "result"],
            registry=self.registry,
        )
        self.ttft_s = Histogram(
            "multimodal_ttft_seconds",
            "From the arrival of a request to the first token of its answer",
            buckets=SLOW_S,
            registry=self.registry,
        )
        self.inter_token_s = Histogram(
            "multimodal_inter_token_seconds",
            "Time for each token after the first, one observation for each engine step",
            buckets=FAST_S,
            registry=self.registry,
        )
        self.stage_s = Histogram(
            "multimodal_stage_seconds",
            "Time that requests spend in a stage",
            ["stage"],
            buckets=SLOW_S,
            registry=self.registry,
        )

    def count_prompt(self, usage: Usage) -> None:
        """Record whether the engine had the beginning of a prompt in its KV cache."""
        result = "hit" if usage.cached_tokens else "miss"
        self.cache_requests.labels("kv_prefix", "prompt", "engine", result).inc()

    def render(self) -> bytes:
        """Prometheus' text exposition format."""
        return generate_latest(self.registry)
