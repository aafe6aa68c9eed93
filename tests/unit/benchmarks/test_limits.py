from __future__ import annotations

import pytest
import torch

from benchmarks import limits
from benchmarks.limits import Limits

FOUND = Limits(flops_per_s={"float32": 100e9, "bfloat16": 400e9}, bytes_per_s=50e9, threads=1)


def test_a_share_is_work_over_what_the_peak_would_do_in_the_same_time() -> None:
    assert FOUND.share(50e9, 2.0, "float32") == pytest.approx(0.25)
    assert FOUND.share_of_bandwidth(25e9, 1.0) == pytest.approx(0.5)
    with pytest.raises(KeyError):
        FOUND.share(1.0, 1.0, "int8")


def test_facts_have_their_units() -> None:
    assert FOUND.facts() == {
        "GEMM peak, float32, GFLOP/s": 100.0,
        "GEMM peak, bfloat16, GFLOP/s": 400.0,
        "memory bandwidth, GB/s": 50.0,
    }


def test_flops_count_products_convolutions_and_attention() -> None:
    layer, values = torch.nn.Linear(8, 4), torch.ones(3, 8)
    assert limits.flops(lambda: layer(values)) == 2 * 3 * 8 * 4
    heads = torch.ones(1, 2, 5, 8)
    attention = torch.nn.functional.scaled_dot_product_attention
    assert limits.flops(lambda: attention(heads, heads, heads)) == 2 * (2 * 2 * 5 * 5 * 8)
    conv, picture = torch.nn.Conv2d(3, 4, 3, padding=1), torch.ones(1, 3, 6, 6)
    assert limits.flops(lambda: conv(picture)) == 2 * 6 * 6 * 3 * 4 * 9


def test_small_products_and_copies_have_a_speed() -> None:
    for number in limits.NUMBERS:
        peak = limits.gemm_flops_per_s(number, 2, side=64)
        assert peak is None or peak > 0
    assert limits.copied_bytes_per_s(2, size_bytes=1024) > 0


def test_weights_are_counted_in_their_own_size() -> None:
    assert limits.weight_bytes(torch.nn.Linear(4, 2).bfloat16()) == 2 * (4 * 2 + 2)
