"""The servers that are compared, each with models that do nothing."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast

import psutil
import yaml

from benchmarks import processes
from benchmarks.graph_tax import floor
from benchmarks.graph_tax.workload import MODEL
from multimodal import serve_config
from multimodal.config import AppArgs
from multimodal.errors import ConfigError
from multimodal.serving.background import running_server

OURS, DEFAULTS, FLOOR = "ours", "Serve defaults", "uvicorn"
SIDES = (OURS, DEFAULTS, FLOOR)

GRAPHS = {OURS: "benchmarks.graph_tax.app:app", DEFAULTS: "benchmarks.graph_tax.app:plain"}

SERVE_DEFAULTS: Mapping[str, str] = {
    "RAY_SERVE_THROUGHPUT_OPTIMIZED": "0",
    "RAY_SERVE_ENABLE_HA_PROXY": "0",
    "RAY_SERVE_ENABLE_DIRECT_INGRESS": "0",
    "RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "1",
    "RAY_SERVE_RUN_ROUTER_IN_SEPARATE_LOOP": "1",
    "RAY_SERVE_USE_GRPC_BY_DEFAULT": "0",
    "RAY_SERVE_PROXY_USE_GRPC": "0",
    "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": "",
    "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "30",
    "RAY_SERVE_REPLICA_GRPC_MAX_MESSAGE_LENGTH": str(4 * 1024 * 1024),
    "RAY_SERVE_CONTROL_LOOP_INTERVAL_S": "0.1",
    "RAY_SERVE_METRICS_EXPORT_INTERVAL_MS": "100",
    "RAY_SERVE_LOG_TO_STDERR": "1",
    "RAY_SERVE_REQUEST_PATH_LOG_BUFFER_SIZE": "1",
}
"""What `ray.serve._private.constants` says where nothing is set; the launcher leaves what is set alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """A server that is ready."""

    name: str
    url: str
    root: psutil.Process

    def processes(self) -> list[psutil.Process]:
        """All of it."""
        return processes.tree(self.root)


@contextmanager
def serving(name: str, config: Path) -> Iterator[Side]:
    """One side, until the block is left. Raises ConfigError."""
    if name not in SIDES:
        raise ConfigError(f"There is no side {name!r}: {', '.join(SIDES)}.")
    plain = name == DEFAULTS
    document = noop_profile(config, plain=plain)
    if name == FLOOR:
        with floor.running(AppArgs.model_validate(_graph(document)["args"])) as (url, root):
            yield Side(name=name, url=url, root=root)
        return
    with TemporaryDirectory(prefix="mm-tax-") as folder:
        path = Path(folder) / "serve_config.yaml"
        path.write_text(yaml.safe_dump(document), encoding="utf-8")
        with running_server(path, env=_environment(plain=plain)) as server:
            yield Side(name=name, url=server.base_url, root=psutil.Process(server.pid))


def noop_profile(config: Path, *, plain: bool) -> dict[str, object]:
    """The document of `config` over models that do nothing; `plain`: without routers of ours.

    Raises ConfigError where it configures another graph.
    """
    document = deepcopy(dict(serve_config.read(config).document))
    graph = _graph(document)
    if graph["import_path"] != serve_config.GRAPH:
        raise ConfigError(f"{config} does not configure this graph.")
    graph["import_path"] = GRAPHS[DEFAULTS if plain else OURS]
    arguments = cast("dict[str, dict[str, object]]", graph["args"])
    arguments["generator"]["served_name"] = MODEL
    if plain:
        for deployment in cast("list[dict[str, object]]", graph["deployments"]):
            deployment.pop("request_router_config", None)
    return document


def _graph(document: Mapping[str, object]) -> dict[str, object]:
    return cast("list[dict[str, object]]", document["applications"])[0]


def _environment(*, plain: bool) -> dict[str, str]:
    """Added to that of this process: modules of benchmarks must be found by the replicas."""
    root = str(Path(__file__).parents[2])
    path = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
    return {"PYTHONPATH": path} | (dict(SERVE_DEFAULTS) if plain else {})
