from __future__ import annotations

import re
from pathlib import Path
from typing import NoReturn

import pytest
from typer.testing import CliRunner

from multimodal import __version__, cli
from multimodal.client import command
from multimodal.client.ingest import Options
from multimodal.errors import ConfigError
from multimodal.serve_config import ServeConfig
from multimodal.serving import launcher
from multimodal.serving.launcher import Plan

PLAIN = {"NO_COLOR": "1", "COLUMNS": "200", "TERM": "dumb"}


def _run(*arguments: str, env: dict[str, str] | None = None) -> tuple[int, str]:
    result = CliRunner().invoke(cli.app, arguments, env=PLAIN | (env or {}))
    return result.exit_code, re.sub(r"\s+", " ", result.output)


@pytest.fixture
def prepared(monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """What `serve` asks to be prepared; nothing is started."""
    asked: dict[str, object] = {}

    def prepare(config: Path, **options: object) -> Plan:
        asked.update(options, config=config)
        found = ServeConfig(host="127.0.0.1", port=8000, args=None, document={})
        return Plan(config=found, home=Path(), dashboard_port=8300, env={})

    monkeypatch.setattr(launcher, "prepare", prepare)
    monkeypatch.setattr(launcher, "serve", lambda *args, **options: 0)
    return asked


def test_prints_the_version() -> None:
    assert _run("--version") == (0, f"multimodal {__version__} ")


def test_help_names_the_commands() -> None:
    _, output = _run("--help")
    assert all(command in output for command in ("serve", "models", "ingest"))


def test_without_arguments_it_helps() -> None:
    assert "Usage" in _run()[1]


def test_models_has_its_commands() -> None:
    _, output = _run("models", "--help")
    assert all(command in output for command in ("list", "pull", "verify"))


def test_help_of_serve_names_the_variables() -> None:
    _, output = _run("serve", "--help")
    for name in ("MULTIMODAL_HOST", "MULTIMODAL_PORT", "MULTIMODAL_DASHBOARD_PORT", "MULTIMODAL_HOME"):
        assert name in output


def test_serves_the_file_in_this_folder_by_default(prepared: dict[str, object]) -> None:
    assert _run("serve")[0] == 0
    assert prepared["config"] == Path("serve_config.yaml")
    assert prepared["host"] is None
    assert prepared["port"] is None


def test_variables_choose_the_addresses(prepared: dict[str, object]) -> None:
    env = {
        "MULTIMODAL_HOST": "::1",
        "MULTIMODAL_PORT": "9100",
        "MULTIMODAL_DASHBOARD_PORT": "9200",
        "MULTIMODAL_HOME": "/somewhere",
    }
    _run("serve", env=env)
    assert (prepared["host"], prepared["port"], prepared["dashboard_port"]) == ("::1", 9100, 9200)
    assert prepared["home"] == Path("/somewhere")


def test_options_win_over_variables(prepared: dict[str, object]) -> None:
    _run("serve", "--port", "9101", env={"MULTIMODAL_PORT": "9100"})
    assert prepared["port"] == 9101


def test_says_when_the_dashboard_moves(prepared: dict[str, object]) -> None:
    assert "Port 8299 is taken: the Ray dashboard uses 8300." in _run("serve", "--dashboard-port", "8299")[1]
    assert "is taken" not in _run("serve", "--dashboard-port", "8300")[1]


@pytest.fixture
def ingested(monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """What `ingest` is asked to do; nothing is sent."""
    asked: dict[str, object] = {}

    def ingest(folder: Path, url: str, key: str | None, options: Options, console: object) -> int:
        asked.update(folder=folder, url=url, key=key, options=options)
        return 1

    monkeypatch.setattr(command, "ingest", ingest)
    return asked


def test_ingest_sends_to_this_machine_by_default(ingested: dict[str, object], tmp_path: Path) -> None:
    assert _run("ingest", str(tmp_path), env={"MULTIMODAL_API_KEY": ""})[0] == 1
    assert ingested["folder"] == tmp_path
    assert (ingested["url"], ingested["key"]) == ("http://127.0.0.1:8000", "")
    assert ingested["options"] == Options()


def test_ingest_takes_its_options_and_the_key(ingested: dict[str, object], tmp_path: Path) -> None:
    how = ["--url", "http://x", "--concurrency", "2", "--purpose", "vision", "--no-wait"]
    pairs = ["--metadata", "year=2026", "--metadata", "who=me"]
    _run("ingest", str(tmp_path), *how, *pairs, env={"MULTIMODAL_API_KEY": "secret"})

    assert (ingested["url"], ingested["key"]) == ("http://x", "secret")
    assert ingested["options"] == Options(
        purpose="vision", metadata={"year": 2026, "who": "me"}, concurrency=2, wait=False
    )


@pytest.mark.parametrize("arguments", [["--concurrency", "0"], ["--concurrency", "33"]])
def test_ingest_refuses_what_makes_no_sense(
    ingested: dict[str, object], tmp_path: Path, arguments: list[str]
) -> None:
    assert _run("ingest", str(tmp_path), *arguments)[0] == 2
    assert _run("ingest", str(tmp_path / "nothing"))[0] == 2
    assert ingested == {}


@pytest.mark.parametrize("port", ["0", "65536", "http"])
def test_refuses_what_is_no_port(prepared: dict[str, object], port: str) -> None:
    assert _run("serve", "--port", port)[0] == 2
    assert prepared == {}


def test_what_the_operator_must_change_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*args: object, **options: object) -> NoReturn:
        raise ConfigError("Port 8000 is [taken].")

    monkeypatch.setattr(launcher, "prepare", refuse)
    monkeypatch.setattr("sys.argv", ["multimodal", "serve"])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == 2
    assert capsys.readouterr().err == "Port 8000 is [taken].\n"
