"""Starts the server, watches it, and stops everything that it started.

1. `prepare` reads the configuration and checks the machine.
2. `Server.start` runs `serve run` on a derived configuration, in a Ray instance of its own.
3. `serve` waits until every stage is ready, then until a signal comes or the server ends.
4. `Server.stop` asks politely, then makes sure that no process is left.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import httpx

from multimodal import serve_config
from multimodal.serve_config import ServeConfig
from multimodal.serving import checks, processes, ray_environment
from multimodal.serving.ray_dashboard import Progress, RayDashboard
from multimodal.serving.run_folder import RunFolder
from multimodal.serving.stop_signals import StopSignals

SERVE_RUN = (sys.executable, "-m", "deployments.serve_run")
"""`serve run`; takes the configuration and the dashboard's port."""

READY_TIMEOUT_S = 900.0
"""The embedded profile takes a minute or two, large models several."""

STOP_GRACE_S = 30.0
"""For requests that are being answered: what takes longer is cut off."""

ORPHAN_GRACE_S = 5.0
"""For processes that outlive `serve run`, between SIGTERM and SIGKILL."""

_POLL_S = 0.25
_WATCH_S = 0.5
"""Looking at every process takes a while."""
_HTTP_TIMEOUT_S = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to start. Made by `prepare`."""

    config: ServeConfig
    home: Path
    dashboard_port: int
    env: Mapping[str, str]

    @property
    def base_url(self) -> str:
        """Where this machine reaches the server."""
        everywhere = {"0.0.0.0": "127.0.0.1", "::": "::1"}
        host = everywhere.get(self.config.host, self.config.host)
        return f"http://[{host}]:{self.config.port}" if ":" in host else f"http://{host}:{self.config.port}"


class View(Protocol):
    """Tells a person what happens."""

    def progress(self, progress: Progress | None) -> None:
        """The server is starting."""
        ...

    def ready(self, plan: Plan, log: Path, seconds: float) -> None:
        """Every stage can serve."""
        ...

    def stopping(self) -> None:
        """Everything is being stopped."""
        ...

    def stopped(self) -> None:
        """Nothing runs any more."""
        ...

    def failed(self, reason: str, tail: str, logs: Path) -> None:
        """The server did not start, or ended on its own."""
        ...


def prepare(
    config_path: Path,
    *,
    home: Path,
    env: Mapping[str, str],
    host: str | None = None,
    port: int | None = None,
    dashboard_port: int = 8265,
) -> Plan:
    """Read the configuration and check that it can be served here. Raises ConfigError."""
    checks.check_python()
    config = serve_config.read(config_path).at(host, port)
    checks.check_exposure(config.host, config.args)
    checks.check_models(config.args, home, f"multimodal models pull --config {config_path}")
    checks.check_port(config.host, config.port)
    checks.check_memory(config.args)
    free = checks.choose_dashboard_port(dashboard_port)
    return Plan(config=config, home=home, dashboard_port=free, env=env)


def serve(
    plan: Plan,
    view: View,
    *,
    command: Sequence[str] = SERVE_RUN,
    on_ready: Callable[[Plan, Path], None] | None = None,
) -> int:
    """Serve until SIGINT or SIGTERM, which is success (0), or until the server fails (1).

    For a process that does nothing else: it adopts every orphan below it, and ends all its descendants.
    """
    processes.become_subreaper()
    with StopSignals() as stop:
        server = Server(plan, command)
        try:
            failure = _until_ready(server, stop, view)
            if failure is None and not stop.requested:
                view.ready(plan, server.folder.log, server.age_s())
                if on_ready:
                    on_ready(plan, server.folder.logs)
                failure = _until_ended(server, stop)
        finally:
            tail = server.folder.tail()
            view.stopping()
            server.stop(hurry=stop.insisted)
    if failure is not None:
        view.failed(failure, tail, server.folder.logs)
        return 1
    view.stopped()
    return 0


class Server:
    """`serve run`, from start to the end of its last process."""

    def __init__(self, plan: Plan, command: Sequence[str] = SERVE_RUN) -> None:
        self.folder = RunFolder(plan.home, plan.config.port)
        self._plan = plan
        self._dashboard = RayDashboard(plan.dashboard_port, plan.env)
        self._started_s = time.monotonic()
        config = self.folder.scratch / "serve_config.yaml"
        plan.config.write(config)
        self._child = subprocess.Popen(
            [*command, str(config), str(plan.dashboard_port)],
            env=child_environment(plan, self.folder.scratch),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,  # a terminal's Ctrl-C reaches us alone, and we pass it on once
            umask=0o077,  # Ray would let every user read its token
        )
        if self._child.stdout is not None:
            self.folder.keep_output(self._child.stdout)

    def age_s(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._started_s

    def is_ready(self) -> bool:
        """Whether every stage can serve."""
        try:
            # Plain HTTP: without `verify`, every call would load all certificates of this machine.
            answer = httpx.get(
                f"{self._plan.base_url}/readyz", timeout=_HTTP_TIMEOUT_S, trust_env=False, verify=False
            )
        except httpx.HTTPError:
            return False
        return answer.status_code == httpx.codes.OK

    def progress(self) -> Progress | None:
        """How far the graph is; None while Ray starts."""
        return self._dashboard.progress()

    def ended(self) -> str | None:
        """How `serve run` ended, None while it runs."""
        processes.reap_orphans(self._child.pid)
        code = self._child.poll()
        return None if code is None else f"`serve run` ended on its own with exit code {code}"

    def stop(self, hurry: Callable[[], bool] = lambda: False) -> None:
        """End everything. Waits for requests that are being answered, unless `hurry` says otherwise."""
        deadline = time.monotonic() + STOP_GRACE_S
        if self._child.poll() is None:
            self._child.send_signal(signal.SIGINT)  # what `serve run` takes as the order to shut down
        while self._child.poll() is None and time.monotonic() < deadline and not hurry():
            time.sleep(_POLL_S)
        if self._child.poll() is None:
            self._child.kill()
            self._child.wait()
        processes.end_descendants(0.0 if hurry() else ORPHAN_GRACE_S)
        self.folder.close()


def child_environment(plan: Plan, scratch: Path) -> dict[str, str]:
    """The environment of `serve run` and of everything below it."""
    env = {name: value for name, value in plan.env.items() if name != "RAY_ADDRESS"}
    env |= {
        "MULTIMODAL_HOME": str(plan.home),
        "MULTIMODAL_HOST": plan.config.host,
        "PATH": os.pathsep.join((str(Path(sys.executable).parent), plan.env.get("PATH", os.defpath))),
        "PYTHONUNBUFFERED": "1",
        "RAY_TMPDIR": str(scratch),
        "RAY_AUTH_MODE": "token",
        "RAY_COLOR_PREFIX": "0",
        # Ray's way of saying "one machine": every process of it then listens on 127.0.0.1 only.
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        # The same for vLLM and for PyTorch's collectives.
        "VLLM_HOST_IP": "127.0.0.1",
        "GLOO_SOCKET_IFNAME": "lo",
        "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": str(checks.free_port()),
    }
    ray_environment.defaults(env, scratch / "haproxy")
    return env


def _until_ready(server: Server, stop: StopSignals, view: View) -> str | None:
    """Why the server did not become ready; None when it did, or when it was asked to stop."""
    while not stop.requested:
        if failure := server.ended():
            return failure
        if server.is_ready():
            return None
        progress = server.progress()
        if progress is not None and progress.failure:
            return progress.failure
        if server.age_s() > READY_TIMEOUT_S:
            return f"it was not ready after {READY_TIMEOUT_S:.0f} s"
        view.progress(progress)
        time.sleep(_POLL_S)
    return None


def _until_ended(server: Server, stop: StopSignals) -> str | None:
    while not stop.requested:
        if failure := server.ended():
            return failure
        time.sleep(_WATCH_S)
    return None
