"""Turns of sides in one process."""

from __future__ import annotations

import time

import pytest

from benchmarks.findings import Target
from benchmarks.in_process import Costs, Measured, take_turns


def test_sides_take_turns_in_an_order_that_reverses_after_one_call_each() -> None:
    calls: list[str] = []
    measured = take_turns({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, pairs=3)
    assert "".join(calls) == "ab" + "ab" + "ba" + "ab"
    assert {len(one.cpu_ms) for one in measured.costs.values()} == {3}


def test_costs_are_for_each_item() -> None:
    calls: list[int] = []

    def work() -> None:
        calls.append(1)
        time.sleep(0.02)

    measured = take_turns({"a": work}, pairs=1, repeats=2, items=4)
    assert len(calls) == 3
    assert measured.costs["a"].wall_ms[0] == pytest.approx(5, rel=0.5)
    assert measured.costs["a"].cpu_ms[0] < 5


def test_cpu_time_comes_first_and_has_the_target() -> None:
    costs = {"ours": Costs([10.0] * 3, [9.0] * 3), "theirs": Costs([40.0] * 3, [3.0] * 3)}
    found = Measured(costs=costs, others_cores=0.0).compare("ours", "theirs", Target(at_most=0.5))
    assert [one.name for one in found] == ["CPU time", "time, p50", "time, p99"]
    assert [one.ratio.value for one in found] == pytest.approx([0.25, 3.0, 3.0])
    assert [one.met for one in found] == [True, None, None]
