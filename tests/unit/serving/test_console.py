from __future__ import annotations

import io
import json
import shlex
from pathlib import Path

import pytest
from rich.console import Console

from multimodal.config import ApiArgs, AppArgs
from multimodal.serve_config import ServeConfig
from multimodal.serving.console import ConsoleView, curl, describe
from multimodal.serving.launcher import Plan
from multimodal.serving.ray_dashboard import Progress


def _plan(args: AppArgs | None = None) -> Plan:
    config = ServeConfig(host="127.0.0.1", port=8123, args=args, document={})
    return Plan(config=config, home=Path("/home"), dashboard_port=8266, env={})


def _view(width: int = 40) -> tuple[ConsoleView, io.StringIO]:
    out = io.StringIO()
    return ConsoleView(Console(file=out, width=width, force_terminal=False)), out


@pytest.mark.parametrize(
    ("progress", "says"),
    [
        (None, "Starting Ray"),
        (Progress(), "Building the graph"),
        (
            Progress(ready=("Reader",), waiting=("Generator", "Gateway")),
            "1 of 3 ready, waiting for Generator",
        ),
        (Progress(ready=("Reader",)), "Checking"),
    ],
)
def test_says_what_the_server_waits_for(progress: Progress | None, says: str) -> None:
    assert says in describe(progress)


def test_the_curl_line_survives_a_shell() -> None:
    words = shlex.split(curl(_plan(AppArgs())))
    body = json.loads(words[words.index("-d") + 1])
    assert "http://127.0.0.1:8123/v1/chat/completions" in words
    assert body["model"] == AppArgs().generator.served_name
    assert body["messages"][0]["content"]
    assert not any("Authorization" in word for word in words)


def test_the_curl_line_carries_a_key_where_one_is_needed() -> None:
    words = shlex.split(curl(_plan(AppArgs(api=ApiArgs(keys={"0" * 64: "tenant"})))))
    assert "Authorization: Bearer $API_KEY" in words


def test_ready_shows_every_address_on_lines_that_can_be_pasted() -> None:
    view, out = _view(width=20)
    view.ready(_plan(), Path("/logs/serve.log"), 41.2)
    lines = [line.strip() for line in out.getvalue().splitlines()]
    assert curl(_plan()) in lines
    assert any(line.endswith("http://127.0.0.1:8266") for line in lines)
    assert any("ray get-auth-token" in line for line in lines)
    assert any(line.endswith("/logs/serve.log") for line in lines)


def test_failure_shows_reason_output_and_logs_without_terminal_codes() -> None:
    view, out = _view()
    view.failed("\x1b[31mGenerator: broken", "[bold]tail\x1b[0m [/oops]", Path("/logs/run"))
    text = out.getvalue()
    assert "The server failed: Generator: broken" in text
    assert "[bold]tail [/oops]" in text
    assert "/logs/run" in text
    assert "\x1b" not in text


def test_progress_in_a_file_is_a_line_for_each_change() -> None:
    view, out = _view(width=80)
    for progress in (None, None, Progress(), Progress()):
        view.progress(progress)
    assert out.getvalue().splitlines() == ["Starting Ray", "Building the graph"]
