"""How many threads to train with on a machine that others use too.

Two threads of which one must wait for its core are slower than one: every operation ends with the last.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import torch

_BUSY_CORES = 0.35
"""Others are in the way when they use more than this."""


class Threads:
    """Uses one thread while others keep a core busy, else as many as there are cores, at most two."""

    def __init__(self, stat: Path = Path("/proc/stat")) -> None:
        self._stat, self._most = stat, min(2, os.cpu_count() or 1)
        self._marked = self._now()

    def adjust(self) -> int:
        """Call it every few steps; sets and returns the number of threads for the next ones."""
        marked, self._marked = self._marked, self._now()
        wall_s, own_s, all_s = (now - then for now, then in zip(self._marked, marked, strict=True))
        others = max(0.0, all_s - own_s) / max(wall_s, 1e-6)
        count = self._most if others < _BUSY_CORES else 1
        torch.set_num_threads(count)
        return count

    def _now(self) -> tuple[float, float, float]:
        """Wall, own and the whole machine's processor time, in seconds."""
        if not self._stat.is_file():
            return time.monotonic(), time.process_time(), time.process_time()
        ticks = [
            int(value) for value in self._stat.read_text(encoding="ascii").split("\n", 1)[0].split()[1:9]
        ]
        busy = sum(ticks) - ticks[3] - ticks[4]
        return time.monotonic(), time.process_time(), busy / os.sysconf("SC_CLK_TCK")
