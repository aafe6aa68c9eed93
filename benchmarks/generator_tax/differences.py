"""How much more one side takes than the other, with its uncertainty."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from benchmarks.common import CONFIDENCE, TAIL_RESAMPLES, Ratio


def difference_of_percentiles(
    ours: Sequence[Sequence[float]], reference: Sequence[Sequence[float]], percent: float, *, seed: int = 0
) -> Ratio:
    """percentile(ours) - percentile(reference), in their unit; otherwise as `common.ratio_of_percentiles`.

    Item i of both are the values of two turns that were measured next to each other, and whole turns are
    drawn. Raises ValueError when there is no pair, the lengths differ, or a turn has no values.
    """
    if not ours or len(ours) != len(reference) or not all(map(len, [*ours, *reference])):
        raise ValueError("Pairs of turns with values are needed.")
    draws = np.random.default_rng(seed).integers(0, len(ours), size=(TAIL_RESAMPLES, len(ours)))
    top, bottom = ([np.asarray(turn, dtype=np.float64) for turn in side] for side in (ours, reference))

    def difference(turns: Iterable[int]) -> float:
        chosen = list(turns)
        above, below = (np.concatenate([side[turn] for turn in chosen]) for side in (top, bottom))
        return float(np.percentile(above, percent) - np.percentile(below, percent))

    low, high = np.quantile(
        [difference(draw) for draw in draws], [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2]
    )
    return Ratio(value=difference(range(len(top))), low=float(low), high=float(high))
