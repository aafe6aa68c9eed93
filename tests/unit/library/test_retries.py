"""Pauses grow, and tries are counted."""

from __future__ import annotations

from multimodal.errors import DeadlineExceeded, StageUnavailable
from multimodal.library.retries import (
    LONGEST_IDLE_S,
    LONGEST_PAUSE_S,
    MOST_FILES,
    RESTARTS,
    TIMEOUTS,
    Retries,
    pause_s,
)

AWAY, SLOW = StageUnavailable("Away."), DeadlineExceeded("Slow.")


def test_pauses_grow_up_to_a_bound() -> None:
    retries = Retries()
    delays = [retries.delay_s("a", AWAY) or 0.0 for _ in range(RESTARTS - 1)]
    assert delays == sorted(delays)
    assert delays[0] == 5.0
    assert delays[-1] == LONGEST_PAUSE_S
    assert retries.delay_s("a", AWAY) is None


def test_a_stage_that_says_how_long_it_takes_is_believed() -> None:
    assert Retries().delay_s("a", StageUnavailable.restarting("Reader")) == 30


def test_a_stage_that_takes_too_long_is_tried_less_often() -> None:
    retries = Retries()
    assert [retries.delay_s("a", SLOW) is None for _ in range(TIMEOUTS)] == [False] * (TIMEOUTS - 1) + [True]


def test_files_are_counted_apart_and_forgotten() -> None:
    retries = Retries()
    retries.delay_s("a", SLOW)
    retries.delay_s("a", SLOW)
    retries.forget("a")
    assert retries.delay_s("a", SLOW) == 5.0
    assert retries.delay_s("b", SLOW) == 5.0


def test_not_all_files_are_remembered_for_ever() -> None:
    retries = Retries()
    retries.delay_s("a", AWAY)
    for number in range(MOST_FILES):
        retries.delay_s(str(number), AWAY)
    assert retries.delay_s("a", AWAY) == 5.0


def test_the_pause_between_files_is_short_and_bounded() -> None:
    assert [pause_s(1), pause_s(2), pause_s(10_000)] == [2.0, 4.0, LONGEST_IDLE_S]
