"""The processes of a server on this machine, found from the port that it listens on."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Sequence
from urllib.parse import urlsplit

import psutil

IDLE_CHECK_S = 3.0


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


class CpuMeter:
    """Cores that some processes keep busy, on average, from its start to `cores()`."""

    def __init__(self, processes: Sequence[psutil.Process]) -> None:
        self._processes = processes
        self._started_s = time.perf_counter()
        self._cpu_s = cpu_s(processes)

    def cores(self) -> float:
        """CPU seconds for each second."""
        used_s = cpu_s(self._processes) - self._cpu_s
        return max(0.0, used_s) / (time.perf_counter() - self._started_s)


def idle_cores(processes: Sequence[psutil.Process], seconds: float = IDLE_CHECK_S) -> float:
    """What the processes use while nobody asks them anything, cores."""
    meter = CpuMeter(processes)
    time.sleep(seconds)
    return meter.cores()
