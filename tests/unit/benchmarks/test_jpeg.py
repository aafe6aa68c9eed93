"""What the JPEG benchmark compares."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.in_process import Costs, Measured
from benchmarks.jpeg import (
    FASTER,
    PILLOW,
    REQUEST,
    SMALL,
    cosine,
    encoded,
    findings_of,
    moved_bytes,
    ours,
    photograph,
    pillow,
    shares_of,
    shrunk,
)

SIZE_PX = (800, 600)


def test_cosine_is_of_what_differs_from_the_mean() -> None:
    ramp = np.arange(12.0).reshape(3, 4)
    assert cosine(ramp, ramp + 100) == pytest.approx(1.0)
    assert cosine(ramp, -ramp) == pytest.approx(-1.0)


def test_cosine_of_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(ValueError, match="one shape"):
        cosine(np.zeros(3), np.zeros(4))
    with pytest.raises(ValueError, match="contrast"):
        cosine(np.full(3, 7), np.arange(3))


def test_photographs_differ_by_seed_only() -> None:
    first = np.asarray(photograph(1, SIZE_PX))
    assert np.array_equal(first, np.asarray(photograph(1, SIZE_PX)))
    assert not np.array_equal(first, np.asarray(photograph(2, SIZE_PX)))


def test_both_sides_make_the_same_of_a_photograph() -> None:
    data = encoded(photograph(0, SIZE_PX), 90)
    assert shrunk(ours(data, 448)).shape == pillow(data).shape
    assert cosine(shrunk(ours(data, 448)), pillow(data)) > 0.99


def test_a_side_moves_the_file_and_its_own_pixels() -> None:
    data = encoded(photograph(0, SIZE_PX), 90)
    moved = moved_bytes(data)
    assert moved[PILLOW] == len(data) + 800 * 600 * 3
    assert len(data) < moved[SMALL] < moved[PILLOW]


def test_a_share_of_bandwidth_is_by_time() -> None:
    measured = Measured(costs={PILLOW: Costs([90.0] * 3, [100.0] * 3)}, others_cores=0.0)
    found = shares_of("usual", {PILLOW: 10**8}, measured, 20e9)
    assert found == [("usual: of memory bandwidth, Pillow", 0.05)]


def test_the_target_is_about_cpu_time() -> None:
    costs = {REQUEST: Costs([20.0] * 3, [90.0] * 3), SMALL: Costs([50.0] * 3, [1.0] * 3)}
    measured = Measured(costs={**costs, PILLOW: Costs([100.0] * 3, [100.0] * 3)}, others_cores=0.0)
    found = [one for one in findings_of("usual", measured) if one.target is FASTER]
    assert [(one.name, one.met) for one in found] == [("usual: CPU time", True), ("usual: CPU time", False)]
