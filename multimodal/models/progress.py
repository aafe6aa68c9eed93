"""How a pull tells how far it is."""

from __future__ import annotations

from enum import StrEnum
from typing import Protocol


class Step(StrEnum):
    """What a pull is doing."""

    WAITING = "waiting for another pull"
    DOWNLOADING = "downloading"
    UNPACKING = "unpacking"
    BUILDING = "building"
    CHECKING = "checking"


class Progress(Protocol):
    """Called often, from one thread at a time."""

    def __call__(self, step: Step, done_bytes: int, total_bytes: int) -> None:
        """`total_bytes` is 0 while it is unknown."""
        ...


def silent(step: Step, done_bytes: int, total_bytes: int) -> None:
    """A Progress for callers that show none."""
