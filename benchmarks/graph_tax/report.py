"""What a run says: ratios, and what plots are made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from benchmarks.common import median, percentile, ratio_of_percentiles
from benchmarks.findings import Finding, Parts, Series, Target, medians, percentiles
from benchmarks.graph_tax.hops import HOPS
from benchmarks.graph_tax.measure import NEW, WHOLE, Measured, Offered, Saturated, Turns
from benchmarks.graph_tax.plan import CLIENTS
from benchmarks.graph_tax.sides import DEFAULTS, FLOOR, OURS
from benchmarks.graph_tax.turns import Turn

FASTER = Target(at_least=2, aim=3)
"""Requests per second, ours over Serve's defaults."""


def findings(measured: Measured) -> list[Finding]:
    """CPU time first."""
    wide = [(cell, turns) for cell, turns in sorted(measured.saturated.items()) if cell.clients == CLIENTS]
    result = [_cpu(cell, turns, other) for other in (DEFAULTS, FLOOR) for cell, turns in wide]
    result += [_throughput(cell, turns) for cell, turns in wide]
    for percent in (50.0, 99.0):
        result += [
            _latency(cell, turns, percent)
            for cell, turns in sorted(measured.offered.items())
            if all(name in turns for name in (OURS, DEFAULTS)) and _all_answered(turns)
        ]
    return result


def _cpu(cell: Saturated, turns: Turns, other: str) -> Finding:
    first, second = (_of(turns[name], lambda turn: turn.cpu_ms) for name in (OURS, other))
    return medians(f"CPU per request: {cell}", f"{OURS} / {other}", first, second, "ms")


def _throughput(cell: Saturated, turns: Turns) -> Finding:
    first, second = (_of(turns[name], lambda turn: turn.per_s) for name in (OURS, DEFAULTS))
    target = FASTER if cell.picture == NEW else None
    return medians(f"requests per second: {cell}", f"{OURS} / {DEFAULTS}", first, second, "/s", target)


def _latency(cell: Offered, turns: Turns, percent: float) -> Finding:
    first, second = ([turn.latencies_ms for turn in turns[name]] for name in (OURS, DEFAULTS))
    name = f"p{percent:.0f} latency: {cell}"
    return percentiles(percent, name, f"{OURS} / {DEFAULTS}", first, second, "ms")


def _all_answered(turns: Turns) -> bool:
    """Latencies of those that were answered alone say nothing."""
    return not any(turn.unanswered for name in (OURS, DEFAULTS) for turn in turns[name])


def _of(turns: Sequence[Turn], value: Callable[[Turn], float]) -> list[float]:
    return [value(turn) for turn in turns]


# --- plots ---------------------------------------------------------------------------------------


def series(measured: Measured) -> list[Series]:
    """Latency against load, throughput against concurrency."""
    lines = [
        _load_line(measured, name, mode, percent)
        for name in (OURS, DEFAULTS, FLOOR)
        for mode in sorted({cell.mode for cell in measured.offered})
        for percent in (50.0, 99.0)
    ]
    lines += [_concurrency_line(measured, name) for name in (OURS, DEFAULTS, FLOOR)]
    return [line for line in lines if line["x"]]


def _load_line(measured: Measured, name: str, mode: str, percent: float) -> Series:
    cells = sorted(cell for cell, turns in measured.offered.items() if cell.mode == mode and name in turns)
    found = [[turn.latencies_ms for turn in measured.offered[cell][name]] for cell in cells]
    kept = [(cell, turns) for cell, turns in zip(cells, found, strict=True) if all(turns)]
    ends = [_interval(turns, percent) for _, turns in kept]
    return Series(
        plot="Latency against load",
        panel=f"{mode}, p{percent:.0f}",
        side=name,
        x=[cell.rate_per_s for cell, _ in kept],
        y=[percentile([value for turn in turns for value in turn], percent) for _, turns in kept],
        low=[low for low, _ in ends],
        high=[high for _, high in ends],
        x_label="offered load, requests/s",
        y_label="latency, ms",
        x_log=True,
        y_log=True,
    )


def _interval(turns: Sequence[Sequence[float]], percent: float) -> tuple[float, float]:
    """Of a percentile over all turns, by drawing whole ones: its ratio to one."""
    ratio = ratio_of_percentiles(turns, [[1.0]] * len(turns), percent)
    return ratio.low, ratio.high


def _concurrency_line(measured: Measured, name: str) -> Series:
    cells = sorted(
        (cell for cell in measured.saturated if (cell.picture, cell.mode) == (NEW, WHOLE)),
        key=lambda cell: cell.clients,
    )
    rates = [_of(measured.saturated[cell][name], lambda turn: turn.per_s) for cell in cells]
    return Series(
        plot="Throughput against concurrency",
        side=name,
        x=[float(cell.clients) for cell in cells],
        y=[median(values) for values in rates],
        low=[min(values) for values in rates],
        high=[max(values) for values in rates],
        x_label="clients",
        y_label="requests/s",
        x_log=True,
        y_log=True,
    )


def parts(measured: Measured) -> list[Parts]:
    """CPU time by hop, at CLIENTS clients."""
    return [
        Parts(
            plot="CPU by hop",
            panel=f"{cell.picture}, {cell.mode}",
            side=name,
            parts=hops_ms(turns[name]),
            x_label="CPU ms per request",
        )
        for cell, turns in sorted(measured.saturated.items())
        if cell.clients == CLIENTS
        for name in (OURS, DEFAULTS, FLOOR)
    ]


def hops_ms(turns: Sequence[Turn]) -> dict[str, float]:
    """Medians over turns."""
    return {
        name: median([turn.hops_ms[name] for turn in turns])
        for name in HOPS
        if all(name in turn.hops_ms for turn in turns)
    }


def details(measured: Measured, idle_cores: Mapping[str, float]) -> dict[str, object]:
    """Everything for the results file that is no finding."""
    facts = {f"cores of an idle server, {name}": round(cores, 3) for name, cores in idle_cores.items()}
    late_ms = max(turn.late_ms for turn in measured.turns())
    return {
        "facts": {**facts, "load generator late, p99 of the worst turn, ms": round(late_ms, 2)},
        "series": series(measured),
        "parts": parts(measured),
        "saturated": _turns(measured.saturated),
        "offered": _turns(measured.offered),
    }


def _turns(found: Mapping[Saturated, Turns] | Mapping[Offered, Turns]) -> dict[str, object]:
    return {
        str(cell): {name: [turn.as_json() for turn in side] for name, side in turns.items()}
        for cell, turns in found.items()
    }
