"""Ends vLLM's processes when the process that started them is gone.

vLLM 0.32 leaves its engine process running, with the whole KV cache, when its front end is killed. vLLM calls
`die_with_parent` in every process of its own, through the entry point group `vllm.general_plugins`.
"""

from __future__ import annotations

import multiprocessing
import os
import select
import signal
import threading


def die_with_parent() -> None:
    """Watch the parent, where this is a child that `multiprocessing` started (once for each process)."""
    parent = multiprocessing.parent_process()
    if parent is None or _watched.is_set():
        return
    _watched.set()
    threading.Thread(target=_watch, args=(parent.sentinel,), name="die-with-parent", daemon=True).start()


def _watch(parent_sentinel: int) -> None:
    # Hang-up only: the pipe may also hold data that this process has not read yet.
    poll = select.poll()
    poll.register(parent_sentinel, 0)
    poll.poll()
    # The engine may be inside a kernel that never looks at signals that can be handled.
    os.kill(os.getpid(), signal.SIGKILL)


_watched = threading.Event()
