"""What was found: ratios with their intervals, and whether they are what the design asks for.

What plots are made of stands in `plot_data`; its names can be imported from here, too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TypedDict, TypeVar

from rich.console import Console
from rich.table import Table

from benchmarks.common import (
    Ratio,
    median,
    percentile,
    ratio_of_medians,
    ratio_of_percentiles,
    ratio_of_sums,
    write_results,
)
from benchmarks.compare import BUSY_CORES
from benchmarks.plot_data import Parts, Samples, Series, thinned

__all__ = [
    "MIN_PAIRS",
    "QUICK_PAIRS",
    "Check",
    "Finding",
    "Parts",
    "Samples",
    "Series",
    "Target",
    "check",
    "console",
    "in_order",
    "medians",
    "percentiles",
    "publish",
    "sums",
    "thinned",
]

T = TypeVar("T")

MIN_PAIRS = 7
"""Fewer are no measurement."""
QUICK_PAIRS = 1

VERDICTS = {True: "met", False: "missed", None: ""}

console = Console()


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What the ratio has to be."""

    at_least: float = float("-inf")
    at_most: float = float("inf")
    at_most_more: float = float("inf")
    """Of the first number than of the second, in their unit: for "2 ms more at most"."""
    aim: float | None = None
    """What would be better still. Alone it decides nothing."""

    def is_met(self, ratio: Ratio) -> bool:
        """By the ratio itself; its interval says how sure that is."""
        return self.takes(ratio.value)

    def takes(self, value: float) -> bool:
        """Whether the value is within both bounds."""
        return self.at_least <= value <= self.at_most

    def __str__(self) -> str:
        bounds = [f">= {self.at_least:g}"] if self.at_least > float("-inf") else []
        bounds += [f"<= {self.at_most:g}"] if self.at_most < float("inf") else []
        bounds += [f"<= {self.at_most_more:g} more"] if self.at_most_more < float("inf") else []
        aim = [f"aim {self.aim:g}"] if self.aim is not None else []
        return ", ".join(bounds + aim)

    @property
    def decides(self) -> bool:
        """Whether it has a bound."""
        return min(-self.at_least, self.at_most, self.at_most_more) < float("inf")


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One number of one side over the same of the other."""

    name: str
    sides: str
    """What is divided by what."""
    ratio: Ratio
    first: float
    second: float
    unit: str
    target: Target | None = None

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None without one, or with an aim alone."""
        if self.target is None or not self.target.decides:
            return None
        return self.target.is_met(self.ratio) and self.first - self.second <= self.target.at_most_more

    def as_json(self) -> dict[str, object]:
        """For the results file."""
        target = {"target": str(self.target), "met": self.met} if self.target else {}
        numbers = {"ratio": asdict(self.ratio), "first": self.first, "second": self.second}
        return {"name": self.name, "sides": self.sides, **numbers, "unit": self.unit, **target}


class Check(TypedDict):
    """One number that is no ratio, and whether it is what it has to be."""

    name: str
    value: float
    unit: str
    target: str
    met: bool


def check(name: str, value: float, target: Target, unit: str = "") -> Check:
    """Such as the lowest cosine that an encoder keeps."""
    return Check(name=name, value=value, unit=unit, target=str(target), met=target.takes(value))


def medians(
    name: str,
    sides: str,
    first: Sequence[float],
    second: Sequence[float],
    unit: str,
    target: Target | None = None,
) -> Finding:
    """Of pairs."""
    return _finding(name, sides, ratio_of_medians(first, second), median, (first, second), unit, target)


def sums(
    name: str,
    sides: str,
    first: Sequence[float],
    second: Sequence[float],
    unit: str,
    target: Target | None = None,
) -> Finding:
    """Of pairs."""
    return _finding(name, sides, ratio_of_sums(first, second), sum, (first, second), unit, target)


def percentiles(
    percent: float,
    name: str,
    sides: str,
    first: Sequence[Sequence[float]],
    second: Sequence[Sequence[float]],
    unit: str,
    target: Target | None = None,
) -> Finding:
    """Of the values of all turns together."""
    pooled = [value for turn in first for value in turn], [value for turn in second for value in turn]
    ratio = ratio_of_percentiles(first, second, percent)
    return _finding(name, sides, ratio, partial(percentile, percent=percent), pooled, unit, target)


def _finding(
    name: str,
    sides: str,
    ratio: Ratio,
    statistic: Callable[[Sequence[float]], float],
    values: tuple[Sequence[float], Sequence[float]],
    unit: str,
    target: Target | None,
) -> Finding:
    first, second = map(float, map(statistic, values))
    return Finding(name=name, sides=sides, ratio=ratio, first=first, second=second, unit=unit, target=target)


def publish(
    scenario: str, findings: Sequence[Finding], details: Mapping[str, object], others_cores: float
) -> Path:
    """Print the ratios, and write them with everything else to a results file.

    `others_cores`: the most that programs which take no part kept busy in a turn.
    """
    table = Table(title=scenario, title_justify="left", show_lines=True)
    table.add_column("")
    for heading in ("ratio [95 %]", "target", "first", "second"):
        table.add_column(heading, justify="right", no_wrap=True)
    for one in findings:
        target = f"{one.target}\n{VERDICTS[one.met]}" if one.target else ""
        numbers = (f"{value:.4g} {one.unit}" for value in (one.first, one.second))
        table.add_row(f"{one.name}\n{one.sides}", str(one.ratio), target, *numbers)
    if findings:
        console.print(table)
    if others_cores > BUSY_CORES:
        console.print(f"Other programs used up to {others_cores:.2f} cores: run it again on an idle machine.")
    document = {"findings": [one.as_json() for one in findings], "others_cores": others_cores, **details}
    path = write_results(scenario, document)
    console.print(f"Results: {path}", soft_wrap=True)
    return path


def in_order(number: int, sides: Sequence[T]) -> Sequence[T]:
    """Sides of a pair in the order of their turns: backwards in every other pair."""
    return sides if number % 2 == 0 else sides[::-1]
