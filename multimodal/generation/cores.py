"""Which cores an engine on a CPU runs on."""

from __future__ import annotations

import os

CORES = "cores"
"""In vLLM's additional_config: what `engine_cores` has found."""


def engine_cores(wanted: str | None) -> list[int]:
    """Those of `wanted`, such as "0-3,8", that this process may use; None: all that it may use.

    Raises ValueError where there are none.
    """
    usable = os.sched_getaffinity(0)
    found = sorted(usable if wanted is None else usable & _parsed(wanted))
    if not found:
        here = ", ".join(map(str, sorted(usable)))
        raise ValueError(f"generator.cores is {wanted!r}, and the cores that this process may use are {here}")
    return found


def _parsed(wanted: str) -> set[int]:
    cores: set[int] = set()
    for span in wanted.split(","):
        first, _, last = span.partition("-")
        cores.update(range(int(first), int(last or first) + 1))
    return cores
