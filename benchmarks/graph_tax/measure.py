"""All turns of a run, in pairs: each side once, in an order that reverses."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from benchmarks.findings import console, in_order
from benchmarks.graph_tax.plan import CLIENTS, Plan, can_take, rates_per_s, requests
from benchmarks.graph_tax.turns import Bench, Turn
from benchmarks.graph_tax.workload import Workload

NEW, SAME = "new picture", "same picture"
WHOLE, STREAMED = "whole", "streamed"
MODES = (WHOLE, STREAMED)

MAX_REQUESTS = 2000
"""In a turn; a process without a graph answers more than this in a second."""
WARM_UP_REQUESTS = 200

Turns: TypeAlias = dict[str, list[Turn]]
"""By side, one of each pair."""


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Saturated:
    """A closed loop."""

    picture: str
    mode: str
    clients: int

    def __str__(self) -> str:
        return f"{self.picture}, {self.mode}, {self.clients} clients"


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Offered:
    """An open loop, of new pictures."""

    mode: str
    rate_per_s: float

    def __str__(self) -> str:
        return f"{self.mode}, {self.rate_per_s:.0f} offered/s"


@dataclass(slots=True)
class Measured:
    """A run."""

    saturated: dict[Saturated, Turns] = field(default_factory=dict)
    offered: dict[Offered, Turns] = field(default_factory=dict)

    def turns(self) -> list[Turn]:
        """All of them."""
        groups = [*self.saturated.values(), *self.offered.values()]
        return [turn for group in groups for side in group.values() for turn in side]


class Measurement:
    """A run on the sides of a bench."""

    def __init__(self, bench: Bench, plan: Plan, workload: Workload, compared: Sequence[str]) -> None:
        self._bench = bench
        self._plan = plan
        self._workload = workload
        self._compared = compared
        """Sides whose ratio is wanted: the slowest of them sets the loads."""
        self._measured = Measured()

    def run(self) -> Measured:
        """Warm up, see what each side can do, then all pairs."""
        can_per_s = {mode: self._capacity(mode) for mode in MODES}
        for number in range(self._plan.pairs):
            console.print(f"Pair {number + 1} of {self._plan.pairs}")
            for cell in _cells(self._plan):
                self._saturate(cell, can_per_s[cell.mode], number)
            for mode in MODES:
                slowest = [can_per_s[mode][name] for name in self._compared]
                for rate_per_s in rates_per_s(self._plan, slowest):
                    self._offer(Offered(mode=mode, rate_per_s=rate_per_s), can_per_s[mode], number)
        return self._measured

    def _capacity(self, mode: str) -> Mapping[str, float]:
        """Answers per second of each side with CLIENTS clients; their first turn is not looked at."""
        found: dict[str, float] = {}
        for name in self._bench.sides:
            for count in (WARM_UP_REQUESTS // 4, WARM_UP_REQUESTS):
                found[name] = self._bench.saturated(name, self._bodies(NEW, mode, count), CLIENTS).per_s
        console.print(mode, {name: f"{per_s:.0f}/s" for name, per_s in found.items()})
        return found

    def _saturate(self, cell: Saturated, can_per_s: Mapping[str, float], number: int) -> None:
        counts = {name: self._count(per_s, cell.clients) for name, per_s in can_per_s.items()}
        bodies = self._bodies(cell.picture, cell.mode, max(counts.values()))
        turns = self._measured.saturated.setdefault(cell, {})
        self._each(
            turns,
            number,
            list(self._bench.sides),
            lambda name: self._bench.saturated(name, bodies[: counts[name]], cell.clients),
        )

    def _count(self, per_s: float, clients: int) -> int:
        """One client alone has perhaps a third of the answers."""
        share = 1.0 if clients >= CLIENTS else 0.5
        return min(MAX_REQUESTS, requests(share * per_s, self._plan.seconds, 4 * clients))

    def _offer(self, cell: Offered, can_per_s: Mapping[str, float], number: int) -> None:
        names = [name for name, per_s in can_per_s.items() if can_take(cell.rate_per_s, per_s)]
        count = min(MAX_REQUESTS, requests(cell.rate_per_s, self._plan.seconds, self._plan.least_requests))
        bodies = self._bodies(NEW, cell.mode, count)
        turns = self._measured.offered.setdefault(cell, {})
        self._each(
            turns, number, names, lambda name: self._bench.offered(name, bodies, cell.rate_per_s, number)
        )

    def _each(self, turns: Turns, number: int, names: Sequence[str], take: Callable[[str], Turn]) -> None:
        for name in in_order(number, names):
            turns.setdefault(name, []).append(take(name))

    def _bodies(self, picture: str, mode: str, count: int) -> list[str]:
        make = self._workload.fresh if picture == NEW else self._workload.same
        return make(count, stream=mode == STREAMED)


def _cells(plan: Plan) -> list[Saturated]:
    both = [
        Saturated(picture=picture, mode=mode, clients=CLIENTS) for picture in (NEW, SAME) for mode in MODES
    ]
    return both + [Saturated(picture=NEW, mode=WHOLE, clients=clients) for clients in plan.concurrency]
