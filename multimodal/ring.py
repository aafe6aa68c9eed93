"""Consistent hashing with bounded loads: requests of one key meet at one node, and no node drowns in them.

Nodes lie at many points of a ring each, by hash. A key belongs to the node of the next point clockwise; where
that one has too much to do, to the next node after it, and so on. A node that joins takes about 1/n of the
keys, from all others alike, and one that leaves gives its keys to all others: no other key moves.

Hashes are BLAKE2b, so that all processes see the same ring.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from math import ceil, inf

POINTS = 128
"""Of one node. Shares of the keys then differ by 1 / sqrt(128), 9 %."""

LOAD_FACTOR = 1.25
FLOOR = 8


class Ring:
    """Nodes by the place of their names."""

    def __init__(self, nodes: Iterable[str]) -> None:
        points = sorted((_place(f"{node}/{i}"), node) for node in set(nodes) for i in range(POINTS))
        self._places = [place for place, _ in points]
        self._nodes = [node for _, node in points]
        self._count = len(self._nodes) // POINTS

    def order(self, key: str) -> list[str]:
        """All nodes, each once, clockwise from the key: the first is the key's own."""
        first = bisect_right(self._places, _place(key))
        found: dict[str, None] = {}
        for step in range(len(self._nodes)):
            if len(found) == self._count:
                break
            found[self._nodes[(first + step) % len(self._nodes)]] = None
        return list(found)


@dataclass(frozen=True, slots=True)
class LoadBound:
    """How much a node may have to do: the rule of Mirrokni, Thorup and Zadimoghaddam, "Consistent Hashing
    with Bounded Loads" (2016), with a floor.

    Raises ValueError for numbers that cannot work.
    """

    load_factor: float = LOAD_FACTOR
    """How many times the average. The closer to 1, the more even the loads, and the more keys move on."""
    floor: int = FLOOR
    """A node may always have so much: requests of one key stay together while there is little to do."""

    def __post_init__(self) -> None:
        if not 1.0 < self.load_factor < inf:
            raise ValueError(f"load_factor must be above 1, and is {self.load_factor}.")
        if self.floor < 1:
            raise ValueError(f"floor must be at least 1, and is {self.floor}.")

    def limit(self, loads: Mapping[str, int]) -> int:
        """Only a node that has less may be given more."""
        return max(self.floor, ceil(self.load_factor * (sum(loads.values()) + 1) / len(loads)))

    def admitted(self, order: Sequence[str], loads: Mapping[str, int]) -> list[str]:
        """Those of `order` that may be given more, in that order: some, where `order` has all of `loads`."""
        limit = self.limit(loads)
        return [node for node in order if loads[node] < limit]


def _place(name: str) -> int:
    digest = blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big")
