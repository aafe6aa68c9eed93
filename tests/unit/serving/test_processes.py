"""A process that gives way to others."""

from __future__ import annotations

import subprocess
import sys

CHILD = "import os; print(os.sched_getscheduler(0) == os.SCHED_IDLE)"
SCRIPT = f"""
import os, subprocess, sys, threading
from multimodal.serving.processes import give_way

def say():
    print(os.sched_getscheduler(0) == os.SCHED_IDLE)

gate = threading.Event()
earlier = threading.Thread(target=lambda: (gate.wait(), say()))
earlier.start()
say()
give_way()
say()
gate.set()
earlier.join()
later = threading.Thread(target=say)
later.start()
later.join()
sys.stdout.flush()
subprocess.run([sys.executable, "-c", {CHILD!r}], check=True)
"""


def test_all_threads_and_processes_give_way() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True, timeout=60
    )
    before, itself, earlier, later, child = done.stdout.split()
    assert before == "False"
    assert (itself, earlier, later, child) == ("True",) * 4
