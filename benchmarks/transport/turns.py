"""What is measured in one turn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

Kind: TypeAlias = Literal["call", "hand-over"]
"""`call`: an argument of this size, a small result. `hand-over`: the result of one deployment is the argument
of another, as with a medium in deployments/graph.py."""

Way: TypeAlias = Literal["value", "reference"]
"""`value`: over gRPC. `reference`: through Ray's object store."""

KINDS: tuple[Kind, ...] = get_args(Kind)
WAYS: tuple[Way, ...] = get_args(Way)

KIB, MIB = 2**10, 2**20

SIZES_BYTES = (64, KIB, 8 * KIB, 64 * KIB, 256 * KIB, MIB, 2 * MIB, 3 * MIB, 6 * MIB, 16 * MIB)
"""The largest is 16 frames of 592 x 592 pixels, RGB."""
MANY = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """Calls of one kind and size."""

    kind: Kind
    size_bytes: int
    at_once: int = 1
    """Calls that are on their way at the same time."""

    def __str__(self) -> str:
        together = f", {self.at_once} at once" if self.at_once > 1 else ""
        return f"{self.kind} of {size_name(self.size_bytes)}{together}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """Some calls, one way."""

    case: Case
    way: Way
    calls: int


CASES = (
    *(Case(kind=kind, size_bytes=size_bytes) for kind in KINDS for size_bytes in SIZES_BYTES),
    *(Case(kind=kind, size_bytes=SIZES_BYTES[0], at_once=MANY) for kind in KINDS),
)


def size_name(size_bytes: float) -> str:
    """In the largest unit of which there is one."""
    for unit, name in ((MIB, "MiB"), (KIB, "KiB")):
        if size_bytes >= unit:
            return f"{size_bytes / unit:.3g} {name}"
    return f"{size_bytes:.3g} B"
