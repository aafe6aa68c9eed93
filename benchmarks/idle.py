"""What each process of a running server does while nobody asks it anything, by its role.

On machines whose cores the engine keeps busy, this is what it is interrupted by.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, TypeAlias

import psutil
import typer
from rich.table import Table

from benchmarks import processes
from benchmarks.common import run
from benchmarks.findings import Parts, console, publish
from benchmarks.memory import role

SECONDS = 20.0

PLOT = "What an idle server does"
MAIN_THREADS = "replicas, main threads"
OTHER_THREADS = "replicas, other threads"
REST = "Ray, Serve and the rest"


@dataclass(frozen=True, slots=True)
class Activity:
    """Of one or several threads, since they began or in each second."""

    cpu_ms: float = 0.0
    wakes: float = 0.0
    """How often they began to run after a wait: voluntary context switches."""

    def __add__(self, other: Activity) -> Activity:
        return Activity(self.cpu_ms + other.cpu_ms, self.wakes + other.wakes)

    def each_s(self, before: Activity, seconds: float) -> Activity:
        """Since then."""
        return Activity((self.cpu_ms - before.cpu_ms) / seconds, (self.wakes - before.wakes) / seconds)


Threads: TypeAlias = "Mapping[tuple[int, int], Activity]"
"""By process and thread; that of the number of its process is its main thread."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Idle:
    """One process in each second."""

    role: str
    is_replica: bool
    main: Activity
    """Its main thread: a process of Ray's looks there, every 10 ms, whether a signal has come."""
    others: Activity

    @property
    def total(self) -> Activity:
        """Of all its threads."""
        return self.main + self.others


def threads(found: Iterable[psutil.Process]) -> Threads:
    """All there are now, from /proc/PID/task/TID/schedstat and status."""
    return {
        (process.pid, int(task.name)): activity
        for process in found
        for task in _tasks(process.pid)
        if (activity := _read(task)) is not None
    }


def _tasks(pid: int) -> list[Path]:
    with suppress(FileNotFoundError, ProcessLookupError):
        return list(Path(f"/proc/{pid}/task").iterdir())
    return []


def _read(task: Path) -> Activity | None:
    """None where the thread has ended."""
    try:
        cpu_ns = (task / "schedstat").read_text().split()[0]
        status = (task / "status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    wakes = status.partition("\nvoluntary_ctxt_switches:")[2].split()[0]
    return Activity(int(cpu_ns) / 1e6, int(wakes))


def _line(process: psutil.Process) -> list[str]:
    """Nothing of one that has ended."""
    with suppress(psutil.NoSuchProcess):
        return process.cmdline()
    return []


def watch(found: Sequence[psutil.Process], seconds: float) -> list[Idle]:
    """What each does in `seconds`, the busiest first; without those that end meanwhile."""
    lines = {process.pid: _line(process) for process in found}
    before, started_s = threads(found), time.perf_counter()
    time.sleep(seconds)
    after, took_s = threads(found), time.perf_counter() - started_s
    spent = {key: one.each_s(before[key], took_s) for key, one in after.items() if key in before}
    idle = [
        Idle(
            role=role(line),
            is_replica="ray::ServeReplica:" in " ".join(line),
            main=spent[pid, pid],
            others=sum((one for (of, thread), one in spent.items() if of == pid != thread), Activity()),
        )
        for pid, line in lines.items()
        if (pid, pid) in spent
    ]
    return sorted(idle, key=lambda one: -one.total.cpu_ms)


def parts(found: Sequence[Idle]) -> Parts:
    """Milliseconds of CPU in each second, of replicas and of all else."""
    replicas = [one for one in found if one.is_replica]
    rest = [one for one in found if not one.is_replica]
    shares = {
        MAIN_THREADS: sum(one.main.cpu_ms for one in replicas),
        OTHER_THREADS: sum(one.others.cpu_ms for one in replicas),
        REST: sum(one.total.cpu_ms for one in rest),
    }
    return Parts(plot=PLOT, side="all processes", parts=shares, x_label="ms of CPU in each second")


def table(found: Sequence[Idle]) -> Table:
    """A row for each process, and the total."""
    result = Table("role")
    for heading in ("CPU, ms/s", "wakes/s", "main thread, ms/s", "wakes/s"):
        result.add_column(heading, justify="right")
    for one in found:
        result.add_row(one.role, *_cells(one.total, one.main))
    result.add_section()
    total = sum((one.total for one in found), Activity())
    result.add_row("total", *_cells(total, sum((one.main for one in found), Activity())), style="bold")
    return result


def _cells(*activities: Activity) -> list[str]:
    return [cell for one in activities for cell in (f"{one.cpu_ms:.1f}", f"{one.wakes:.0f}")]


def main(
    url: Annotated[str, typer.Option(help="The running server, on this machine.")] = "http://127.0.0.1:8000",
    seconds: Annotated[float, typer.Option(min=1, help="How long to watch.")] = SECONDS,
) -> None:
    """Show what every process of a running server does. Ask it nothing meanwhile."""
    root = processes.server_root(url)
    if root is None:
        raise typer.BadParameter(f"nothing on this machine listens at {url}", param_hint="--url")
    machine = processes.CpuMeter(None)
    found = watch(processes.tree(root), seconds)
    own_ms = sum(one.total.cpu_ms for one in found)
    console.print(table(found))
    facts = {"cores": round(own_ms / 1e3, 3), "wakes/s": round(sum(one.total.wakes for one in found))}
    details = {"facts": facts, "parts": [parts(found)], "processes": [asdict(one) for one in found]}
    publish("idle", [], details, max(0.0, machine.cores() - own_ms / 1e3))


if __name__ == "__main__":
    run(main)
