"""Ending a tree of processes completely.

Ray and vLLM start processes that start processes, some in sessions of their own. A *subreaper* (prctl(2))
becomes the parent of every orphan below it, so that all of them stay within its tree and none can be missed.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import time

import psutil

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
"""Numbers from linux/prctl.h."""

_POLL_S = 0.05


def become_subreaper() -> None:
    """Orphans below this process become its children."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def die_with_parent(sig: signal.Signals) -> None:
    """Have the kernel send `sig` to this process when the thread that started it ends."""
    _prctl(_PR_SET_PDEATHSIG, sig)


def give_way() -> None:
    """This process, and all that it starts from now on, gets the time of the processor that others leave.

    SCHED_IDLE, sched(7): where all cores are busy, some percent beside a process of Ray's niceness. Raises
    OSError where the kernel does not have it, or does not allow it.
    """
    for thread in os.listdir("/proc/self/task"):
        with contextlib.suppress(ProcessLookupError):  # it has ended meanwhile
            os.sched_setscheduler(int(thread), os.SCHED_IDLE, os.sched_param(0))


def reap_orphans(own_child: int | None = None) -> None:
    """Collect orphans that became ours and have ended, but not `own_child`, whose owner does that."""
    with contextlib.suppress(ChildProcessError):
        while (ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) is not None:
            if ended.si_pid == own_child:
                return
            os.waitpid(ended.si_pid, os.WNOHANG)


def end_descendants(grace_s: float) -> None:
    """End every process below this one, and those that start meanwhile; after `grace_s`, kill them."""
    deadline = time.monotonic() + grace_s
    asked: set[int] = set()
    while running := _running_descendants():
        late = time.monotonic() >= deadline
        for process in running:
            if late or process.pid not in asked:
                asked.add(process.pid)
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.send_signal(signal.SIGKILL if late else signal.SIGTERM)
        time.sleep(_POLL_S)


def _running_descendants() -> list[psutil.Process]:
    reap_orphans()
    return [process for process in psutil.Process().children(recursive=True) if not _has_ended(process)]


def _has_ended(process: psutil.Process) -> bool:
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def _prctl(option: int, value: int) -> None:
    library = ctypes.CDLL(None, use_errno=True)
    if library.prctl(option, ctypes.c_ulong(value), 0, 0, 0) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
