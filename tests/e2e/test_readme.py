"""Every command of README.md that can run here, in order, against the real server."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from multimodal.serving.background import RunningServer
from tests.e2e.conftest import ROOT
from tests.readme import PYTHON, Marker, readme_blocks

RUNNABLE = [block for block in readme_blocks(ROOT / "README.md") if block.marker is Marker.RUN]
COMMAND_TIMEOUT_S = 120


@pytest.mark.parametrize("index", range(len(RUNNABLE)), ids=lambda index: f"line {RUNNABLE[index].line}")
def test_the_command_works(server: RunningServer, index: int) -> None:
    # Later commands use files of earlier ones, so these tests run in order.
    block = RUNNABLE[index]
    text = block.text.replace("http://127.0.0.1:8000", server.base_url)
    interpreter = [sys.executable, "-"] if block.language in PYTHON else ["bash", "-euo", "pipefail", "-s"]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        interpreter,
        input=text,
        cwd=ROOT,
        env=os.environ | {"PATH": path},
        capture_output=True,
        text=True,
        timeout=COMMAND_TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert '"error"' not in done.stdout


def test_the_first_answer_that_readme_shows_is_the_one_that_comes(server: RunningServer) -> None:
    first = RUNNABLE[0].text.replace("http://127.0.0.1:8000", server.base_url)
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-s"],
        input=first,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=COMMAND_TIMEOUT_S,
        check=True,
    )
    shown = next(block for block in readme_blocks(ROOT / "README.md") if "data: [DONE]" in block.text)
    assert _answer(done.stdout) == _answer(shown.text) != ""


def _answer(stream: str) -> str:
    """The content of all chunks, which README may shorten around it."""
    pieces = re.findall(r'"content":"((?:[^"\\]|\\.)*)"', stream)
    return "".join(pieces)
