"""Counts that a search with words needs, kept until the tenant's segments change: each costs a walk over the
segments that it counts, 0.2 s for a million, or a request to a server."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable, Iterable
from math import inf

_MOST_TENANTS, _MOST_COUNTS = 1024, 4096
"""When there are more, all are forgotten: they can be counted again."""


class Counts:
    """Exact counts by tenant and key, for the one process that writes. Thread-safe.

    Args:
        lifetime_s: where other processes write, too: how long counts may lag behind what those do. That
            nothing is there is then not remembered, so that what they store is found at once.
        clock: seconds.
    """

    def __init__(self, lifetime_s: float = inf, clock: Callable[[], float] = time.monotonic) -> None:
        self._lifetime_s, self._clock = lifetime_s, clock
        self._guard = threading.Lock()
        self._known: dict[str, dict[Hashable, tuple[int, float]]] = {}
        """With the times until which they count."""
        self._changes = 0

    def get(self, tenant: str, key: Hashable, count: Callable[[], int]) -> int:
        """The count of a key: what is known, or what `count` says."""
        now_s = self._clock()
        with self._guard:
            known, changes = self._known.get(tenant, {}).get(key), self._changes
        if known is not None and now_s < known[1]:
            return known[0]
        counted = count()
        with self._guard:
            # Otherwise something was written while it was counted.
            if changes == self._changes and (counted or self._lifetime_s == inf):
                self._keep(tenant, key, (counted, now_s + self._lifetime_s))
        return counted

    def forget(self, tenants: Iterable[str]) -> None:
        """Call after each write, also one that failed, and before it is acknowledged."""
        with self._guard:
            self._changes += 1
            for tenant in tenants:
                self._known.pop(tenant, None)

    def _keep(self, tenant: str, key: Hashable, counted: tuple[int, float]) -> None:
        if len(self._known) >= _MOST_TENANTS:
            self._known.clear()
        counts = self._known.setdefault(tenant, {})
        if len(counts) >= _MOST_COUNTS:
            counts.clear()
        counts[key] = counted
