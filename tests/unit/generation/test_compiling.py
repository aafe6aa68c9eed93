"""Whether models can be compiled here, and where what comes of it is kept."""

from __future__ import annotations

import logging
import os
import sysconfig
from pathlib import Path

import pytest

from multimodal.generation import compiling

VARIABLES = ("VLLM_CACHE_ROOT", "TORCHINDUCTOR_CACHE_DIR")


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", {"PATH": os.environ["PATH"]})


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A compiler and Python's headers, in a folder."""
    (tmp_path / "Python.h").touch()
    (tmp_path / "g++").touch(mode=0o755)
    os.environ["PATH"] = str(tmp_path)
    monkeypatch.setattr(sysconfig, "get_path", lambda _name: str(tmp_path))
    return tmp_path


def test_what_is_compiled_is_kept_in_a_folder_of_this_user(tools: Path) -> None:
    home = tools / "home"
    assert compiling.prepare(home)
    folder = home / "compiled" / compiling.processor()
    assert folder.stat().st_mode & 0o777 == 0o700
    assert all(Path(os.environ[name]).is_relative_to(folder) for name in VARIABLES)
    assert compiling.prepare(home)


def test_what_the_environment_says_goes_before_it(tools: Path) -> None:
    os.environ["VLLM_CACHE_ROOT"] = "elsewhere"
    assert compiling.prepare(tools / "home")
    assert os.environ["VLLM_CACHE_ROOT"] == "elsewhere"


@pytest.mark.parametrize("missing", ["g++", "Python.h"])
def test_without_its_tools_nothing_is_compiled_and_the_log_says_what_to_install(
    tools: Path, missing: str, caplog: pytest.LogCaptureFixture
) -> None:
    (tools / missing).unlink()
    with caplog.at_level(logging.WARNING):
        assert not compiling.prepare(tools / "home")
    assert {"g++": "install g++", "Python.h": "install python3.11-dev"}[missing] in caplog.text
    assert not any(name in os.environ for name in VARIABLES)


def test_another_processor_has_another_folder(tmp_path: Path) -> None:
    names = []
    for number, flags in enumerate(["fpu avx2", "fpu avx2 avx512f", "fpu avx2"]):
        cpuinfo = tmp_path / str(number)
        cpuinfo.write_text(f"processor\t: 0\ncpu MHz\t: {number}\nflags\t\t: {flags}\n", encoding="utf-8")
        names.append(compiling.processor(cpuinfo))
    assert names[0] == names[2] != names[1]
