from __future__ import annotations

import subprocess
import sys

import psutil
import pytest
import typer

from benchmarks import idle, processes
from benchmarks.idle import Activity, Idle
from benchmarks.plot_data import checked_parts

WAKES_UP = """
import threading, time
def often():
    while True:
        time.sleep(0.01)
threading.Thread(target=often, daemon=True).start()
print("ready", flush=True)
input()
"""


def test_it_is_seen_which_thread_wakes_up() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", WAKES_UP], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.readline()
        (found,) = idle.watch([psutil.Process(process.pid)], 0.5)
        process.stdin.write(b"\n")
    assert found.others.wakes > found.main.wakes
    assert found.total.wakes == found.main.wakes + found.others.wakes
    assert found.total.cpu_ms > 0
    assert not found.is_replica


def test_a_process_that_has_ended_is_left_out() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        there = psutil.Process(process.pid)
    assert idle.watch([there], 0.01) == []


def of(role: str, *, replica: bool, main: float, others: float) -> Idle:
    return Idle(role=role, is_replica=replica, main=Activity(main, 100), others=Activity(others, 50))


def test_replicas_are_told_from_what_serves_them() -> None:
    found = [
        of("Gateway", replica=True, main=5.0, others=2.0),
        of("Reader", replica=True, main=4.0, others=1.0),
        of("Ray raylet", replica=False, main=3.0, others=3.5),
    ]
    assert checked_parts(idle.parts(found))["parts"] == {
        idle.MAIN_THREADS: 9.0,
        idle.OTHER_THREADS: 3.0,
        idle.REST: 6.5,
    }


def test_nothing_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "server_root", lambda url: None)
    with pytest.raises(typer.BadParameter, match="nothing on this machine listens"):
        idle.main("http://127.0.0.1:9", 1.0)
