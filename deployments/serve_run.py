"""`serve run` in a Ray instance of its own: `python -m deployments.serve_run CONFIG DASHBOARD_PORT`.

`serve run` uses the Ray instance of its process where there is one. Starting it first chooses the port of the
dashboard, which `serve run` has no option for, and "local" never joins another Ray that runs on this machine.
"""

from __future__ import annotations

import signal
import sys

import ray
from ray.serve.scripts import cli

from multimodal.serving.processes import die_with_parent


def main(config: str, dashboard_port: int) -> None:
    """Serve until SIGINT. Ends with the process that started it, and all of Ray with it."""
    die_with_parent(signal.SIGTERM)
    ray.init(
        address="local",
        namespace="serve",
        dashboard_host="127.0.0.1",
        dashboard_port=dashboard_port,
    )
    cli(["run", config], prog_name="serve")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
