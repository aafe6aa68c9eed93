from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from types import SimpleNamespace

import psutil
import pytest

from benchmarks import processes


def test_the_listener_of_a_port_is_found() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        root = processes.server_root(url)
        assert root is not None
        assert root.pid == os.getpid()
    assert processes.server_root(url) is None


def test_a_tree_has_every_descendant_and_none_once_it_has_ended() -> None:
    inner = "import time; print(flush=True); time.sleep(60)"
    outer = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {inner!r}])"
    with subprocess.Popen([sys.executable, "-c", outer], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        root = psutil.Process(process.pid)
        found = processes.tree(root)
        for one in found:
            one.kill()
    psutil.wait_procs(found)
    assert len(found) == 2
    assert processes.tree(root) == []
    assert processes.cpu_s(found) == 0


def test_a_busy_process_is_told_from_an_idle_one() -> None:
    own, machine = processes.CpuMeter([psutil.Process()]), processes.CpuMeter(None)
    until_s = time.process_time() + 0.2
    while time.process_time() < until_s:
        pass
    assert own.cores() > 0
    assert machine.cores() > 0
    waiting = "print('ready', flush=True); input()"
    command = [sys.executable, "-c", waiting]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.readline()
        assert processes.idle_cores([psutil.Process(process.pid)], seconds=0.1) < 0.5
        process.stdin.write(b"\n")


def test_processes_of_lower_priority_count_and_waiting_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    times = SimpleNamespace(user=1, nice=2, system=4, irq=8, softirq=16, steal=32, idle=64, iowait=128)
    monkeypatch.setattr(psutil, "cpu_times", lambda: times)
    assert processes.machine_cpu_s() == 63


def test_niceness_is_the_highest_of_the_processes_that_live() -> None:
    command = ["nice", "-n", "7", sys.executable, "-c", "print(flush=True); input()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.readline()
        both = [psutil.Process(), psutil.Process(process.pid)]
        found = processes.niceness(both)
        process.stdin.write(b"\n")
    assert found == min(19, int(both[0].nice()) + 7)
    assert processes.niceness([]) == 0
