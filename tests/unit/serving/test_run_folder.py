from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from multimodal.errors import ConfigError
from multimodal.serving import run_folder
from multimodal.serving.run_folder import RunFolder


def _ray_writes_logs(folder: RunFolder) -> None:
    session = folder.scratch / "ray" / "session_1"
    (session / "logs").mkdir(parents=True)
    (session / "logs" / "raylet.out").write_text("hello")
    (session / "spilled").write_bytes(b"x")
    (folder.scratch / "ray" / "session_latest").symlink_to(session)


def _copy(folder: RunFolder, text: str, tmp_path: Path) -> None:
    (tmp_path / "output").write_text(text)
    with (tmp_path / "output").open() as stream:
        folder._copy(stream)


def test_keeps_the_logs_and_deletes_the_rest(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path, 8000)
    _ray_writes_logs(folder)
    assert (folder.logs / "ray" / "raylet.out").read_text() == "hello"
    folder.close()
    assert (folder.logs / "ray" / "raylet.out").read_text() == "hello"
    assert not folder.scratch.exists()


def test_closes_where_ray_never_started(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path, 8000)
    folder.close()
    assert list(folder.logs.iterdir()) == []


def test_nobody_else_can_look_into_it(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path, 8000)
    assert folder.scratch.stat().st_mode & 0o077 == 0
    assert folder.logs.stat().st_mode & 0o077 == 0
    folder.close()


def test_leaves_room_for_the_sockets_of_ray(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    long = tmp_path / ("x" * 60)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    folder = RunFolder(tmp_path, 8000)
    socket = "ray/session_2026-12-31_23-59-59_999999_4194304/sockets/plasma_store"
    assert len(os.fsencode(folder.scratch / socket)) <= 107
    assert list(long.iterdir()) == []
    folder.close()


def test_deletes_the_oldest_logs_but_not_those_of_a_running_server(tmp_path: Path) -> None:
    running = RunFolder(tmp_path, 8000)
    _ray_writes_logs(running)
    for _ in range(run_folder.KEPT_RUNS + 3):
        RunFolder(tmp_path, 9000).close()
    assert running.logs.is_dir()
    assert len(list((tmp_path / "logs").iterdir())) == run_folder.KEPT_RUNS + 1
    running.close()


def test_copies_output_to_the_log(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path, 8000)
    lines = [f"line {number} [100%] %s" for number in range(100)]
    _copy(folder, "\n".join(lines), tmp_path)
    assert folder.log.read_text().splitlines() == lines
    assert folder.tail().splitlines() == lines[-30:]
    folder.close()


def test_the_log_stays_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_folder, "_LOG_BYTES", 1000)
    folder = RunFolder(tmp_path, 8000)
    _copy(folder, "a line of output\n" * 1000, tmp_path)
    assert sum(path.stat().st_size for path in folder.logs.glob("serve.log*")) <= 3000
    folder.close()


def test_says_that_home_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("a file")
    with pytest.raises(ConfigError, match="MULTIMODAL_HOME"):
        RunFolder(tmp_path, 8000)
