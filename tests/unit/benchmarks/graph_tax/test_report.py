from __future__ import annotations

import pytest

from benchmarks.graph_tax import hops, plan, profiling, report
from benchmarks.graph_tax.measure import NEW, SAME, WHOLE, Measured, Offered, Saturated
from benchmarks.graph_tax.sides import DEFAULTS, FLOOR, OURS
from benchmarks.graph_tax.turns import Turn
from benchmarks.memory import role


def _turn(per_s: float, cpu_ms: float, latencies_ms: tuple[float, ...] = (1.0, 2.0), failed: int = 0) -> Turn:
    return Turn(
        per_s=per_s,
        cpu_ms=cpu_ms,
        hops_ms={"proxy": cpu_ms / 4, "Gateway": 3 * cpu_ms / 4},
        latencies_ms=latencies_ms,
        first_ms=latencies_ms,
        unanswered=failed,
        late_ms=0.1,
        cores={"others": 0.0},
    )


def _measured() -> Measured:
    found = Measured()
    sides = {OURS: _turn(90, 10), DEFAULTS: _turn(30, 40), FLOOR: _turn(900, 1)}
    for picture in (NEW, SAME):
        cell = Saturated(picture=picture, mode=WHOLE, clients=plan.CLIENTS)
        found.saturated[cell] = {name: [turn] * 3 for name, turn in sides.items()}
    found.saturated[Saturated(picture=NEW, mode=WHOLE, clients=1)] = {
        name: [turn] * 3 for name, turn in sides.items()
    }
    found.offered[Offered(mode=WHOLE, rate_per_s=10.0)] = {name: [turn] * 3 for name, turn in sides.items()}
    found.offered[Offered(mode=WHOLE, rate_per_s=50.0)] = {OURS: [_turn(50, 10)] * 3}
    return found


def test_cpu_comes_first_and_the_target_is_for_new_pictures() -> None:
    found = report.findings(_measured())
    assert [one.name.split(":")[0] for one in found] == ["CPU per request"] * 4 + [
        "requests per second",
        "requests per second",
        "p50 latency",
        "p99 latency",
    ]
    assert found[0].ratio.value == pytest.approx(0.25)
    faster = {one.name: one for one in found if one.target}
    assert list(faster) == [f"requests per second: {NEW}, {WHOLE}, {plan.CLIENTS} clients"]
    assert all(one.ratio.value == pytest.approx(3) and one.met for one in faster.values())


def test_latencies_of_those_that_were_answered_alone_are_no_finding() -> None:
    measured = _measured()
    cell = Offered(mode=WHOLE, rate_per_s=10.0)
    measured.offered[cell][DEFAULTS][1] = _turn(10, 10, failed=1)
    assert not any("latency" in one.name for one in report.findings(measured))


def test_lines_have_the_loads_that_a_side_was_offered() -> None:
    lines = {(one["plot"], one.get("panel"), one["side"]): one["x"] for one in report.series(_measured())}
    assert lines["Latency against load", "whole, p99", OURS] == [10.0, 50.0]
    assert lines["Latency against load", "whole, p99", DEFAULTS] == [10.0]
    assert lines["Throughput against concurrency", None, OURS] == [1.0, float(plan.CLIENTS)]


def test_hops_add_up_and_stand_in_the_order_of_a_request() -> None:
    (first, *_) = report.parts(_measured())
    assert list(first["parts"]) == ["proxy", "Gateway"]
    assert sum(first["parts"].values()) == pytest.approx(10)


@pytest.mark.parametrize(
    ("command", "hop"),
    [
        ("ray::ServeReplica:multimodal:Gateway", "Gateway"),
        ("ray::ServeReplica:multimodal:Ingestor", hops.REST),
        ("ray::ProxyActor", hops.PROXY),
        ("ray::HAProxyManager", hops.PROXY),
        ("haproxy -W", hops.PROXY),
        ("ray::ServeController.listen", hops.RAY),
        ("/x/raylet --y", hops.RAY),
        ("python -m benchmarks.graph_tax.floor 80", hops.REST),
    ],
)
def test_processes_belong_to_hops(command: str, hop: str) -> None:
    assert hops.hop(role(command.split())) == hop


def test_a_side_is_offered_what_it_can_take() -> None:
    rates = plan.rates_per_s(plan.FULL, [100.0, 50.0])
    assert rates[0] == pytest.approx(10)
    assert [rate for rate in rates if plan.can_take(rate, 50.0)] == rates[:4]
    assert max(rate for rate in rates if plan.can_take(rate, 100.0)) > 50


def test_samples_are_counted_where_they_were_and_waiting_is_left_out() -> None:
    stacks = "\n".join(
        [
            "outer (/x/site-packages/ray/serve/a.py);dumps (/x/site-packages/ray/b/c.py) 3",
            "run (asyncio/runners.py);dumps (/x/site-packages/ray/b/c.py:12) 2",
            "work (/x/site-packages/grpc/aio/_call.py) 1",
            "wait (/x/lib/python3.11/threading.py);Condition.wait (/x/lib/python3.11/threading.py) 40",
        ]
    )
    functions, modules = profiling.innermost(stacks)
    assert functions == {"dumps (ray/b/c.py)": 5, "work (grpc/aio/_call.py)": 1}
    assert modules == {"ray/b": 5, "grpc": 1}
