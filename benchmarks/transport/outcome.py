"""Findings, facts and plots of what was measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import TypeAlias

from benchmarks.common import median, percentile, ratio_of_medians
from benchmarks.findings import Finding, Series, Target, medians, percentiles
from benchmarks.transport.measure import Found, Pair, Side
from benchmarks.transport.switch_over import SwitchOver, switch_over
from benchmarks.transport.turns import CASES, KIB, KINDS, SIZES_BYTES, WAYS, Case, Kind, Way

TARGET = Target(at_least=8)
"""16 MB of frames."""

TOLD_BYTES = (SIZES_BYTES[0], 256 * KIB, SIZES_BYTES[-1])
"""Sizes that have findings; all are in the plots."""

SIDES = "by value / by reference"

ByLoops: TypeAlias = Mapping[str, Found]
Metric: TypeAlias = Callable[[Side], float]


def _cpu_ms(side: Side) -> float:
    return side.cpu_ms


def _p50_ms(side: Side) -> float:
    return median(side.calls_ms)


METRICS: Mapping[str, Metric] = {"CPU": _cpu_ms, "p50": _p50_ms}


def findings(found: ByLoops) -> list[Finding]:
    """CPU first; the target is for the largest hand-over."""
    told = [case for case in CASES if case.size_bytes in TOLD_BYTES]
    return [
        line
        for loops, of_loops in found.items()
        for case in told
        for line in _of_case(f"{case}, {loops}", case, of_loops[case])
    ]


def _of_case(name: str, case: Case, pairs: Sequence[Pair]) -> list[Finding]:
    target = TARGET if (case.kind, case.size_bytes) == ("hand-over", SIZES_BYTES[-1]) else None
    both = [
        medians(
            f"{name}: {metric} per call",
            SIDES,
            _values(pairs, "value", of_side),
            _values(pairs, "reference", of_side),
            "ms",
            target if metric == "p50" else None,
        )
        for metric, of_side in METRICS.items()
    ]
    if case.size_bytes != SIZES_BYTES[-1]:
        return both
    first, second = ([pair[way].calls_ms for pair in pairs] for way in WAYS)
    return [*both, percentiles(99, f"{name}: p99 per call", SIDES, first, second, "ms")]


def switch_overs(found: ByLoops) -> dict[str, SwitchOver]:
    """By what is said of them."""
    return {
        f"switch-over of a {kind}, {metric}, {loops}": _switch_over(of_loops, kind, of_side)
        for loops, of_loops in found.items()
        for kind in KINDS
        for metric, of_side in METRICS.items()
    }


def _switch_over(found: Found, kind: Kind, of_side: Metric) -> SwitchOver:
    pairs = [found[Case(kind=kind, size_bytes=size_bytes)] for size_bytes in SIZES_BYTES]
    reference, value = (
        [_values(of_size, way, of_side) for of_size in pairs] for way in ("reference", "value")
    )
    return switch_over(SIZES_BYTES, reference, value)


def series(found: ByLoops) -> list[Series]:
    """Cost against size: a plot for each metric, a panel for each kind of call and loops."""
    return [
        _line(metric, kind, loops, way, of_loops)
        for metric in METRICS
        for loops, of_loops in found.items()
        for kind in KINDS
        for way in WAYS
    ]


def _line(metric: str, kind: Kind, loops: str, way: Way, found: Found) -> Series:
    cases = [Case(kind=kind, size_bytes=size_bytes) for size_bytes in SIZES_BYTES]
    # To 1: the median itself, with its interval.
    points = [
        ratio_of_medians(values, [1.0] * len(values))
        for values in (_values(found[case], way, METRICS[metric]) for case in cases)
    ]
    return Series(
        plot=f"Transport, {metric} per call",
        panel=f"{kind}, {loops}",
        side=f"by {way}",
        x=[float(case.size_bytes) for case in cases],
        y=[point.value for point in points],
        low=[point.low for point in points],
        high=[point.high for point in points],
        x_label="array, bytes",
        y_label=f"{metric} per call, ms",
        x_log=True,
        y_log=True,
    )


def turns(found: ByLoops) -> list[dict[str, object]]:
    """Every turn, for the results; of its calls the percentiles."""
    return [
        {"loops": loops, **asdict(case), "pair": number, "way": way, **_told(side)}
        for loops, of_loops in found.items()
        for case, pairs in of_loops.items()
        for number, pair in enumerate(pairs)
        for way, side in pair.items()
    ]


def _told(side: Side) -> dict[str, float]:
    return {
        "calls": len(side.calls_ms),
        "cpu_ms": side.cpu_ms,
        "p50_ms": median(side.calls_ms),
        "p99_ms": percentile(side.calls_ms, 99),
    }


def _values(pairs: Sequence[Pair], way: Way, of_side: Metric) -> list[float]:
    return [of_side(pair[way]) for pair in pairs]
