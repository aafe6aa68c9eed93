from __future__ import annotations

import pytest

from benchmarks.image_encoder import INT8, Accuracy, Measured, Speed, Turns, facts, findings, take_turns
from benchmarks.limits import Limits


def turns(seconds: float) -> Turns:
    return Turns(seconds=[seconds] * 2, cpu_s=[seconds / 2] * 2)


SPEED = Speed(
    side_px=128,
    smallest_cosine=1.0,
    other_cores=0.0,
    turns={"vectors": turns(0.1), "encode": turns(0.2), "open_clip": turns(0.4)},
)


def test_cost_comes_first_and_only_what_open_clip_does_too_has_a_target() -> None:
    found = findings([SPEED], batch_items=4)
    assert [one.ratio.value for one in found] == pytest.approx([0.25, 0.5, 4.0, 2.0])
    assert [one.met for one in found] == [None, None, True, None]
    assert (found[0].first, found[2].first) == pytest.approx((12.5, 40.0))


def test_int8_is_compared_with_both() -> None:
    speed = SPEED | {"turns": SPEED["turns"] | {INT8: turns(0.05)}}
    found = {(one.name, one.sides): one for one in findings([speed], batch_items=4)}
    assert found["pictures, 128 px", f"ours, {INT8} / open_clip"].ratio.value == pytest.approx(8)
    assert found["pictures, 128 px", "ours, int8 / float32"].ratio.value == pytest.approx(2)


def test_the_limit_is_what_the_tower_multiplies() -> None:
    peaks = Limits(flops_per_s={"float32": 1e9}, bytes_per_s=1e9, threads=1)
    kept = Accuracy(lowest_cosine=0.99, mean_cosine=0.998, same_nearest=0.97)
    found = facts(Measured(speeds=[SPEED], int8=kept, limits=peaks, flops=10_000_000), batch_items=4)
    assert found["int8 against float32: lowest cosine"] == 0.99
    assert found["vectors, of GEMM peak in float32"] == pytest.approx(0.4)
    assert found["open_clip, of GEMM peak in float32"] == pytest.approx(0.1)


def test_turns_run_backwards_every_other_time_after_one_that_warms_up() -> None:
    order: list[str] = []
    sides = {name: lambda name=name: order.append(name) for name in "ab"}
    found = take_turns(dict(sides), seconds=0, pairs=3)
    assert "".join(order) == "ab" + "ab" + "ba" + "ab"
    assert [len(found[name]["cpu_s"]) for name in "ab"] == [3, 3]
