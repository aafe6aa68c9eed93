"""Which moments of a video a question is about."""

from __future__ import annotations

import re

MOST_MOMENTS = 4

_CLOCK = re.compile(r"(?<![\d:])(?:(\d{1,2}):)?(\d{1,2}):(\d{2})(?![\d:])")
"""0:05, 12:30, 1:02:03."""
_NUMBER = r"(\d{1,5}(?:\.\d{1,3})?)"
_COUNTED = re.compile(rf"(?<![\d.]){_NUMBER}(?:\s*|-)(s|secs?|seconds?|mins?|minutes?)\b", re.IGNORECASE)
"""3 s, 2.5 seconds, 1 minute."""
_NAMED = re.compile(rf"\b(second|minute)\s+{_NUMBER}(?![\d:])", re.IGNORECASE)
"""second 3, minute 2."""


def moments_asked(question: str) -> tuple[float, ...]:
    """Seconds from the start that a question names, in its order, each once, at most MOST_MOMENTS."""
    found = [(match.start(), _seconds(*match.groups())) for match in _CLOCK.finditer(question)]
    found += [(match.start(), _of_unit(match[2], match[1])) for match in _COUNTED.finditer(question)]
    found += [(match.start(), _of_unit(match[1], match[2])) for match in _NAMED.finditer(question)]
    return tuple(dict.fromkeys(moment for _, moment in sorted(found)))[:MOST_MOMENTS]


def _seconds(hours: str | None, minutes: str, seconds: str) -> float:
    return 3600.0 * int(hours or 0) + 60.0 * int(minutes) + int(seconds)


def _of_unit(unit: str, number: str) -> float:
    return float(number) * (60 if unit.casefold().startswith("m") else 1)
