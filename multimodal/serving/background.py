"""A server in the background, for tests and benchmarks: `multimodal serve` as a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from pydantic import BaseModel

from multimodal.errors import ConfigError
from multimodal.serving.checks import free_port
from multimodal.serving.launcher import ORPHAN_GRACE_S, READY_TIMEOUT_S, STOP_GRACE_S, Plan

_POLL_S = 0.2
_EXIT_MARGIN_S = 30.0
"""For copying logs once everything has ended."""


class RunningServer(BaseModel):
    """A server that is ready."""

    base_url: str
    """Without `/v1`."""
    dashboard_url: str
    pid: int
    """Of `multimodal serve`: SIGTERM stops everything."""
    logs: Path


def announce(path: Path, plan: Plan, logs: Path) -> None:
    """Write where the server is, for whoever started it: complete or not at all."""
    found = RunningServer(
        base_url=plan.base_url,
        dashboard_url=f"http://127.0.0.1:{plan.dashboard_port}",
        pid=os.getpid(),
        logs=logs,
    )
    partial = path.with_name(path.name + ".partial")
    partial.write_text(found.model_dump_json(), encoding="utf-8")
    partial.rename(path)


@contextmanager
def running_server(
    config: Path,
    *,
    port: int | None = None,
    dashboard_port: int | None = None,
    home: Path | None = None,
    env: Mapping[str, str] | None = None,
    ready_timeout_s: float = READY_TIMEOUT_S,
) -> Iterator[RunningServer]:
    """Serve `config` on loopback until the block is left. Free ports are chosen where none is given.

    `home` and `env` replace MULTIMODAL_HOME and add to the environment. The library begins empty and goes
    with the block, unless `env` has MULTIMODAL_STATE. Call it from a thread that stays: the server ends with
    it. Raises ConfigError, with the server's output, when it does not become ready.
    """
    with tempfile.TemporaryDirectory(prefix="mm-") as folder:
        ready, output = Path(folder) / "ready.json", Path(folder) / "output"
        command = [
            sys.executable,
            "-m",
            "multimodal.cli",
            "serve",
            "--stop-with-parent",
            "--host",
            "127.0.0.1",
        ]
        command += ["--config", str(config), "--ready-file", str(ready), "--port", str(port or free_port())]
        command += ["--dashboard-port", str(dashboard_port or free_port())]
        changes = {"MULTIMODAL_STATE": folder} | dict(env or {})
        if home:
            changes["MULTIMODAL_HOME"] = str(home)
        with output.open("wb") as stream:
            process = subprocess.Popen(
                command, env=os.environ | changes, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream
            )
        try:
            yield _wait(process, ready, output, ready_timeout_s)
        finally:
            _end(process)


def _wait(process: subprocess.Popen[bytes], ready: Path, output: Path, timeout_s: float) -> RunningServer:
    deadline = time.monotonic() + timeout_s
    while not ready.exists():
        if process.poll() is not None or time.monotonic() > deadline:
            raise ConfigError(f"The server did not become ready:\n{output.read_text(errors='replace')}")
        time.sleep(_POLL_S)
    return RunningServer.model_validate_json(ready.read_bytes())


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_GRACE_S + ORPHAN_GRACE_S + _EXIT_MARGIN_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        raise
