from __future__ import annotations

import math

import numpy as np
import pytest

from benchmarks.transport.measure import MAX_CALLS, MIN_CALLS, Found, Pair, Side, calls_in
from benchmarks.transport.outcome import TARGET, findings, series, switch_overs, turns
from benchmarks.transport.session import LOOPS, environment
from benchmarks.transport.switch_over import switch_over
from benchmarks.transport.turns import CASES, MIB, SIZES_BYTES, Case, size_name

PAIRS = 7


def _pair(case: Case, noise: float = 1.0) -> Pair:
    """By value: 1 ms and 10 for each MiB. By reference: 2 ms and 1 for each MiB. Equal at 1/9 MiB."""
    mib = case.size_bytes / MIB
    value_ms, reference_ms = (1 + 10 * mib) * noise, 2 + mib
    return {
        "value": Side(cpu_ms=value_ms, calls_ms=(value_ms,) * 3),
        "reference": Side(cpu_ms=reference_ms, calls_ms=(reference_ms,) * 3),
    }


def _found() -> Found:
    return {case: [_pair(case)] * PAIRS for case in CASES}


def test_names_of_sizes() -> None:
    assert [size_name(size_bytes) for size_bytes in SIZES_BYTES[:3]] == ["64 B", "1 KiB", "8 KiB"]
    assert size_name(1.5 * MIB) == "1.5 MiB"


def test_a_turn_has_neither_too_few_nor_too_many_calls() -> None:
    assert calls_in(0.5, 5.0, 1) == 100
    assert calls_in(0.5, 50.0, 16) == 160
    assert calls_in(0.5, 1000.0, 1) == MIN_CALLS
    assert calls_in(0.5, 0.01, 1) == MAX_CALLS


def test_the_switch_over_lies_between_the_sizes_where_the_cheaper_way_changes() -> None:
    found = switch_over((100, 1000, 10_000), [[2.0] * 3] * 3, [[1.0] * 3, [2.0] * 3, [20.0] * 3])
    assert found.size_bytes == pytest.approx(1000)
    assert (found.low_bytes, found.high_bytes) == pytest.approx((1000, 1000))
    assert found.sure_bytes == 10_000


def test_between_two_sizes_it_is_on_a_line_in_logarithms() -> None:
    found = switch_over((100, 10_000), [[2.0], [1.0]], [[1.0], [2.0]])
    assert found.size_bytes == pytest.approx(1000)


def test_noise_widens_the_interval_of_the_switch_over() -> None:
    noise = np.random.default_rng(0).normal(1, 0.2, (2, 9))
    value = [list(1.0 * noise[0]), list(4.0 * noise[1])]
    found = switch_over((100, 10_000), [[2.0] * 9] * 2, value)
    assert 100 < found.low_bytes < found.size_bytes < found.high_bytes < 10_000


def test_where_one_way_always_costs_less_the_switch_over_is_at_an_end() -> None:
    low, high = [[1.0] * 3] * 2, [[2.0] * 3] * 2
    assert switch_over((100, 1000), low, high).size_bytes == pytest.approx(100)
    assert switch_over((100, 1000), low, high).sure_bytes == 100
    never = switch_over((100, 1000), high, low)
    assert {never.size_bytes, never.high_bytes, never.sure_bytes} == {math.inf}
    assert str(never) == "never [never, never], sure from never on"


def test_the_last_switch_counts() -> None:
    found = switch_over((1, 10, 100, 1000), [[1.0]] * 4, [[2.0], [0.5], [1.0], [2.0]])
    assert found.size_bytes == pytest.approx(100)


@pytest.mark.parametrize("table", [[], [[]], [[1.0]], [[1.0], [1.0, 2.0]]])
def test_tables_that_do_not_fit_are_refused(table: list[list[float]]) -> None:
    with pytest.raises(ValueError, match="same number"):
        switch_over((100, 1000), table, [[1.0], [1.0]])


def test_only_the_p50_of_the_largest_hand_over_has_a_target() -> None:
    lines = findings({"one loop": _found()})
    with_target = [line for line in lines if line.target]
    assert [line.name for line in with_target] == ["hand-over of 16 MiB, one loop: p50 per call"]
    assert with_target[0].target is TARGET
    assert with_target[0].ratio.value == pytest.approx(161 / 18)


def test_cost_against_size_is_plotted_for_all_sizes() -> None:
    lines = series({"one loop": _found()})
    assert len(lines) == 8
    assert all(line["x"] == [float(size_bytes) for size_bytes in SIZES_BYTES] for line in lines)
    assert all(line["low"] == line["y"] == line["high"] for line in lines)


def test_the_switch_over_of_all_costs_is_said() -> None:
    found = switch_overs({"one loop": _found()})
    assert set(found) == {
        f"switch-over of a {kind}, {metric}, one loop"
        for kind in ("call", "hand-over")
        for metric in ("CPU", "p50")
    }
    assert all(64 * 2**10 < one.size_bytes < 256 * 2**10 for one in found.values())


def test_every_turn_is_written() -> None:
    written = turns({"one loop": _found()})
    assert len(written) == len(CASES) * PAIRS * 2
    assert written[0]["calls"] == 3


def test_a_session_is_on_loopback_and_has_a_token() -> None:
    for loops in LOOPS:
        env = environment(loops, "somewhere")
        assert env["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] == "0"
        assert env["RAY_AUTH_MODE"] == "token"
        assert len(env["RAY_AUTH_TOKEN"]) == 64
        assert int(env["RAY_SERVE_REPLICA_GRPC_MAX_MESSAGE_LENGTH"]) > max(SIZES_BYTES)
