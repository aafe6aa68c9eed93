"""What is run: how many pairs, how many requests, which loads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.findings import MIN_PAIRS

CLIENTS = 32
"""Of the target: requests per second with so many."""

TOKENS = 16
"""Of each answer."""

OWN_SHARE = 0.9
"""A side is not offered more than this of what it can do: latency would be the length of the turn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Sizes of a run."""

    pairs: int
    seconds: float
    """Of each turn, about: what a side can do in this time is what it is sent."""
    least_requests: int
    """Of an open loop, however long they take: of fewer there is no 99th percentile."""
    concurrency: Sequence[int]
    """Clients of the closed loops, besides CLIENTS."""
    shares: Sequence[float]
    """Offered loads, as shares of what the slowest side can do."""


FULL = Plan(
    pairs=MIN_PAIRS,
    seconds=3.0,
    least_requests=50,
    concurrency=(1, 4, 16, 64),
    shares=(0.2, 0.4, 0.6, 0.8, 1.2, 1.8, 2.4),
)
QUICK = Plan(pairs=2, seconds=1.5, least_requests=10, concurrency=(1,), shares=(0.4, 0.8))
"""Shows that all works, and about where the numbers are."""


def rates_per_s(plan: Plan, capacity_per_s: Sequence[float]) -> list[float]:
    """Loads that are offered, to sides that can do so much."""
    return [share * min(capacity_per_s) for share in plan.shares]


def can_take(rate_per_s: float, capacity_per_s: float) -> bool:
    """Whether a side that can do so much is offered this."""
    return rate_per_s <= OWN_SHARE * capacity_per_s


def requests(per_s: float, seconds: float, at_least: int) -> int:
    """How many take about so long."""
    return max(at_least, round(per_s * seconds))
