from __future__ import annotations

import json
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import cast

import pytest
import yaml

from benchmarks.graph_tax.sides import DEFAULTS, GRAPHS, OURS, SERVE_DEFAULTS, noop_profile
from multimodal.errors import ConfigError
from multimodal.serving.ray_environment import DEFAULTS as OUR_ENVIRONMENT

CONFIG = Path(__file__).parents[4] / "serve_config.yaml"

_CONSTANTS = """
import json, sys
sys.path += json.loads(sys.argv[1])
from ray.serve._private import constants
def constant(name):
    return getattr(constants, name if hasattr(constants, name) else name.removeprefix("RAY_SERVE_"))
print(json.dumps({name: constant(name) for name in json.loads(sys.argv[2])}))
"""


def test_every_setting_of_ours_is_taken_back() -> None:
    # HAProxy's own mean nothing without HAProxy; those that do not begin so keep the server on loopback.
    ours = {name for name in OUR_ENVIRONMENT if name.startswith("RAY_SERVE_") and "HAPROXY" not in name}
    assert ours <= set(SERVE_DEFAULTS)


def test_what_is_taken_for_serves_defaults_is_what_serve_says() -> None:
    # -S: what the virtual environment adds to the environment is ours.
    paths = json.dumps([sysconfig.get_path("purelib")])
    command = [sys.executable, "-S", "-c", _CONSTANTS, paths, json.dumps(list(SERVE_DEFAULTS))]
    done = subprocess.run(command, env={}, capture_output=True, text=True, check=True)
    found: dict[str, object] = json.loads(done.stdout)
    assert {name: _as_text(value) for name, value in found.items()} == dict(SERVE_DEFAULTS)


def _as_text(value: object) -> str:
    if value is None:
        return ""
    return f"{value:g}" if isinstance(value, float) else str(int(value) if isinstance(value, int) else value)


def _graph(document: dict[str, object]) -> dict[str, object]:
    return cast("list[dict[str, object]]", document["applications"])[0]


def test_only_the_plain_side_is_without_routers_of_ours() -> None:
    ours, plain = (noop_profile(CONFIG, plain=plain) for plain in (False, True))
    assert _graph(ours)["import_path"] == GRAPHS[OURS]
    assert _graph(plain)["import_path"] == GRAPHS[DEFAULTS]
    assert "AffinityRouter" in yaml.safe_dump(ours)
    assert "AffinityRouter" not in yaml.safe_dump(plain)
    for document in (ours, plain):
        _graph(document)["import_path"] = ""
        for deployment in cast("list[dict[str, object]]", _graph(document)["deployments"]):
            deployment.pop("request_router_config", None)
    assert ours == plain


def test_a_profile_of_another_graph_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.yaml"
    path.write_text("applications: [{import_path: 'other:app'}]")
    with pytest.raises(ConfigError, match="this graph"):
        noop_profile(path, plain=False)
