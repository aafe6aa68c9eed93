from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import httpx
import psutil
import pytest

from multimodal.serve_config import ServeConfig
from multimodal.serving.background import RunningServer, running_server
from multimodal.serving.checks import free_port
from multimodal.serving.launcher import Plan, child_environment
from tests.unit.serving.workspace import FakeWorkspace

PATIENCE_S = 60.0


def _plan(host: str = "127.0.0.1", env: Mapping[str, str] | None = None) -> Plan:
    config = ServeConfig(host=host, port=8000, args=None, document={})
    return Plan(config=config, home=Path("/home"), dashboard_port=8265, env=env or {})


class _Command:
    """`multimodal serve` with the stand-in below it."""

    def __init__(self, workspace: FakeWorkspace, mode: str = "", port: int | None = None) -> None:
        self.port = port or free_port()
        self.ready = workspace.home.with_name("ready.json")
        command = [sys.executable, "-m", "multimodal.cli", "serve", "--ready-file", str(self.ready)]
        command += ["--port", str(self.port), "--dashboard-port", str(free_port())]
        self.process = subprocess.Popen(
            command,
            env=os.environ | workspace.env | {"FAKE_MODE": mode},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def wait_until_ready(self) -> RunningServer:
        deadline = time.monotonic() + PATIENCE_S
        while not self.ready.exists():
            assert self.process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        return RunningServer.model_validate_json(self.ready.read_bytes())

    def end(self) -> tuple[int, str]:
        output, _ = self.process.communicate(timeout=PATIENCE_S)
        return self.process.returncode, output


def _assert_nothing_is_left(workspace: FakeWorkspace, port: int) -> None:
    daemons = workspace.daemons()
    assert daemons
    assert not any(psutil.pid_exists(pid) for pid in daemons)
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://127.0.0.1:{port}/readyz")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_even_daemons_that_left_their_parents(
    workspace: FakeWorkspace, number: signal.Signals
) -> None:
    command = _Command(workspace)
    command.wait_until_ready()
    command.process.send_signal(number)
    code, output = command.end()
    assert code == 0, output
    assert output.splitlines()[-1] == "Stopped."
    _assert_nothing_is_left(workspace, command.port)


def test_a_daemon_that_does_not_listen_is_killed(workspace: FakeWorkspace) -> None:
    command = _Command(workspace, "deaf daemon")
    command.wait_until_ready()
    command.process.terminate()
    assert command.end()[0] == 0
    _assert_nothing_is_left(workspace, command.port)


def test_a_second_signal_does_not_wait(workspace: FakeWorkspace) -> None:
    command = _Command(workspace, "stubborn")
    command.wait_until_ready()
    command.process.send_signal(signal.SIGINT)
    deadline = time.monotonic() + PATIENCE_S
    assert command.process.stdout is not None
    while not command.process.stdout.readline().startswith("Stopping"):
        assert time.monotonic() < deadline
    command.process.send_signal(signal.SIGINT)
    code, _ = command.end()
    assert code == 0
    _assert_nothing_is_left(workspace, command.port)


def test_says_why_the_server_ended_while_it_started(workspace: FakeWorkspace) -> None:
    command = _Command(workspace, "dies")
    code, output = command.end()
    assert code == 1
    assert "The server failed: `serve run` ended on its own with exit code 1" in output
    assert "the disk is on fire" in output
    assert str(workspace.home / "logs") in output
    _assert_nothing_is_left(workspace, command.port)


def test_says_why_a_deployment_cannot_start(workspace: FakeWorkspace) -> None:
    command = _Command(workspace, "fails")
    code, output = command.end()
    assert code == 1
    assert "The server failed: Generator: OSError: no weights" in output
    _assert_nothing_is_left(workspace, command.port)


def test_ends_when_the_server_ends(workspace: FakeWorkspace) -> None:
    command = _Command(workspace)
    server = command.wait_until_ready()
    with pytest.raises(httpx.HTTPError):
        httpx.get(f"{server.base_url}/quit")
    code, output = command.end()
    assert code == 1
    assert "exit code 4" in output
    _assert_nothing_is_left(workspace, command.port)


def test_nothing_is_started_on_a_port_that_is_taken(workspace: FakeWorkspace) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        command = _Command(workspace, port=listener.getsockname()[1])
        code, output = command.end()
    assert code == 2
    assert output.count("\n") == 1
    assert "is taken" in output
    assert workspace.daemons() == []


def test_the_log_of_the_run_stays(workspace: FakeWorkspace) -> None:
    with running_server(workspace.config, env=workspace.env) as server:
        pass
    assert (server.logs / "serve.log").read_text() == "serving\n"


def test_a_background_server_serves_and_then_is_gone(
    workspace: FakeWorkspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "another:6379")
    monkeypatch.setenv("MULTIMODAL_HOST", "0.0.0.0")
    port = free_port()
    with running_server(workspace.config, port=port, home=workspace.home, env=workspace.env) as server:
        assert server.base_url == f"http://127.0.0.1:{port}"
        seen = httpx.get(f"{server.base_url}/readyz").json()
    assert "RAY_ADDRESS" not in seen
    assert seen["MULTIMODAL_HOME"] == str(workspace.home)
    _assert_nothing_is_left(workspace, port)


def test_a_background_server_ends_with_the_process_that_started_it(workspace: FakeWorkspace) -> None:
    port = free_port()
    script = (
        "import os, pathlib, signal\n"
        "from multimodal.serving.background import running_server\n"
        f"with running_server(pathlib.Path({str(workspace.config)!r}), port={port}) as server:\n"
        "    print(server.pid, flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    env = os.environ | workspace.env | {"TMPDIR": str(workspace.home.parent)}  # nobody is left to clean up
    run = subprocess.run([sys.executable, "-c", script], env=env, stdout=subprocess.PIPE)
    deadline = time.monotonic() + PATIENCE_S
    while psutil.pid_exists(int(run.stdout)) and time.monotonic() < deadline:
        time.sleep(0.05)
    _assert_nothing_is_left(workspace, port)


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:8000"),
        ("0.0.0.0", "http://127.0.0.1:8000"),
        ("::", "http://[::1]:8000"),
        ("localhost", "http://localhost:8000"),
    ],
)
def test_reaches_the_server_from_this_machine(host: str, url: str) -> None:
    assert _plan(host).base_url == url


def test_ray_starts_anew_privately_and_on_loopback() -> None:
    env = {"RAY_ADDRESS": "auto", "RAY_AUTH_MODE": "disabled", "HOME": "/h", "PATH": "/bin"}
    found = child_environment(_plan(env=env), Path("/scratch"))
    assert "RAY_ADDRESS" not in found
    assert found["RAY_AUTH_MODE"] == "token"
    assert found["RAY_TMPDIR"] == "/scratch"
    assert found["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] == "0"
    assert found["HOME"] == "/h"
    assert found["RAY_SERVE_HAPROXY_SOCKET_PATH"] == "/scratch/haproxy/admin.sock"
    assert found["PATH"].split(":") == [str(Path(sys.executable).parent), "/bin"]


def test_what_the_environment_says_of_serve_holds() -> None:
    found = child_environment(_plan(env={"RAY_SERVE_ENABLE_HA_PROXY": "0"}), Path("/scratch"))
    assert found["RAY_SERVE_ENABLE_HA_PROXY"] == "0"
    assert found["RAY_SERVE_RUN_ROUTER_IN_SEPARATE_LOOP"] == "0"
