"""A side whose turn it is not does nothing at all: engines poll for a while after their last step, and Ray is
never quite idle."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

import psutil


@contextmanager
def stopped(processes: Sequence[psutil.Process]) -> Iterator[None]:
    """SIGSTOP now, SIGCONT when the block is left."""
    try:
        _each(processes, psutil.Process.suspend)
        yield
    finally:
        _each(processes, psutil.Process.resume)


def end_in_order() -> None:
    """From now on SIGTERM leaves blocks as any exception does: stopped processes go on, and are ended."""
    signal.signal(signal.SIGTERM, _exit)


def _exit(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def _each(processes: Sequence[psutil.Process], do: Callable[[psutil.Process], None]) -> None:
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            do(process)
