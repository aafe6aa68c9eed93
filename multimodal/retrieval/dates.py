"""Moments and ranges of time by name. All in UTC; a range holds its beginning and not its end."""

from __future__ import annotations

import re
from datetime import UTC, datetime, time, timedelta

from multimodal.retrieval.types import Range

NAMED_RANGES = (
    "today, yesterday, this_week, this_month, this_year, last_week, last_month, last_year, last_N_hours and "
    "last_N_days"
)
"""In words."""

NAME_PATTERN = r"^(today|yesterday|(this|last)_(week|month|year)|last_[1-9][0-9]{0,3}_(hours|days))$"
"""The same as a regular expression: N is from 1 to 9999."""

_NAME = re.compile(NAME_PATTERN.replace("$", r"\Z"))
_LAST_N = re.compile(r"last_([0-9]+)_(hours|days)")
_DAY = timedelta(days=1)


def is_range_name(name: str) -> bool:
    """Whether `named_range` knows it."""
    return _NAME.match(name) is not None


def named_range(name: str, now_s: float) -> Range:
    """Unix seconds of a range by its name. Weeks begin on Monday.

    `last_7_days` is the 168 hours before now; `last_week` is the calendar week before this one. Ranges that
    reach up to now have no end: files of machines whose clock is ahead belong to them. Raises ValueError for
    an unknown name.
    """
    if not is_range_name(name):
        raise ValueError("no range has this name")
    now = datetime.fromtimestamp(now_s, UTC)
    if match := _LAST_N.match(name):
        return Range(gte=(now - timedelta(**{match[2]: int(match[1])})).timestamp())
    which, _, period = {"today": "this_day", "yesterday": "last_day"}.get(name, name).partition("_")
    start = _start(period, now)
    if which == "this":
        return Range(gte=start.timestamp())
    return Range(gte=_start(period, start - _DAY).timestamp(), lt=start.timestamp())


def _start(period: str, moment: datetime) -> datetime:
    """Of the calendar day, week, month or year that holds the moment."""
    day = datetime.combine(moment, time(), UTC)
    if period == "week":
        return day - timedelta(days=day.weekday())
    if period == "month":
        return day.replace(day=1)
    return day.replace(month=1, day=1) if period == "year" else day


def parse_moment(text: str) -> float:
    """Unix seconds of an ISO 8601 date or date and time; without an offset it is UTC. Raises ValueError."""
    moment = datetime.fromisoformat(text.upper())
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
