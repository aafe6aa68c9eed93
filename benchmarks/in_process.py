"""Turns of two or more ways to do the same work in this process, and what they cost."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

import psutil

from benchmarks import processes
from benchmarks.findings import Finding, Target, in_order, medians, percentiles


@dataclass(frozen=True, slots=True)
class Costs:
    """Of one side: item i of each list is its turn in pair i, milliseconds for each item of work."""

    cpu_ms: list[float] = field(default_factory=list)
    """Of all threads of this process."""
    wall_ms: list[float] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """All turns."""

    costs: Mapping[str, Costs]
    """By side."""
    others_cores: float
    """What other programs kept busy meanwhile, on average."""

    def compare(self, first: str, second: str, target: Target | None = None) -> list[Finding]:
        """CPU time, which the target is about, then time: the first side's over the second's."""
        ours, theirs = self.costs[first], self.costs[second]
        sides = f"{first} / {second}"
        ninety_nine = [[[one] for one in side.wall_ms] for side in (ours, theirs)]
        return [
            medians("CPU time", sides, ours.cpu_ms, theirs.cpu_ms, "ms", target),
            medians("time, p50", sides, ours.wall_ms, theirs.wall_ms, "ms"),
            percentiles(99, "time, p99", sides, ninety_nine[0], ninety_nine[1], "ms"),
        ]

    def as_json(self) -> dict[str, dict[str, Sequence[float]]]:
        """For the results file."""
        return {name: {"cpu_ms": one.cpu_ms, "wall_ms": one.wall_ms} for name, one in self.costs.items()}


def take_turns(
    sides: Mapping[str, Callable[[], object]], *, pairs: int, repeats: int = 1, items: int = 1
) -> Measured:
    """Each side once to warm up, then `pairs` times in turn, in an order that reverses.

    `repeats`: calls in one turn. `items`: pieces of work in one call.
    """
    for work in sides.values():
        work()
    everything, own = processes.CpuMeter(None), processes.CpuMeter([psutil.Process()])
    costs = {name: Costs() for name in sides}
    for number in range(pairs):
        for name in in_order(number, list(sides)):
            cpu_s, wall_s = _spent_s(sides[name], repeats)
            costs[name].cpu_ms.append(1000 * cpu_s / (repeats * items))
            costs[name].wall_ms.append(1000 * wall_s / (repeats * items))
    others = max(0.0, everything.cores() - own.cores())
    return Measured(costs=costs, others_cores=others)


def _spent_s(work: Callable[[], object], repeats: int) -> tuple[float, float]:
    """CPU time of this process, and time."""
    started = time.process_time(), time.perf_counter()
    for _ in range(repeats):
        work()
    ended = time.process_time(), time.perf_counter()
    return cast("tuple[float, float]", tuple(end - start for start, end in zip(started, ended, strict=True)))
