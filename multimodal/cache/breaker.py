"""A circuit breaker: who fails several times in a row is left alone for a while."""

from __future__ import annotations

import time
from collections.abc import Callable


class Breaker:
    """Says whether another service may be asked. Of one thread.

    It opens after some failures in a row. After a rest one call may try, the probe: what comes of it closes
    the breaker or has it rest again. Verdicts about calls that began before it opened change nothing then.

    Args:
        failures: in a row, that open it.
        rest_s: from its opening to the probe, seconds.
        on_change: told the reason of the last failure when it opens, None when it closes.
        now: seconds, monotonic.
    """

    def __init__(
        self,
        failures: int,
        rest_s: float,
        on_change: Callable[[str | None], None],
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._most = failures
        self._rest_s = rest_s
        self._on_change = on_change
        self._now = now
        self._failures = 0
        self._opened_s: float | None = None
        self._probe: Attempt | None = None

    @property
    def is_open(self) -> bool:
        """Also while a probe is under way."""
        return self._opened_s is not None

    def begin(self, *, may_probe: bool = True) -> Attempt | None:
        """None: leave it alone. Whoever gets an attempt ends it, come what may."""
        if self._opened_s is None:
            return Attempt(self)
        if not may_probe or self._probe is not None or self._now() < self._opened_s + self._rest_s:
            return None
        self._probe = Attempt(self)
        return self._probe

    def _succeeded(self, attempt: Attempt) -> None:
        if self._opened_s is None:
            self._failures = 0
        elif attempt is self._probe:
            self._opened_s, self._probe, self._failures = None, None, 0
            self._on_change(None)

    def _failed(self, attempt: Attempt, reason: str) -> None:
        if self._opened_s is None:
            self._failures += 1
            if self._failures >= self._most:
                self._opened_s = self._now()
                self._on_change(reason)
        elif attempt is self._probe:
            self._opened_s, self._probe = self._now(), None

    def _abandoned(self, attempt: Attempt) -> None:
        if attempt is self._probe:
            self._probe = None


class Attempt:
    """One call. Its first verdict counts, and no other."""

    def __init__(self, breaker: Breaker) -> None:
        self._breaker = breaker
        self._ended = False

    def succeed(self) -> None:
        """It was answered in time."""
        if self._first():
            self._breaker._succeeded(self)

    def fail(self, reason: str) -> None:
        """It was not."""
        if self._first():
            self._breaker._failed(self, reason)

    def abandon(self) -> None:
        """Nobody knows, or it was not the other side's fault. After a probe the next call probes."""
        if self._first():
            self._breaker._abandoned(self)

    def _first(self) -> bool:
        first, self._ended = not self._ended, True
        return first
