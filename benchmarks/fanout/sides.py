"""Two servers whose engine only ticks: our graph, and an ingress with one handle on Serve's defaults."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal, TypeAlias, cast, get_args

import psutil
import yaml

from benchmarks.fanout.app import STEP_MS
from benchmarks.graph_tax.sides import SERVE_DEFAULTS, Side, noop_profile
from multimodal import serve_config
from multimodal.serving.background import running_server

SideName: TypeAlias = Literal["ours", "Serve defaults"]
NAMES: tuple[SideName, ...] = get_args(SideName)
OURS, DEFAULTS = NAMES

OUR_GRAPH, PLAIN_APP = "benchmarks.fanout.app:app", "benchmarks.fanout.plain:app"

NO_LAYERS = {"RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": ""}
"""Ours are not Serve's."""


@contextmanager
def serving(name: SideName, config: Path, step_ms: float) -> Iterator[Side]:
    """One side, until the block is left. Raises ConfigError."""
    document = noop_profile(config, plain=False) if name == OURS else plain_profile(config)
    if name == OURS:
        _application(document)["import_path"] = OUR_GRAPH
    with TemporaryDirectory(prefix="mm-fanout-") as folder:
        path = Path(folder) / "serve_config.yaml"
        path.write_text(yaml.safe_dump(document), encoding="utf-8")
        with running_server(path, env=_environment(name, step_ms)) as server:
            yield Side(name=name, url=server.base_url, root=psutil.Process(server.pid))


def plain_profile(config: Path) -> dict[str, object]:
    """Address and logging of `config`, and the other application; all else is Serve's default."""
    document = deepcopy(dict(serve_config.read(config).document))
    document["applications"] = [{"name": "plain", "route_prefix": "/", "import_path": PLAIN_APP, "args": {}}]
    return document


def _application(document: Mapping[str, object]) -> dict[str, object]:
    return cast("list[dict[str, object]]", document["applications"])[0]


def _environment(name: SideName, step_ms: float) -> dict[str, str]:
    """Added to that of this process: modules of benchmarks must be found by the replicas."""
    root = str(Path(__file__).parents[2])
    path = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
    changes = {"PYTHONPATH": path, STEP_MS: f"{step_ms:g}"}
    return changes | ({**SERVE_DEFAULTS, **NO_LAYERS} if name == DEFAULTS else {})
