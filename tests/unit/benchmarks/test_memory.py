from __future__ import annotations

import os

import psutil
import pytest

from benchmarks import memory, processes
from benchmarks.memory import ProcessMemory, by_role, role

RAY = "/venv/lib/python3.11/site-packages/ray"


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (["ray::ServeReplica:multimodal:Generator"], "Generator"),
        (["ray::ServeReplica:multimodal:Generator.generate"], "Generator"),
        (["ray::ProxyActor"], "Serve proxy"),
        (["ray::ServeController.listen_for_change"], "Serve controller"),
        (["ray::DashboardAgent"], "Ray DashboardAgent"),
        (["ray::IDLE"], "Ray idle worker"),
        (["VLLM::EngineCore"], "vLLM EngineCore"),
        ([f"{RAY}/core/src/ray/gcs/gcs_server", "--log_dir=/tmp/x"], "Ray gcs_server"),
        ([f"{RAY}/core/src/ray/raylet/raylet", "--raylet_socket_name=/tmp/x"], "Ray raylet"),
        (["/venv/bin/python3", f"{RAY}/dashboard/dashboard.py", "--host=127.0.0.1"], "Ray dashboard"),
        (['ray-dashboard-JobHead-0 (python -c "from multiprocessing.x import main")'], "Ray dashboard"),
        (["/venv/bin/python3", "-P", "-m", "multimodal.media.worker", "14617"], "MediaLoader decoder"),
        (["python3", "-m", "deployments.serve_run", "/tmp/c.yaml", "8265"], "serve run"),
        (["/venv/bin/python3", "/venv/bin/serve", "run", "serve_config.yaml"], "serve run"),
        (["/venv/bin/python", "/venv/bin/multimodal", "serve", "--config", "c.yaml"], "multimodal serve"),
        (["python", "-m", "multimodal.cli", "serve", "--port", "1"], "multimodal serve"),
        (
            ["python", "-c", "from multiprocessing.forkserver import main; main()"],
            "multiprocessing forkserver",
        ),
        (["/usr/bin/sleep", "5"], "sleep"),
        ([], "unknown"),
    ],
)
def test_roles_are_read_from_command_lines(command: list[str], expected: str) -> None:
    assert role(command) == expected


def test_memory_of_a_living_process() -> None:
    found = memory.read(psutil.Process())
    assert found is not None
    assert found.pid == os.getpid()
    assert found.pss_bytes is not None
    assert found.uss_bytes is not None
    assert 0 < found.uss_bytes <= found.pss_bytes <= found.rss_bytes * 1.05


def test_rss_stands_in_where_the_kernel_hides_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: psutil.Process) -> None:
        raise psutil.AccessDenied(self.pid)

    monkeypatch.setattr(psutil.Process, "memory_full_info", refuse)
    found = memory.read(psutil.Process())
    assert found is not None
    assert found.pss_bytes is None
    assert found.share_bytes == found.rss_bytes > 0


def test_roles_come_largest_first_with_all_their_processes() -> None:
    def one(pid: int, name: str, pss_bytes: int) -> ProcessMemory:
        return ProcessMemory(pid=pid, role=name, pss_bytes=pss_bytes, uss_bytes=0, rss_bytes=99)

    groups = by_role([one(1, "raylet", 30), one(2, "decoder", 20), one(3, "decoder", 20)])
    assert [(name, [item.pid for item in group]) for name, group in groups] == [
        ("decoder", [2, 3]),
        ("raylet", [1]),
    ]


class FakeProcess:
    """What `_root_above` looks at."""

    def __init__(self, name: str, pid: int = 5, command: tuple[str, ...] = (), above: object = None) -> None:
        self.pid = pid
        self._name = name
        self._command = command
        self._above = above

    def name(self) -> str:
        return self._name

    def cmdline(self) -> list[str]:
        return list(self._command)

    def parents(self) -> list[FakeProcess]:
        return [self._above, *self._above.parents()] if isinstance(self._above, FakeProcess) else []


SHELL = FakeProcess("bash")
MAKE = FakeProcess("make", above=SHELL)
LAUNCHER = FakeProcess("multimodal", command=("python", "/venv/bin/multimodal", "serve"), above=MAKE)
DRIVER = FakeProcess("python", command=("python", "-m", "deployments.serve_run", "c.yaml"), above=LAUNCHER)
ALONE = FakeProcess("serve", command=("python", "/venv/bin/serve", "run", "c.yaml"), above=SHELL)
DAEMON = FakeProcess("raylet", above=FakeProcess("init", pid=1))


@pytest.mark.parametrize(
    ("listener", "root"),
    [
        (FakeProcess("ray::ProxyActor", above=FakeProcess("raylet", above=DRIVER)), LAUNCHER),
        (FakeProcess("ray::ProxyActor", above=FakeProcess("raylet", above=ALONE)), ALONE),
        (FakeProcess("ray::ProxyActor", above=DAEMON), DAEMON),
    ],
)
def test_the_root_is_what_started_the_server(
    listener: FakeProcess, root: FakeProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: object = processes._root_above(listener)  # type: ignore[arg-type]
    assert found is root
