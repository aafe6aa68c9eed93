"""Memory of each process of a running server, by its role."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import PurePath
from typing import Annotated

import psutil
import typer
from rich.console import Console
from rich.table import Table

from benchmarks import processes
from benchmarks.common import run, write_results

MIB = 1024 * 1024

ROLES: Sequence[tuple[str, str]] = (
    (r"^ray::ServeReplica:[^:]+:(\w+)", r"\1"),
    (r"^ray::ProxyActor", "Serve proxy"),
    (r"^ray::ServeController", "Serve controller"),
    (r"^ray::IDLE", "Ray idle worker"),
    (r"^ray::(\w+)", r"Ray \1"),
    (r"^VLLM::(\w+)", r"vLLM \1"),
    (r"^ray-dashboard-", "Ray dashboard"),
    (r"/gcs_server( |$)", "Ray gcs_server"),
    (r"/raylet( |$)", "Ray raylet"),
    (r"/dashboard/dashboard\.py", "Ray dashboard"),
    (r"/_private/log_monitor\.py", "Ray log monitor"),
    (r"/autoscaler/_private/monitor\.py", "Ray autoscaler monitor"),
    (r"multimodal\.media\.worker", "MediaLoader decoder"),
    (r"deployments\.serve_run|/serve run ", "serve run"),
    (r"from multiprocessing\.(\w+) import", r"multiprocessing \1"),
)
"""Pattern in a command line -> role. Ray and vLLM name their processes by their titles."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessMemory:
    """One process, bytes."""

    pid: int
    role: str
    pss_bytes: int | None
    """Proportional set size: a page shared by n processes counts 1/n, so the sum is what all of them take."""
    uss_bytes: int | None
    """Pages of this process alone: what ending it would free. None, as PSS, where the kernel hides them."""
    rss_bytes: int
    """Resident pages; shared ones count in full in every process."""

    @property
    def share_bytes(self) -> int:
        """PSS, else RSS."""
        return self.rss_bytes if self.pss_bytes is None else self.pss_bytes


def role(command: Sequence[str]) -> str:
    """What a process is, from its command line."""
    if processes.is_launcher(command):
        return "multimodal serve"
    line = " ".join(command)
    for pattern, name in ROLES:
        if found := re.search(pattern, line):
            return found.expand(name)
    return PurePath(command[0].split(" ", 1)[0]).name if command and command[0] else "unknown"


def read(process: psutil.Process) -> ProcessMemory | None:
    """Its memory now; None when it has ended."""
    try:
        command, rss_bytes = process.cmdline(), process.memory_info().rss
        try:
            # From /proc/PID/smaps_rollup.
            full = process.memory_full_info()
        except psutil.AccessDenied:
            full = None
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return None
    return ProcessMemory(
        pid=process.pid,
        role=role(command),
        pss_bytes=None if full is None else full.pss,
        uss_bytes=None if full is None else full.uss,
        rss_bytes=rss_bytes,
    )


def by_role(found: Iterable[ProcessMemory]) -> list[tuple[str, list[ProcessMemory]]]:
    """Roles with their processes, the largest role first."""
    groups: dict[str, list[ProcessMemory]] = {}
    for one in found:
        groups.setdefault(one.role, []).append(one)
    return sorted(groups.items(), key=lambda item: -sum(one.share_bytes for one in item[1]))


def table(found: Sequence[ProcessMemory]) -> Table:
    """A row for each role, in MiB, and the total."""
    result = Table("role", show_footer=False)
    for heading in ("processes", "PSS MiB", "USS MiB", "RSS MiB"):
        result.add_column(heading, justify="right")
    for name, group in by_role(found):
        result.add_row(name, *_cells(group))
    result.add_section()
    result.add_row("total", *_cells(found), style="bold")
    return result


def _cells(group: Sequence[ProcessMemory]) -> list[str]:
    pss = [one.pss_bytes for one in group if one.pss_bytes is not None]
    uss = [one.uss_bytes for one in group if one.uss_bytes is not None]
    rss = [one.rss_bytes for one in group]
    complete = len(pss) == len(group)
    return [
        str(len(group)),
        f"{sum(pss) / MIB:.0f}" if complete else "?",
        f"{sum(uss) / MIB:.0f}" if complete else "?",
        f"{sum(rss) / MIB:.0f}",
    ]


def main(
    url: Annotated[str, typer.Option(help="The running server, on this machine.")] = "http://127.0.0.1:8000",
    pid: Annotated[int | None, typer.Option(help="Its launcher; default: found from the port.")] = None,
) -> None:
    """Show the memory of every process of a running server."""
    root = psutil.Process(pid) if pid else processes.server_root(url)
    if root is None:
        raise typer.BadParameter(f"nothing on this machine listens at {url}", param_hint="--url")
    found = [one for process in processes.tree(root) if (one := read(process)) is not None]
    console = Console()
    console.print(table(found))
    results = {
        "total_bytes": sum(one.share_bytes for one in found),
        "roles": {name: sum(one.share_bytes for one in group) for name, group in by_role(found)},
        "processes": [asdict(one) for one in found],
    }
    console.print(f"Results: {write_results('memory', results)}")


if __name__ == "__main__":
    run(main)
