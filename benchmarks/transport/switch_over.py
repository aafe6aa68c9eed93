"""From which size on the object store costs less than gRPC."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.common import CONFIDENCE, TAIL_RESAMPLES, ratio_of_medians
from benchmarks.transport.turns import size_name

Table = Sequence[Sequence[float]]
"""For each size, a value of each pair."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SwitchOver:
    """Sizes in bytes; infinite where the object store costs more at every size that was measured."""

    size_bytes: float
    """Where both cost the same: between two sizes on a line in logarithms."""
    low_bytes: float
    high_bytes: float
    """Its bootstrap interval, whole rounds drawn."""
    sure_bytes: float
    """The smallest measured size from which on the interval of the ratio is below 1."""

    def __str__(self) -> str:
        between = f"[{_name(self.low_bytes)}, {_name(self.high_bytes)}]"
        return f"{_name(self.size_bytes)} {between}, sure from {_name(self.sure_bytes)} on"


def switch_over(sizes_bytes: Sequence[int], reference: Table, value: Table, *, seed: int = 0) -> SwitchOver:
    """Of costs by reference and by value. Raises ValueError when the tables do not fit together."""
    if {len(reference), len(value)} != {len(sizes_bytes)} or len(set(map(len, [*reference, *value]))) != 1:
        raise ValueError("Each size needs the same number of pairs.")
    top, bottom = np.asarray(reference, dtype=np.float64), np.asarray(value, dtype=np.float64)
    logs = np.log(np.asarray(sizes_bytes, dtype=np.float64))
    draws = np.random.default_rng(seed).integers(0, top.shape[1], size=(TAIL_RESAMPLES, top.shape[1]))
    found = [_crossing(logs, top[:, draw], bottom[:, draw]) for draw in draws]
    # Without interpolation: some may be infinite.
    low, high = np.quantile(found, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2], method="inverted_cdf")
    return SwitchOver(
        size_bytes=_crossing(logs, top, bottom),
        low_bytes=float(low),
        high_bytes=float(high),
        sure_bytes=_sure(sizes_bytes, reference, value),
    )


def _crossing(logs: NDArray[np.float64], top: NDArray[np.float64], bottom: NDArray[np.float64]) -> float:
    """The last size at which the ratio of medians becomes less than 1."""
    ratios = np.log(np.median(top, axis=1) / np.median(bottom, axis=1))
    dearer = np.flatnonzero(ratios >= 0)
    if not len(dearer):
        return math.exp(logs[0])
    last = int(dearer[-1])
    if last == len(ratios) - 1:
        return math.inf
    share = ratios[last] / (ratios[last] - ratios[last + 1])
    return math.exp(logs[last] + share * (logs[last + 1] - logs[last]))


def _sure(sizes_bytes: Sequence[int], reference: Table, value: Table) -> float:
    sure = math.inf
    for size_bytes, top, bottom in reversed(list(zip(sizes_bytes, reference, value, strict=True))):
        if ratio_of_medians(top, bottom).high >= 1:
            break
        sure = size_bytes
    return sure


def _name(size_bytes: float) -> str:
    return "never" if math.isinf(size_bytes) else size_name(size_bytes)
