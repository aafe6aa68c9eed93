"""Turns by value and by reference, next to each other, and what they took."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import psutil

from benchmarks import processes
from benchmarks.common import median
from benchmarks.findings import in_order
from benchmarks.transport.session import Session
from benchmarks.transport.turns import CASES, WAYS, Case, Turn, Way

TURN_S = 0.5
"""CPU time is counted in hundredths of a second."""
PILOT_CALLS = 20
MIN_CALLS = 12
MAX_CALLS = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One turn."""

    cpu_ms: float
    """For each call, of all processes that it can pass, those that wait included."""
    calls_ms: tuple[float, ...]
    """How long each call took."""


Pair: TypeAlias = Mapping[Way, Side]
Found: TypeAlias = Mapping[Case, Sequence[Pair]]


def calls_in(turn_s: float, call_ms: float, at_once: int) -> int:
    """How many calls make a turn of about this length."""
    return max(MIN_CALLS, min(MAX_CALLS, round(1e3 * turn_s * at_once / call_ms)))


class Measurement:
    """Of one session."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.others_cores = 0.0
        """The most that programs which take no part kept busy in a turn."""

    def run(self, pairs: int) -> Found:
        """Every case is measured in every round, so that a slow minute meets all of them."""
        calls = {(case, way): self._pilot(case, way) for case in CASES for way in WAYS}
        found: dict[Case, list[Pair]] = {case: [] for case in CASES}
        for number in range(pairs):
            for case, before in found.items():
                before.append(
                    {way: self._turn(case, way, calls[case, way]) for way in in_order(number, WAYS)}
                )
        return found

    def _pilot(self, case: Case, way: Way) -> int:
        """Warms up; how many calls a turn is to have."""
        took_ms = self._session.run(Turn(case=case, way=way, calls=PILOT_CALLS))
        return calls_in(TURN_S, median(took_ms), case.at_once)

    def _turn(self, case: Case, way: Way, calls: int) -> Side:
        sides = {"session": self._session.all_processes(), "client": [psutil.Process()]}
        watch = processes.Watch(sides)
        meter = processes.CpuMeter(self._session.processes())
        calls_ms = self._session.run(Turn(case=case, way=way, calls=calls))
        cpu_ms = 1e3 * meter.cpu_s() / len(calls_ms)
        self.others_cores = max(self.others_cores, watch.cores()["others"])
        return Side(cpu_ms=cpu_ms, calls_ms=tuple(calls_ms))
