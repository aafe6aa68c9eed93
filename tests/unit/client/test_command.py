"""What a person sees of `multimodal ingest`."""

from __future__ import annotations

import io
from collections import Counter
from pathlib import Path

import pytest
from rich.console import Console

from multimodal.client import command
from multimodal.client.command import MAX_SHOWN, ingest, parse_metadata, report
from multimodal.client.ingest import Failure, Fate, Options, Summary
from multimodal.client.server import Server
from multimodal.errors import ConfigError
from multimodal.library.records import FileStatus
from tests.unit.client.world import World


class Screen:
    def __init__(self) -> None:
        self._written = io.StringIO()
        self.console = Console(file=self._written, width=100)

    @property
    def text(self) -> str:
        return self._written.getvalue()


@pytest.fixture
def screen() -> Screen:
    return Screen()


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    """The server at every URL."""
    world = World()

    async def sleep(seconds: float) -> None:
        await world.sleep(seconds)

    monkeypatch.setattr(Server, "at", lambda url, key: world.server())
    monkeypatch.setattr("multimodal.client.ingest.asyncio.sleep", sleep)
    return world


def test_a_folder_that_goes_well(world: World, screen: Screen, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("first")
    world.after = lambda request: world.process()

    assert ingest(tmp_path, "http://x", None, Options(), screen.console) == 0
    assert "1 sent, 1 searchable." in screen.text
    assert "sending 1 files" in screen.text


def test_a_folder_with_a_damaged_file(world: World, screen: Screen, tmp_path: Path) -> None:
    (tmp_path / "a[b].txt").write_text("first")
    world.after = lambda request: world.process(
        status=FileStatus.ERROR, error_code="invalid_media", error_message="It is [red]damaged."
    )

    assert ingest(tmp_path, "http://x", None, Options(), screen.console) == 1
    assert "a[b].txt" in screen.text
    assert "It is [red]damaged." in screen.text
    assert "The same command" in screen.text


def test_an_empty_folder(world: World, screen: Screen, tmp_path: Path) -> None:
    assert ingest(tmp_path, "http://x", None, Options(), screen.console) == 0
    assert "Nothing to do." in screen.text


def test_ctrl_c_says_how_to_go_on(monkeypatch: pytest.MonkeyPatch, screen: Screen, tmp_path: Path) -> None:
    async def interrupted(*args: object) -> Summary:
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "_run", interrupted)
    assert ingest(tmp_path, "http://x", None, Options(), screen.console) == 130
    assert "The same command goes on from here." in screen.text


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "ftp://x", "http://", "http://a b", "http://x/?a=b"])
def test_what_is_no_address(screen: Screen, tmp_path: Path, url: str) -> None:
    with pytest.raises(ConfigError, match="--url"):
        ingest(tmp_path, url, None, Options(), screen.console)


def test_long_lists_of_failures_are_cut(screen: Screen) -> None:
    failures = [Failure(shown=f"{number}.txt", reason="No.") for number in range(MAX_SHOWN + 5)]
    report(Summary(fates=Counter({Fate.EMPTY: 2}), failures=failures, waiting=3), screen.console)

    assert "2 empty and left out, 3 still being processed." in screen.text
    assert f"{MAX_SHOWN + 5} failed" in screen.text
    assert f"{MAX_SHOWN}.txt" not in screen.text
    assert "... and 5 more." in screen.text


def test_metadata_are_read_as_json_where_they_are() -> None:
    pairs = ["a=1", "b=1.5", "c=true", 'd="1"', "e=01", "f=x=y", "g=", "h=null", "i=[1]", "j=NaN"]
    assert parse_metadata(pairs) == {
        "a": 1,
        "b": 1.5,
        "c": True,
        "d": "1",
        "e": "01",
        "f": "x=y",
        "g": "",
        "h": "null",
        "i": "[1]",
        "j": "NaN",
    }


@pytest.mark.parametrize("pair", ["a", "=1", "a b=1", "x" * 65 + "=1"])
def test_what_are_no_metadata(pair: str) -> None:
    with pytest.raises(ConfigError, match="key=value"):
        parse_metadata([pair])
