"""CPU time of a server by hop: by the processes that a request goes through, and the rest.

A hop's time is all that its process used: our code, Serve's replica and router, Ray's worker and its threads.
What Ray's own processes use, asked or not, stands beside it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress

import psutil

from benchmarks import processes
from benchmarks.memory import role

PROXY, RAY, REST = "proxy", "Ray", "rest"
ON_THE_WAY = ("Gateway", "MediaLoader", "ImageEncoder", "Reader", "VisionTower", "Generator")
HOPS = (PROXY, *ON_THE_WAY, RAY, REST)
"""In the order of a request."""

_PROXIES = frozenset({"haproxy", "Serve proxy", "Ray HAProxyManager"})
_RAYS = ("Ray ", "Serve ")


def hop(name: str) -> str:
    """Of a process, by its role in `benchmarks.memory`. Replicas that a chat with a picture does not call are
    in the rest, as is all of a server that is one process."""
    if name in _PROXIES:
        return PROXY
    if name in ON_THE_WAY:
        return name
    return RAY if name.startswith(_RAYS) else REST


class HopMeter:
    """From its start to `cpu_s()`."""

    def __init__(self, found: Sequence[psutil.Process]) -> None:
        self._hops: dict[psutil.Process, str] = {}
        for process in found:
            with suppress(psutil.NoSuchProcess):
                self._hops[process] = hop(role(process.cmdline()))
        self._before_s = {process: processes.cpu_s([process]) for process in self._hops}

    def cpu_s(self) -> Mapping[str, float]:
        """CPU seconds of each hop since then; one that has no process is not there."""
        spent_s: dict[str, float] = {}
        for process, name in self._hops.items():
            since_s = max(0.0, processes.cpu_s([process]) - self._before_s[process])
            spent_s[name] = spent_s.get(name, 0.0) + since_s
        return {name: spent_s[name] for name in HOPS if name in spent_s}
