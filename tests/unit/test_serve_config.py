from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from multimodal import serve_config
from multimodal.errors import ConfigError

OURS = "applications: [{import_path: 'deployments.app:app', args: %s}]"


def _write(folder: Path, text: str) -> Path:
    path = folder / "serve_config.yaml"
    path.write_text(text)
    return path


def test_listens_on_loopback_where_the_file_says_nothing(tmp_path: Path) -> None:
    found = serve_config.read(_write(tmp_path, "applications: [{import_path: 'a:b'}]"))
    assert (found.host, found.port) == ("127.0.0.1", 8000)


def test_derived_file_says_the_default_host_aloud(tmp_path: Path) -> None:
    found = serve_config.read(_write(tmp_path, "applications: [{import_path: 'a:b'}]"))
    found.write(tmp_path / "derived.yaml")
    assert yaml.safe_load((tmp_path / "derived.yaml").read_text())["http_options"]["host"] == "127.0.0.1"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
@given(
    host=st.sampled_from(["127.0.0.1", "::1", "0.0.0.0"]),
    port=st.integers(1, 65535),
    extra=st.dictionaries(
        st.text("abc_", min_size=1), st.none() | st.booleans() | st.integers() | st.text(max_size=8)
    ),
)
def test_another_address_changes_nothing_else(
    tmp_path: Path, host: str, port: int, extra: dict[str, object]
) -> None:
    document = {
        **extra,
        "http_options": {"host": "127.0.0.1", "port": 8000, "request_timeout_s": 30},
        "applications": [{"import_path": "a:b", "deployments": [{"name": "Generator", **extra}]}],
    }
    found = serve_config.read(_write(tmp_path, yaml.safe_dump(document)))
    found.at(host, port).write(tmp_path / "derived.yaml")
    changed = {"host": host, "port": port, "request_timeout_s": 30}
    assert yaml.safe_load((tmp_path / "derived.yaml").read_text()) == document | {"http_options": changed}


def test_keeps_the_address_unless_told_otherwise(tmp_path: Path) -> None:
    found = serve_config.read(_write(tmp_path, "http_options: {port: 9123}\n" + OURS % "{}"))
    assert found.at(None, None) == found


def test_reads_the_arguments_of_our_graph(tmp_path: Path) -> None:
    found = serve_config.read(_write(tmp_path, OURS % "{generator: {served_name: mine}}"))
    assert found.args is not None
    assert found.args.generator.served_name == "mine"


def test_does_not_judge_the_arguments_of_other_graphs(tmp_path: Path) -> None:
    found = serve_config.read(_write(tmp_path, "applications: [{import_path: 'a:b', args: {x: 1}}]"))
    assert found.args is None


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (OURS % "{limits: {body_byte: 1}}", "limits.body_byte"),
        (OURS % "{loader: {workers: 0}}", "loader.workers"),
        ("applications: []", "applications"),
        ("http_options: {port: 70000}\n" + OURS % "{}", "http_options.port"),
        ("just text", "not a Serve configuration"),
        ("a: [", "cannot be read"),
        ("!!python/object/apply:os.system ['true']", "cannot be read"),
    ],
)
def test_says_where_a_file_is_wrong(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        serve_config.read(_write(tmp_path, text))
    assert says in caught.value.message
    assert "\n" not in caught.value.message


def test_says_that_the_file_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"There is no .*absent.yaml"):
        serve_config.read(tmp_path / "absent.yaml")


def test_only_the_owner_can_read_the_derived_file(tmp_path: Path) -> None:
    found = serve_config.read(_write(tmp_path, OURS % "{}"))
    found.write(tmp_path / "derived.yaml")
    assert (tmp_path / "derived.yaml").stat().st_mode & 0o077 == 0
