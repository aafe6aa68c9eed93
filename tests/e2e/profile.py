"""The embedded profile with fakes in the place of models, and with changes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import yaml

from tests.e2e.conftest import ROOT

Options = dict[str, dict[str, object]]
"""Of each deployment, by its name."""


def write_profile(
    folder: Path, change: Callable[[dict[str, object], Options], None], graph: str = "app", port: int = 8000
) -> Path:
    """A configuration file in the folder. `change` is given the graph's `args`, and the deployments' options.

    `graph` is a function of `fake_app`.
    """
    config = yaml.safe_load((ROOT / "serve_config.yaml").read_text(encoding="utf-8"))
    config["http_options"]["port"] = port
    (application,) = config["applications"]
    application["import_path"] = f"tests.e2e.fake_app:{graph}"
    change(application["args"], {one["name"]: one for one in application["deployments"]})
    file = folder / "serve_config.yaml"
    file.write_text(yaml.safe_dump(config), encoding="utf-8")
    return file


def replicas(count: int) -> dict[str, object]:
    """The option that asks for so many."""
    return {
        "autoscaling_config": {"min_replicas": count, "max_replicas": count, "target_ongoing_requests": 100}
    }
