"""Signals that ask a server to stop."""

from __future__ import annotations

import signal
from collections.abc import Callable
from types import FrameType, TracebackType


class StopSignals:
    """SIGINT, SIGTERM and SIGHUP ask to stop; the second one insists."""

    def __init__(self) -> None:
        self._count = 0
        self._previous: dict[signal.Signals, Callable[[int, FrameType | None], object] | int | None] = {}

    @property
    def requested(self) -> bool:
        """Somebody asked."""
        return self._count > 0

    def insisted(self) -> bool:
        """Somebody asked again."""
        return self._count > 1

    def __enter__(self) -> StopSignals:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            previous = signal.getsignal(number)
            if number is signal.SIGHUP and previous == signal.SIG_IGN:
                continue  # nohup: this terminal's end is not ours
            self._previous[number] = previous
            signal.signal(number, self._count_one)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, previous in self._previous.items():
            signal.signal(number, previous)

    def _count_one(self, number: int, frame: FrameType | None) -> None:
        self._count += 1
