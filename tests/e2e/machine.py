"""A further machine of a cluster, on this one: `python -m tests.e2e.machine <port of the GCS> <resource>`.

What `ray start` does, which refuses to join a cluster on loopback. Ray's own tests make clusters like this.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress

import psutil
from ray._private.node import Node
from ray._private.parameter import RayParams

from multimodal.serving.processes import die_with_parent

STORE_BYTES = 100 * 1024 * 1024
_POLL_S = 0.2
_START_S = 60.0


def main(port: str, resource: str) -> None:
    """Join, then wait for the end."""
    die_with_parent(signal.SIGTERM)
    parameters = RayParams(
        gcs_address=f"127.0.0.1:{port}",
        node_ip_address="127.0.0.1",
        num_cpus=0,  # whatever asks for a share of a core stays on the first machine, and lives
        resources={resource: 1},
        object_store_memory=STORE_BYTES,
    )
    Node(parameters, head=False, shutdown_at_exit=True, spawn_reaper=False)
    threading.Event().wait()


class Cluster:
    """The next one that starts below this process."""

    def __init__(self) -> None:
        self._others = {process.pid for process in _head_nodes()}
        self._machines: list[subprocess.Popen[bytes]] = []

    def add_machine(self, resource: str) -> None:
        """Wait for the cluster, and have a machine join it. The machine ends with the calling thread."""
        head = self._head_node()
        (port,) = {one.laddr.port for one in head.net_connections("tcp") if one.status == psutil.CONN_LISTEN}
        settings = {name: value for name, value in head.environ().items() if name.startswith("RAY_")}
        command = [sys.executable, "-m", "tests.e2e.machine", str(port), resource]
        self._machines.append(subprocess.Popen(command, env=os.environ | settings))

    def freeze_machines(self) -> None:
        """Whoever asks them something waits."""
        for machine in self._machines:
            for process in (
                psutil.Process(machine.pid),
                *psutil.Process(machine.pid).children(recursive=True),
            ):
                process.suspend()

    def lose_machines(self) -> None:
        """Kill all that was added at once, as if somebody had pulled the plug."""
        for machine in self._machines:
            below = psutil.Process(machine.pid).children(recursive=True) if machine.poll() is None else []
            machine.kill()
            for process in below:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            machine.wait()
        self._machines.clear()

    def _head_node(self) -> psutil.Process:
        end_s = time.monotonic() + _START_S
        while time.monotonic() < end_s:
            for process in _head_nodes():
                if process.pid not in self._others:
                    return process
            time.sleep(_POLL_S)
        raise TimeoutError("no cluster has started")


def _head_nodes() -> list[psutil.Process]:
    """The central services of clusters below this process that can be connected to."""
    found = [one for one in psutil.Process().children(recursive=True) if one.name() == "gcs_server"]
    return [one for one in found if any(c.status == psutil.CONN_LISTEN for c in one.net_connections("tcp"))]


if __name__ == "__main__":
    main(*sys.argv[1:])
