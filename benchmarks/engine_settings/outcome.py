"""Findings, and the table for the documentation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from benchmarks.common import median
from benchmarks.engine_settings.measure import SideName
from benchmarks.engine_settings.store import Outcome
from benchmarks.findings import Finding, medians

Metric: TypeAlias = Literal["cpu_ms", "tokens_per_s", "ttft_ms"]

SIDES = "candidate / baseline"


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A number of a load."""

    title: str
    load: str
    metric: Metric
    unit: str


COLUMNS = (
    Column(title="CPU per token, 1 stream", load="1 stream", metric="cpu_ms", unit="ms"),
    Column(title="CPU per token, 16 streams", load="16 streams", metric="cpu_ms", unit="ms"),
    Column(title="tokens/s, 1 stream", load="1 stream", metric="tokens_per_s", unit="tokens/s"),
    Column(title="tokens/s, 16 streams", load="16 streams", metric="tokens_per_s", unit="tokens/s"),
    Column(title="TTFT, prompt of 1,000 tokens", load="long prompt", metric="ttft_ms", unit="ms"),
)


def findings(outcomes: Sequence[Outcome]) -> list[Finding]:
    """A line for each number of each candidate."""
    return [_finding(outcome, column) for outcome in outcomes for column in COLUMNS]


def _finding(outcome: Outcome, column: Column) -> Finding:
    candidate, baseline = (_values(outcome, column, side) for side in ("candidate", "baseline"))
    return medians(f"{outcome.name}: {column.title}", SIDES, candidate, baseline, column.unit)


def _values(outcome: Outcome, column: Column, side: Literal["candidate", "baseline"]) -> list[float]:
    name: SideName = side
    return [pair[column.load][name][column.metric] for pair in outcome.pairs]


def markdown(outcomes: Sequence[Outcome]) -> str:
    """Ratios to the baseline with their intervals, below the baseline's own numbers.

    Raises ValueError without an outcome.
    """
    rows = [
        ["setting", *(column.title for column in COLUMNS), "boot"],
        ["---", *("---:" for _ in COLUMNS), "---:"],
        _baseline_row(outcomes),
        *(_row(outcome) for outcome in outcomes),
    ]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _baseline_row(outcomes: Sequence[Outcome]) -> list[str]:
    def of(column: Column) -> str:
        values = [value for outcome in outcomes for value in _values(outcome, column, "baseline")]
        return f"{median(values):.4g} {column.unit}"

    boot_s = median([outcome.baseline_boot_s for outcome in outcomes])
    return ["*the profile's*", *map(of, COLUMNS), f"{boot_s:.0f} s"]


def _row(outcome: Outcome) -> list[str]:
    def of(column: Column) -> str:
        ratio = _finding(outcome, column).ratio
        return f"{ratio.value:.2f} [{ratio.low:.2f}, {ratio.high:.2f}]"

    return [outcome.name, *map(of, COLUMNS), f"{outcome.boot_s:.0f} s"]
