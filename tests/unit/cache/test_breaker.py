"""The circuit breaker, with a clock that tests move."""

from __future__ import annotations

from dataclasses import dataclass, field

from multimodal.cache.breaker import Attempt, Breaker

REST_S = 5.0


@dataclass
class Bench:
    """A breaker that opens after three failures."""

    now_s: float = 100.0
    changes: list[str | None] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.breaker = Breaker(3, REST_S, self.changes.append, lambda: self.now_s)

    def begin(self) -> Attempt:
        attempt = self.breaker.begin()
        assert attempt is not None
        return attempt

    def open(self) -> None:
        for _ in range(3):
            self.begin().fail("timeout")
        assert self.breaker.is_open


def test_failures_in_a_row_open_it_and_the_reason_is_told() -> None:
    bench = Bench()
    bench.begin().fail("timeout")
    bench.begin().fail("timeout")
    assert not bench.breaker.is_open
    bench.begin().fail("connection")
    assert bench.breaker.is_open
    assert bench.changes == ["connection"]
    assert bench.breaker.begin() is None


def test_a_success_between_failures_starts_the_count_again() -> None:
    bench = Bench()
    for _ in range(5):
        bench.begin().fail("timeout")
        bench.begin().fail("timeout")
        bench.begin().succeed()
    assert not bench.changes


def test_what_nobody_knows_neither_counts_nor_starts_the_count_again() -> None:
    bench = Bench()
    for _ in range(9):
        bench.begin().abandon()
    assert not bench.breaker.is_open
    bench.begin().fail("timeout")
    bench.begin().fail("timeout")
    bench.begin().abandon()
    bench.begin().fail("timeout")
    assert bench.breaker.is_open


def test_the_first_verdict_counts_alone() -> None:
    bench = Bench()
    attempt = bench.begin()
    for _ in range(9):
        attempt.fail("timeout")
    assert not bench.breaker.is_open
    attempt.succeed()
    bench.begin().fail("timeout")
    bench.begin().fail("timeout")
    assert bench.breaker.is_open


def test_it_rests_and_then_lets_exactly_one_call_try() -> None:
    bench = Bench()
    bench.open()
    bench.now_s += REST_S - 0.001
    assert bench.breaker.begin() is None
    bench.now_s += 0.001
    probe = bench.begin()
    assert bench.breaker.begin() is None
    bench.now_s += 10 * REST_S
    assert bench.breaker.begin() is None
    probe.succeed()
    assert not bench.breaker.is_open
    assert bench.changes == ["timeout", None]
    assert bench.breaker.begin() is not bench.breaker.begin()


def test_after_a_probe_that_fails_it_rests_again_and_says_nothing_new() -> None:
    bench = Bench()
    bench.open()
    for _ in range(3):
        bench.now_s += REST_S
        bench.begin().fail("timeout")
        assert bench.breaker.begin() is None
        bench.now_s += REST_S - 0.001
        assert bench.breaker.begin() is None
        bench.now_s += 0.001
    assert bench.changes == ["timeout"]


def test_after_a_probe_that_came_to_nothing_the_next_call_probes() -> None:
    bench = Bench()
    bench.open()
    bench.now_s += REST_S
    bench.begin().abandon()
    assert bench.breaker.is_open
    bench.begin().succeed()
    assert not bench.breaker.is_open


def test_the_count_starts_again_when_it_has_closed() -> None:
    bench = Bench()
    bench.open()
    bench.now_s += REST_S
    bench.begin().succeed()
    bench.begin().fail("timeout")
    bench.begin().fail("timeout")
    assert not bench.breaker.is_open


def test_calls_from_before_it_opened_neither_close_nor_prolong_it() -> None:
    bench = Bench()
    early = [bench.begin() for _ in range(3)]
    bench.open()
    early[0].succeed()
    assert bench.breaker.is_open
    bench.now_s += REST_S / 2
    early[1].fail("timeout")
    bench.now_s += REST_S / 2
    probe = bench.begin()
    early[2].succeed()
    assert bench.breaker.is_open
    probe.succeed()
    assert not bench.breaker.is_open


def test_whoever_must_not_probe_waits_until_it_has_closed() -> None:
    bench = Bench()
    assert bench.breaker.begin(may_probe=False) is not None
    bench.open()
    bench.now_s += REST_S
    assert bench.breaker.begin(may_probe=False) is None
    bench.begin().succeed()
    assert bench.breaker.begin(may_probe=False) is not None
