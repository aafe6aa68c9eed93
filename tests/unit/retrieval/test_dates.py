"""Moments and named ranges of time."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multimodal.retrieval.dates import NAME_PATTERN, is_range_name, named_range, parse_moment
from multimodal.retrieval.types import Range

NOW = "2024-05-15T13:30:00Z"  # a Wednesday
NOW_S = datetime.fromisoformat(NOW).timestamp()
MOMENTS = st.datetimes(datetime(1971, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC))


@pytest.mark.parametrize(
    ("name", "begin", "end"),
    [
        ("today", "2024-05-15", None),
        ("yesterday", "2024-05-14", "2024-05-15"),
        ("this_week", "2024-05-13", None),
        ("this_month", "2024-05-01", None),
        ("this_year", "2024-01-01", None),
        ("last_week", "2024-05-06", "2024-05-13"),
        ("last_month", "2024-04-01", "2024-05-01"),
        ("last_year", "2023-01-01", "2024-01-01"),
        ("last_24_hours", "2024-05-14T13:30", None),
        ("last_1_days", "2024-05-14T13:30", None),
        ("last_7_days", "2024-05-08T13:30", None),
        ("last_30_days", "2024-04-15T13:30", None),
        ("last_9999_days", "1996-12-29T13:30", None),
    ],
)
def test_named_ranges_are_in_utc(name: str, begin: str, end: str | None) -> None:
    expected = Range(gte=parse_moment(begin), lt=None if end is None else parse_moment(end))
    assert named_range(name, NOW_S) == expected


@pytest.mark.parametrize(
    "name",
    [
        "",
        "Today",
        "tomorrow",
        "last_0_days",
        "last_07_days",
        "last_10000_days",
        "last_7_days\n",
        "last_x_days",
    ],
)
def test_other_names_are_no_ranges(name: str) -> None:
    assert not is_range_name(name)
    with pytest.raises(ValueError, match="no range"):
        named_range(name, NOW_S)


@given(st.from_regex(NAME_PATTERN.replace("$", r"\Z")), MOMENTS)
def test_every_range_begins_before_it_ends_and_that_is_not_in_the_future(name: str, now: datetime) -> None:
    found = named_range(name, now.timestamp())
    assert found.gte is not None
    assert found.gte < (found.lt or now.timestamp() + 1) <= now.timestamp() + 1


@given(st.integers(1, 9998), st.sampled_from(["hours", "days"]), MOMENTS)
def test_longer_ranges_hold_shorter_ones(count: int, unit: str, now: datetime) -> None:
    shorter = named_range(f"last_{count}_{unit}", now.timestamp())
    longer = named_range(f"last_{count + 1}_{unit}", now.timestamp())
    assert shorter.gte is not None
    assert longer.gte is not None
    assert longer.gte < shorter.gte < now.timestamp()


@given(st.sampled_from(["day", "week", "month", "year"]), MOMENTS)
def test_a_period_ends_where_the_next_one_begins(period: str, now: datetime) -> None:
    this, last = ("today", "yesterday") if period == "day" else (f"this_{period}", f"last_{period}")
    begin = named_range(this, now.timestamp()).gte
    before = named_range(last, now.timestamp())
    assert before.lt == begin
    assert begin is not None
    # What is last now was this just before it ended.
    assert named_range(this, begin - 1).gte == before.gte


@given(
    st.datetimes(datetime(1, 1, 2), timezones=st.just(UTC)),
    st.integers(-14 * 60, 14 * 60),
    st.booleans(),
)
def test_a_moment_is_read_as_it_was_written(moment: datetime, minutes: int, zulu: bool) -> None:
    if zulu:
        text = moment.isoformat().replace("+00:00", "Z")
    else:
        zone = timezone(timedelta(minutes=minutes))
        text = (moment.replace(tzinfo=zone)).isoformat()
        moment = moment.replace(tzinfo=zone)
    assert parse_moment(text) == moment.timestamp()
    assert parse_moment(text.lower()) == moment.timestamp()


def test_without_an_offset_it_is_utc() -> None:
    assert parse_moment("1970-01-02") == 86_400
    assert parse_moment("1970-01-02T00:00:30") == 86_430


@pytest.mark.parametrize("text", ["", "yesterday", "2024-02-30", "2024-13-01", "12:00", "1700000000.5"])
def test_what_is_no_moment_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse_moment(text)


def test_the_pattern_is_one_of_json_schema_too() -> None:
    assert re.match(NAME_PATTERN, "last_30_days")
