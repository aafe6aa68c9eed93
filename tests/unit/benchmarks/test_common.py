from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.common import (
    Ratio,
    median,
    percentile,
    ratio_of_medians,
    ratio_of_percentiles,
    ratio_of_sums,
    write_results,
)

positive = st.floats(0.01, 1e4)
pairs = st.lists(st.tuples(positive, positive), min_size=1, max_size=9)


def test_the_value_is_the_ratio_of_the_medians_and_not_the_median_of_the_ratios() -> None:
    assert ratio_of_medians([1.0, 4.0, 100.0], [8.0, 2.0, 1.0]).value == 2.0


def test_what_moves_both_sides_of_a_pair_alike_does_not_widen_the_interval() -> None:
    drifting = [1.0, 5.0, 2.0, 9.0, 3.0]
    assert ratio_of_medians([2 * value for value in drifting], drifting) == Ratio(value=2, low=2, high=2)


def test_noise_of_one_side_alone_widens_the_interval() -> None:
    ratio = ratio_of_medians([1.0, 5.0, 2.0, 9.0, 3.0], [1.0] * 5)
    assert ratio.low < 2 < ratio.value < 4 < ratio.high


@pytest.mark.parametrize(("ours", "reference"), [([], []), ([1.0], [1.0, 2.0]), ([1.0], [0.0])])
def test_what_has_no_ratio_is_refused(ours: list[float], reference: list[float]) -> None:
    with pytest.raises(ValueError, match=r"."):
        ratio_of_medians(ours, reference)


@settings(max_examples=30, deadline=None)
@given(pairs)
def test_the_interval_stays_within_what_was_measured(measured: list[tuple[float, float]]) -> None:
    ours, reference = map(list, zip(*measured, strict=True))
    ratio = ratio_of_medians(ours, reference)
    lowest, highest = min(ours) / max(reference), max(ours) / min(reference)
    assert lowest * 0.999 <= ratio.low <= ratio.high <= highest * 1.001


@settings(max_examples=30, deadline=None)
@given(pairs, st.floats(0.1, 10))
def test_another_unit_scales_all_of_it(measured: list[tuple[float, float]], factor: float) -> None:
    ours, reference = map(list, zip(*measured, strict=True))
    ratio, scaled = ratio_of_medians(ours, reference), ratio_of_medians([factor * x for x in ours], reference)
    for before, after in ((ratio.value, scaled.value), (ratio.low, scaled.low), (ratio.high, scaled.high)):
        assert after == pytest.approx(factor * before)


def test_the_interval_holds_the_true_ratio_about_as_often_as_it_says() -> None:
    random = np.random.default_rng(7)
    held = 0
    for _ in range(100):
        drift = random.lognormal(sigma=0.3, size=15)
        ours = 1.5 * drift * random.lognormal(sigma=0.1, size=15)
        reference = drift * random.lognormal(sigma=0.1, size=15)
        ratio = ratio_of_medians(ours.tolist(), reference.tolist())
        held += ratio.low <= 1.5 <= ratio.high
    assert held >= 85


def test_a_tail_is_that_of_all_values_together() -> None:
    ours, reference = [[1.0] * 99, [50.0]], [[1.0] * 50, [2.0] * 50]
    assert ratio_of_percentiles(ours, reference, 100).value == 25
    assert ratio_of_percentiles(ours, reference, 50).value == pytest.approx(1 / 1.5)


def test_the_interval_of_a_tail_knows_that_values_of_one_turn_resemble_each_other() -> None:
    alike = ratio_of_percentiles([[2.0, 2.0], [2.0, 2.0]], [[1.0], [1.0]], 99)
    assert alike == Ratio(value=2, low=2, high=2)
    one_slow_turn = ratio_of_percentiles([[2.0] * 100, [9.0] * 100, [2.0] * 100], [[1.0]] * 3, 99)
    assert (one_slow_turn.low, one_slow_turn.value, one_slow_turn.high) == (2, 9, 9)


@pytest.mark.parametrize(
    ("ours", "reference"), [([], []), ([[1.0]], [[1.0], [2.0]]), ([[]], [[1.0]]), ([[1.0]], [[]])]
)
def test_tails_of_nothing_are_refused(ours: list[list[float]], reference: list[list[float]]) -> None:
    with pytest.raises(ValueError, match="turns with values"):
        ratio_of_percentiles(ours, reference, 99)


def test_a_sum_does_not_hide_what_a_median_would() -> None:
    counts, media = [1.0, 1.0, 1.0, 1.0, 6.0], [1.0] * 5
    assert ratio_of_medians(counts, media).value == 1
    assert ratio_of_sums(counts, media).value == 2
    assert ratio_of_sums(counts, media).high > 3


def test_percentiles_lie_between_ranks() -> None:
    assert median([4.0, 1.0, 2.0, 3.0]) == 2.5
    assert percentile([float(value) for value in range(101)], 99) == 99


def test_results_say_what_they_were_measured_with(tmp_path: Path) -> None:
    document = json.loads(write_results("thing", {"tokens_per_s": 3.0}, tmp_path / "new").read_text())
    assert document["benchmark"] == "thing"
    assert document["results"] == {"tokens_per_s": 3.0}
    assert {"command", "commit", "packages", "cores", "at"} <= document.keys()
