"""What plots are made of: shapes of `series`, `samples` and `parts` in a results file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NotRequired

import numpy as np
from pydantic import ConfigDict, FiniteFloat, with_config

# Pydantic, which reads these, needs this one in Python 3.11.
from typing_extensions import TypedDict

MAX_SAMPLES = 1000
"""More are not seen in a plot."""

_STRICT = ConfigDict(extra="forbid")


@with_config(_STRICT)
class Series(TypedDict):
    """A line: latency against load, throughput against concurrency."""

    plot: str
    """Plain words: the title of a picture, and its file name."""
    panel: NotRequired[str]
    """Panels of one plot stand side by side."""
    side: str
    x: list[FiniteFloat]
    y: list[FiniteFloat]
    low: NotRequired[list[FiniteFloat]]
    """The interval of each y."""
    high: NotRequired[list[FiniteFloat]]
    x_label: str
    """With its unit."""
    y_label: str
    x_log: NotRequired[bool]
    y_log: NotRequired[bool]


@with_config(_STRICT)
class Samples(TypedDict):
    """Values whose distribution is shown."""

    plot: str
    panel: NotRequired[str]
    side: str
    values: list[FiniteFloat]
    x_label: str
    x_log: NotRequired[bool]


@with_config(_STRICT)
class Parts(TypedDict):
    """A bar whose parts add up: cost by stage or hop."""

    plot: str
    panel: NotRequired[str]
    side: str
    parts: dict[str, FiniteFloat]
    """In their order."""
    x_label: str


def checked_series(one: Series) -> Series:
    """Raises ValueError without points, or where they are not as many in each list."""
    lists = [one["x"], one["y"], *(one[key] for key in ("low", "high") if key in one)]
    if not one["x"] or len({len(values) for values in lists}) > 1:
        raise ValueError(f"{one['plot']}: lists of equal length are needed, not empty.")
    return one


def checked_samples(one: Samples) -> Samples:
    """Raises ValueError without values."""
    if not one["values"]:
        raise ValueError(f"{one['plot']}: there are no values.")
    return one


def checked_parts(one: Parts) -> Parts:
    """Raises ValueError without parts that add up to more than nothing."""
    if min(one["parts"].values(), default=-1.0) < 0 or not sum(one["parts"].values()):
        raise ValueError(f"{one['plot']}: parts are positive.")
    return one


def thinned(values: Sequence[float]) -> list[float]:
    """Values in ascending order; of more than MAX_SAMPLES so many quantiles, both ends among them."""
    if len(values) <= MAX_SAMPLES:
        return sorted(float(value) for value in values)
    return [float(value) for value in np.quantile(values, np.linspace(0, 1, MAX_SAMPLES))]
