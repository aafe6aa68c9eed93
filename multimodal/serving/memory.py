"""How much memory this process may still use: the machine's, or its control group's if that is less."""

from __future__ import annotations

import resource
from pathlib import Path

import psutil

_CGROUPS = Path("/sys/fs/cgroup")
_OWN_CGROUP = Path("/proc/self/cgroup")


def available_bytes() -> int:
    """Memory that can be taken without swapping, bytes."""
    return min([psutil.virtual_memory().available, *_limits(_own_cgroup())])


def address_space_bytes() -> int | None:
    """The limit that `ulimit -v` sets, bytes; None without one."""
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    return None if soft == resource.RLIM_INFINITY else soft


def _own_cgroup(listing: Path = _OWN_CGROUP, root: Path = _CGROUPS) -> Path:
    """Folder of this process's control group (version 2; the root where there is none)."""
    try:
        lines = listing.read_text(encoding="ascii").splitlines()
    except OSError:
        return root
    path = next((line.removeprefix("0::/") for line in lines if line.startswith("0::/")), "")
    return root / path


def _limits(group: Path, root: Path = _CGROUPS) -> list[int]:
    """What each control group on the way up leaves, bytes."""
    groups = [group, *(parent for parent in group.parents if parent.is_relative_to(root))]
    return [left for folder in groups if (left := _left_bytes(folder)) is not None]


def _left_bytes(group: Path) -> int | None:
    """Limit minus use; pages of files that can be dropped count as free, as they do for the machine."""
    try:
        limit = (group / "memory.max").read_text(encoding="ascii").strip()
        used = int((group / "memory.current").read_text(encoding="ascii"))
        statistics = (group / "memory.stat").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    if limit == "max":
        return None
    droppable = sum(int(line.split()[1]) for line in statistics if line.startswith("inactive_file "))
    return max(0, int(limit) - used + droppable)
