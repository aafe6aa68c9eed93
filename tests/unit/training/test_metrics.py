"""Measures, against values worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from multimodal.training.metrics import auroc, best_ranks, best_threshold, recall_at


def test_ranks_are_those_of_the_best_true_answer() -> None:
    similarity = np.array([[0.9, 0.5, 0.1], [0.2, 0.3, 0.4], [0.7, 0.8, 0.6]])
    true = np.array([[True, False, False], [True, True, False], [False, False, True]])
    ranks = best_ranks(similarity, true)
    assert ranks.tolist() == [1, 2, 3]
    assert recall_at(ranks, 1) == pytest.approx(1 / 3)
    assert recall_at(ranks, 2) == pytest.approx(2 / 3)


def test_a_tie_counts_against_us_but_not_among_true_answers() -> None:
    similarity = np.array([[0.5, 0.5, 0.1], [0.5, 0.5, 0.1]])
    true = np.array([[True, False, False], [True, True, False]])
    assert best_ranks(similarity, true).tolist() == [2, 1]


def test_auroc_counts_pairs() -> None:
    known, unknown = np.array([0.9, 0.6, 0.4]), np.array([0.5, 0.4])
    assert auroc(known, unknown) == pytest.approx((2 + 2 + 0.5) / 6)


def test_the_threshold_gets_both_kinds_right_most_evenly() -> None:
    known, unknown = np.array([0.5, 0.6, 0.7, 0.8]), np.array([0.1, 0.2, 0.3, 0.65])
    assert best_threshold(known, unknown) in (0.5, 0.6)
