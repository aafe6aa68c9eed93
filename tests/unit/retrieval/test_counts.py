"""Counts are remembered, and never out of date."""

from __future__ import annotations

from multimodal.retrieval.counts import Counts


def test_a_count_is_remembered_until_the_tenant_writes() -> None:
    counts, asked = Counts(), []

    def count() -> int:
        asked.append(1)
        return len(asked)

    assert [counts.get("ann", 7, count), counts.get("ann", 7, count)] == [1, 1]
    counts.forget(["bob"])
    assert counts.get("ann", 7, count) == 1
    counts.forget(["ann"])
    assert counts.get("ann", 7, count) == 2
    assert counts.get("bob", 7, count) == 3


def test_a_count_that_was_overtaken_by_a_write_is_not_remembered() -> None:
    counts = Counts()

    def overtaken() -> int:
        counts.forget(["ann"])
        return 1

    assert counts.get("ann", 7, overtaken) == 1
    assert counts.get("ann", 7, lambda: 2) == 2


def test_where_others_write_too_a_count_lasts_for_its_lifetime_and_nothing_is_asked_again() -> None:
    now_s = 100.0
    counts = Counts(60.0, lambda: now_s)
    assert counts.get("ann", 7, lambda: 0) == 0
    assert counts.get("ann", 7, lambda: 1) == 1
    now_s = 159.9
    assert counts.get("ann", 7, lambda: 2) == 1
    now_s = 160.0
    assert counts.get("ann", 7, lambda: 2) == 2
    counts.forget(["ann"])
    assert counts.get("ann", 7, lambda: 3) == 3


def test_what_is_remembered_is_bounded() -> None:
    counts = Counts()
    for number in range(20_000):
        assert counts.get("ann", number, lambda: 1) == 1
        assert counts.get(str(number), 0, lambda: 1) == 1
    assert sum(map(len, counts._known.values())) < 10_000
