"""Ray's commands begin closed and fast; what the environment says holds; other programs are left alone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from multimodal.serving import ray_environment


def test_what_is_said_already_holds() -> None:
    env = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "1"}
    ray_environment.defaults(env)
    assert env["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] == "1"
    assert env["RAY_SERVE_RUN_ROUTER_IN_SEPARATE_LOOP"] == "0"


def test_clusters_have_serves_own_proxy() -> None:
    env = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "1"}
    ray_environment.defaults(env)
    assert env["RAY_SERVE_ENABLE_HA_PROXY"] == "0"


def test_haproxys_files_are_each_users_own() -> None:
    env: dict[str, str] = {}
    ray_environment.defaults(env)
    folders = {str(Path(env[name]).parent) for name in ray_environment.HAPROXY_FILES if "BASE" not in name}
    assert folders == {f"/tmp/multimodal-haproxy-{os.getuid()}"}


def test_the_program_in_haproxys_place_is_installed() -> None:
    env: dict[str, str] = {}
    ray_environment.defaults(env)
    assert os.access(env["RAY_SERVE_HAPROXY_BINARY_PATH"], os.X_OK)


@pytest.mark.parametrize(("program", "expected"), [("serve", "1"), ("ray", "1"), ("pytest", "None")])
def test_only_rays_commands_begin_with_it(tmp_path: Path, program: str, expected: str) -> None:
    """Through the file that `make install` writes into the environment."""
    script = tmp_path / program
    script.write_text("import os; print(os.environ.get('RAY_SERVE_ENABLE_HA_PROXY'))")
    env = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    done = subprocess.run([sys.executable, script], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == expected
