"""Answer of GET /v1/cache/stats."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

HIT_RATE = "hits of all requests, from 0 to 1; null: nothing was asked for yet"


class Hits(BaseModel):
    """What one tier was asked."""

    hits: int
    misses: int = Field(description="what the tier before it did not have, and neither had this one")
    hit_rate: float | None = Field(description=HIT_RATE)


class Asked(BaseModel):
    """What a cache was asked, whichever of its tiers answered."""

    requests: int
    hits: int = Field(description="answered by any tier")
    shared: int = Field(description="not known, but another request was having it made, and it was awaited")
    hit_rate: float | None = Field(description=HIT_RATE)


class FeatureStats(Asked):
    """One thing that is made of media of one modality."""

    feature: str = Field(description="what is made, such as transcript; kv_prefix: the engine's prefix cache")
    modality: str = Field(description="image, audio, video, document or, for kv_prefix, prompt")
    tiers: dict[str, Hits] = Field(description="those that were asked")


class MemoryStats(BaseModel):
    """The memory tiers of all replicas of one deployment."""

    replicas: int = Field(description="those that have kept something")
    entries: int
    bytes: int
    evictions: int = Field(description="values that made room for others")


class TierErrors(BaseModel):
    """Failures of one kind; what was asked for was then made again."""

    tier: str
    reason: str
    count: int


class CacheStats(BaseModel):
    """GET /v1/cache/stats: since each replica started, the sum of all that answered."""

    object: Literal["cache.stats"] = "cache.stats"
    replicas: dict[str, int] = Field(description="replicas that answered, by deployment")
    tiers: dict[str, Hits] = Field(
        description=(
            "memory, redis, library (kept beside uploaded files), encoder (the memory of encoders, which are "
            "asked for what nobody else has) and engine (vLLM's prefix cache)"
        )
    )
    modalities: dict[str, Asked] = Field(description="sums of the features below")
    features: list[FeatureStats] = Field(description="by what is made, and of what")
    memory: dict[str, MemoryStats] = Field(description="memory tiers, by deployment")
    breaker_open: bool = Field(description="whether some replica leaves Redis alone now, after failures")
    breakers_open: dict[str, int] = Field(description="replicas that do, by deployment; those without: none")
    errors: list[TierErrors] = Field(description="those of Redis and of stored values, if any")
