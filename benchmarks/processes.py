"""The processes of a server on this machine, found from the port that it listens on."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from urllib.parse import urlsplit

import psutil

IDLE_CHECK_S = 3.0

TICK_S = 1 / os.sysconf("SC_CLK_TCK")
"""CPU time is counted in these."""


def server_root(url: str) -> psutil.Process | None:
    """The process that started everything behind `url`; None where nothing on this machine listens there."""
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    for connection in psutil.net_connections(kind="tcp"):
        listens = connection.status == psutil.CONN_LISTEN and connection.laddr[1:] == (port,)
        if listens and connection.pid is not None:
            return _root_above(psutil.Process(connection.pid))
    return None


def _root_above(listener: psutil.Process) -> psutil.Process:
    """Serve's proxy is a child of the raylet, that of `serve run`, and that of `multimodal serve`."""
    chain = [listener, *listener.parents()]
    names = [process.name() for process in chain]
    if "raylet" not in names:
        return listener
    index = names.index("raylet")
    if index + 1 < len(chain) and chain[index + 1].pid != 1:
        index += 1
    if index + 1 < len(chain) and is_launcher(chain[index + 1].cmdline()):
        index += 1
    return chain[index]


def is_launcher(command: Sequence[str]) -> bool:
    """Whether a command line is that of `multimodal serve`."""
    before, _, rest = " ".join(command).partition(" serve")
    return before.endswith(("/multimodal", "multimodal.cli")) and (not rest or rest.startswith(" "))


def tree(root: psutil.Process) -> list[psutil.Process]:
    """`root` and everything below it; empty once it has ended."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return [root, *root.children(recursive=True)]
    return []


def cpu_s(processes: Iterable[psutil.Process]) -> float:
    """CPU time of the processes so far, user and system, seconds."""
    total = 0.0
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            total += times.user + times.system
    return total


def niceness(processes: Iterable[psutil.Process]) -> int:
    """The highest of some processes, 0 without any."""
    found = 0
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            found = max(found, int(process.nice()))
    return found


class CpuMeter:
    """Cores kept busy, on average, from its start to `cores()`: by some processes, or by all the machine."""

    def __init__(self, processes: Sequence[psutil.Process] | None) -> None:
        self._processes = processes
        self._started_s = time.perf_counter()
        self._cpu_s = self._read_s()

    def cores(self) -> float:
        """CPU seconds for each second."""
        return self.cpu_s() / (time.perf_counter() - self._started_s)

    def cpu_s(self) -> float:
        """CPU seconds so far."""
        return max(0.0, self._read_s() - self._cpu_s)

    def _read_s(self) -> float:
        return machine_cpu_s() if self._processes is None else cpu_s(self._processes)


class Watch:
    """Who keeps the machine busy, from its start to `cores()`."""

    def __init__(self, sides: Mapping[str, Sequence[psutil.Process]]) -> None:
        self._everything = CpuMeter(None)
        self._sides = {name: CpuMeter(side) for name, side in sides.items()}

    def cores(self) -> dict[str, float]:
        """Cores on average, by side; "others" are of no side: much of that makes a turn worthless."""
        found = {name: meter.cores() for name, meter in self._sides.items()}
        return found | {"others": max(0.0, self._everything.cores() - sum(found.values()))}


def machine_cpu_s() -> float:
    """CPU time of everything since the machine started, seconds."""
    times = psutil.cpu_times()
    # Each is separate on Linux: `user` is without processes of lower priority, as Ray's workers are.
    return times.user + times.nice + times.system + times.irq + times.softirq + times.steal


def idle_cores(processes: Sequence[psutil.Process], seconds: float = IDLE_CHECK_S) -> float:
    """What the processes use while nobody asks them anything, cores."""
    meter = CpuMeter(processes)
    time.sleep(seconds)
    return meter.cores()
