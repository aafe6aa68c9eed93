from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from multimodal.serving.checks import free_port
from multimodal.serving.ray_dashboard import Progress, RayDashboard, read_token

ENV = {"RAY_AUTH_TOKEN": "secret"}


class _Handler(BaseHTTPRequestHandler):
    details: object = {}

    def do_GET(self) -> None:
        allowed = self.headers["Authorization"] == "Bearer secret"
        self.send_response(200 if allowed and self.path == "/api/serve/applications/" else 401)
        self.end_headers()
        self.wfile.write(json.dumps(self.details).encode())

    def log_message(self, format: str, *args: object) -> None:
        """Tests are quiet."""


@pytest.fixture
def dashboard() -> Iterator[RayDashboard]:
    with HTTPServer(("127.0.0.1", 0), _Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield RayDashboard(server.server_port, ENV)
        server.shutdown()
        thread.join()


def _serve(**applications: object) -> None:
    _Handler.details = {"controller_info": {}, "applications": applications}


def _application(status: str, message: str = "", **deployments: tuple[str, str]) -> dict[str, object]:
    found = {name: {"status": one, "message": said} for name, (one, said) in deployments.items()}
    return {"name": "default", "status": status, "message": message, "deployments": found}


def test_tells_who_is_ready_and_who_is_not(dashboard: RayDashboard) -> None:
    _serve(default=_application("DEPLOYING", Reader=("HEALTHY", ""), Generator=("UPDATING", "")))
    assert dashboard.progress() == Progress(ready=("Reader",), waiting=("Generator",))


def test_knows_nothing_before_the_graph_is_built(dashboard: RayDashboard) -> None:
    _serve()
    assert dashboard.progress() == Progress()


def test_failure_is_the_last_line_of_the_deployment_that_failed(dashboard: RayDashboard) -> None:
    trace = "The deployment failed to start 3 times in a row.\nTraceback\n  f()\nOSError: no weights\n\n"
    _serve(
        default=_application(
            "DEPLOY_FAILED", "Failed.", Reader=("HEALTHY", "fine"), Generator=("DEPLOY_FAILED", trace)
        )
    )
    found = dashboard.progress()
    assert found is not None
    assert found.failure == "Generator: OSError: no weights"


def test_failure_to_build_the_graph_is_the_last_line_of_the_application(dashboard: RayDashboard) -> None:
    _serve(default=_application("DEPLOY_FAILED", "Traceback\n  import x\nModuleNotFoundError: no x\n"))
    found = dashboard.progress()
    assert found is not None
    assert found.failure == "ModuleNotFoundError: no x"


def test_a_deployment_that_is_not_healthy_yet_is_no_failure(dashboard: RayDashboard) -> None:
    _serve(default=_application("DEPLOYING", Generator=("UNHEALTHY", "retrying")))
    found = dashboard.progress()
    assert found is not None
    assert found.failure is None


def test_has_nothing_to_say_without_the_right_token(dashboard: RayDashboard) -> None:
    _serve(default=_application("DEPLOYING"))
    wrong = RayDashboard(int(dashboard.url.rpartition(":")[2]), {"RAY_AUTH_TOKEN": "wrong"})
    assert wrong.progress() is None


def test_has_nothing_to_say_while_nobody_listens() -> None:
    assert RayDashboard(free_port(), ENV).progress() is None


def test_an_answer_that_is_not_understood_is_no_progress(dashboard: RayDashboard) -> None:
    _Handler.details = ["unexpected"]
    assert dashboard.progress() is None


def test_finds_the_token_where_ray_does(tmp_path: Path) -> None:
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("default\n")
    (tmp_path / "named").write_text("named\n")
    env = {"HOME": str(tmp_path)}
    assert read_token(env) == "default"
    env["RAY_AUTH_TOKEN_PATH"] = str(tmp_path / "named")
    assert read_token(env) == "named"
    env["RAY_AUTH_TOKEN"] = "direct"
    assert read_token(env) == "direct"


def test_there_may_be_no_token_yet(tmp_path: Path) -> None:
    assert read_token({"HOME": str(tmp_path)}) == ""
