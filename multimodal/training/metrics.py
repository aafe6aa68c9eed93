"""Measures of retrieval and of telling known from unknown, on plain arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float32] | npt.NDArray[np.float64]
    Flags = npt.NDArray[np.bool_]


def best_ranks(similarity: Floats, true: Flags) -> npt.NDArray[np.int64]:
    """(queries,): rank of the best true column, from 1. A tie with a false column counts against us.

    `similarity` and `true` are (queries, gallery); every query needs a true column.
    """
    best = np.where(true, similarity, -np.inf).max(1, keepdims=True)
    ahead: npt.NDArray[np.int64] = ((similarity >= best) & ~true).sum(1, dtype=np.int64)
    return ahead + 1


def recall_at(ranks: npt.NDArray[np.int64], k: int) -> float:
    """Share of queries that have a true answer among the first k."""
    return float((ranks <= k).mean())


def auroc(known: Floats, unknown: Floats) -> float:
    """Probability that a known one scores above an unknown one; ties count half."""
    wins = (known[:, None] > unknown).mean() + 0.5 * (known[:, None] == unknown).mean()
    return float(wins)


def best_threshold(known: Floats, unknown: Floats) -> float:
    """The score at or above which one should say "known": it gets both kinds right most evenly."""
    candidates = np.unique(np.concatenate([known, unknown]))
    kept = (known[:, None] >= candidates).mean(0)
    refused = (unknown[:, None] < candidates).mean(0)
    return float(candidates[np.minimum(kept, refused).argmax()])
