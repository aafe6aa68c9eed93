"""Values in the memory of this process, the most worth keeping: GreedyDual-Size-Frequency.

Each value has a priority, L + uses * cost / size: what it saves for each byte it takes. The value with the
smallest one goes first, and L becomes its priority, so that values nobody asks for any more fall behind,
whatever they have cost. From L. Cherkasova, "Improving WWW Proxies Performance with Greedy-Dual-Size-
Frequency Caching Policy", HP Labs HPL-98-69R1, 1998, which adds the uses to GreedyDual-Size of P. Cao and
S. Irani, "Cost-Aware WWW Proxy Caching Algorithms", USITS 1997.

Priorities only ever grow. So a use changes the entry alone, and its place in the heap is put right when it
comes up for eviction: a hit takes constant time, an eviction O(log n) beside places put right, of which there
are no more than hits.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable
from dataclasses import dataclass

from multimodal.cache.counts import count_eviction, count_kept

ENTRY_BYTES = 1024
"""What an entry takes beside its encoded bytes: the objects of a value without text, its places in tables."""
LEAST_COST_S = 0.001
"""Values that cost nothing are told apart by their use, too."""
SPARE_PLACES = 64
"""The heap may have twice as many places as there are entries, and so many more."""


@dataclass(slots=True)
class _Entry:
    value: object
    size_bytes: int
    worth: float
    """Cost in seconds for each byte."""
    priority: float
    expires_s: float
    place: int
    """Of all insertions: which one it was."""
    uses: int = 1


class MemoryTier:
    """Bounded in bytes. Of one event loop: not for several threads at once.

    What has expired is a miss, and is removed when it is asked for; until then it ages as everything does.
    """

    def __init__(self, limit_bytes: int, clock: Callable[[], float] = time.monotonic) -> None:
        """`limit_bytes`: of all values and ENTRY_BYTES for each; 0 keeps nothing. `clock` counts seconds."""
        self._limit_bytes = limit_bytes
        self._clock = clock
        self._entries: dict[str, _Entry] = {}
        self._heap: list[tuple[float, int, str]] = []
        self._size_bytes = 0
        self._inflation = 0.0
        self._insertions = 0

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def size_bytes(self) -> int:
        """Of all entries, never above the limit."""
        return self._size_bytes

    def get(self, digest: str) -> object | None:
        """The value that was put last, unless it has expired or has given way to others."""
        entry = self._entries.get(digest)
        if entry is None:
            return None
        if entry.expires_s <= self._clock():
            self._remove(digest)
            return None
        entry.uses += 1
        entry.priority = self._inflation + entry.uses * entry.worth
        return entry.value

    def put(self, digest: str, value: object, size_bytes: int, *, cost_s: float, ttl_s: float) -> None:
        """Keep a value in the place of the one before, others giving way to it. Larger than all: not kept.

        `size_bytes`: encoded; `cost_s`: how long it took to make; `ttl_s`: from now on.
        """
        if digest in self._entries:
            self._remove(digest)
        size_bytes += ENTRY_BYTES
        if size_bytes > self._limit_bytes:
            return
        while self._size_bytes + size_bytes > self._limit_bytes:
            self._evict()
        worth = max(cost_s, LEAST_COST_S) / size_bytes
        self._add(
            digest,
            _Entry(
                value=value,
                size_bytes=size_bytes,
                worth=worth,
                priority=self._inflation + worth,
                expires_s=self._clock() + ttl_s,
                place=self._insertions,
            ),
        )

    def _add(self, digest: str, entry: _Entry) -> None:
        self._insertions += 1
        self._entries[digest] = entry
        self._size_bytes += entry.size_bytes
        count_kept(1, entry.size_bytes)
        heapq.heappush(self._heap, (entry.priority, entry.place, digest))
        if len(self._heap) > 2 * len(self._entries) + SPARE_PLACES:
            self._heap = [(one.priority, one.place, name) for name, one in self._entries.items()]
            heapq.heapify(self._heap)

    def _remove(self, digest: str) -> None:
        """Its place in the heap stays until it comes up, or until there are too many such."""
        entry = self._entries.pop(digest)
        self._size_bytes -= entry.size_bytes
        count_kept(-1, -entry.size_bytes)

    def _evict(self) -> None:
        """Remove the entry with the smallest priority. There is one."""
        while True:
            priority, place, digest = self._heap[0]
            entry = self._entries.get(digest)
            if entry is None or entry.place != place:
                heapq.heappop(self._heap)
            elif entry.priority > priority:
                heapq.heapreplace(self._heap, (entry.priority, place, digest))
            else:
                break
        heapq.heappop(self._heap)
        self._inflation = priority
        self._remove(digest)
        count_eviction()
