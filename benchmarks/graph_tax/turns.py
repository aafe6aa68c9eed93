"""Turns: one side, one load, while the others do nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from benchmarks import processes
from benchmarks.common import percentile
from benchmarks.encode_once.sender import chat_url
from benchmarks.graph_tax.hops import HopMeter
from benchmarks.graph_tax.sides import Side
from benchmarks.open_loop import Closed, Load, Loaded, Loader, Open

MAX_IN_FLIGHT = 512
"""Twice what a Gateway takes (`max_ongoing_requests`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """What one load came to."""

    per_s: float
    """Answers."""
    cpu_ms: float
    """Of all processes of the server for each answer; its idle work included."""
    hops_ms: Mapping[str, float]
    """The same by hop."""
    latencies_ms: Sequence[float] = field(repr=False)
    first_ms: Sequence[float] = field(repr=False)
    unanswered: int
    """Failed, or refused because too many were under way."""
    late_ms: float
    """`Loaded.late_ms_p99`."""
    cores: Mapping[str, float]
    """Who kept the machine busy: the sides, the load generator ("client"), and others."""

    def as_json(self) -> dict[str, object]:
        """Without the single latencies."""
        some = {"p50_ms": 50.0, "p99_ms": 99.0}
        ends = {name: percentile(self.latencies_ms, at) for name, at in some.items() if self.latencies_ms}
        first = {"first_p50_ms": percentile(self.first_ms, 50)} if self.first_ms else {}
        return {
            "per_s": self.per_s,
            "cpu_ms": self.cpu_ms,
            "hops_ms": dict(self.hops_ms),
            **ends,
            **first,
            "answers": len(self.latencies_ms),
            "unanswered": self.unanswered,
            "late_ms": self.late_ms,
            "cores": dict(self.cores),
        }


class Bench:
    """All sides, and the process that loads one at a time."""

    def __init__(self, sides: Mapping[str, Side], loader: Loader) -> None:
        self.sides = sides
        self._loader = loader

    def saturated(self, name: str, bodies: list[str], clients: int) -> Turn:
        """Closed loop. Raises RuntimeError where a request has no answer: that would not be the same work."""
        turn = self._turn(name, bodies, Closed(clients=clients))
        if turn.unanswered:
            raise RuntimeError(f"{name} left {turn.unanswered} of {len(bodies)} requests unanswered.")
        return turn

    def offered(self, name: str, bodies: list[str], rate_per_s: float, seed: int) -> Turn:
        """Open loop. The same seed makes the same arrivals."""
        pace = Open(rate_per_s=rate_per_s, seed=seed, max_in_flight=MAX_IN_FLIGHT)
        return self._turn(name, bodies, pace)

    def _turn(self, name: str, bodies: list[str], pace: Open | Closed) -> Turn:
        trees = {side: one.processes() for side, one in self.sides.items()}
        load = Load(url=chat_url(self.sides[name].url), bodies=bodies, pace=pace)
        watch = processes.Watch({**trees, "client": [self._loader.process]})
        meter = HopMeter(trees[name])
        loaded = self._loader.run(load)
        return _turn(loaded, meter.cpu_s(), watch.cores())


def _turn(loaded: Loaded, hops_s: Mapping[str, float], cores: Mapping[str, float]) -> Turn:
    answers = max(1, len(loaded.latencies_ms))
    hops_ms = {name: 1e3 * spent_s / answers for name, spent_s in hops_s.items()}
    return Turn(
        per_s=loaded.per_s,
        cpu_ms=sum(hops_ms.values()),
        hops_ms=hops_ms,
        latencies_ms=loaded.latencies_ms,
        first_ms=loaded.first_ms,
        unanswered=loaded.refused + sum(loaded.failures.values()),
        late_ms=loaded.late_ms_p99,
        cores=cores,
    )
