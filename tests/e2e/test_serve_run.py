"""Plain `serve run`, without our launcher: as safe as `make run`, and Ctrl-C ends it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import psutil
import pytest

from multimodal.serving.checks import free_port
from tests.e2e.conftest import ROOT
from tests.e2e.profile import write_profile
from tests.e2e.sockets import listening_beyond_loopback

START_S = 120.0
STOP_S = 60.0


@pytest.fixture
def running() -> Iterator[tuple[psutil.Process, str]]:
    """`serve run` with the options of serve_config.yaml, and fakes in the place of models."""
    port = free_port()
    # Not pytest's own: Ray's sockets are in there, and their paths may have 107 characters.
    folder = Path(tempfile.mkdtemp(prefix="mm-"))
    file = write_profile(folder, lambda args, options: None, port=port)
    output = (folder / "output").open("wb")
    command = [str(Path(sys.executable).with_name("serve")), "run", str(file)]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, "RAY_TMPDIR": str(folder)},
        stdout=output,
        stderr=output,
        start_new_session=True,
    )
    try:
        yield psutil.Process(process.pid), f"http://127.0.0.1:{port}"
    finally:
        _end(process)
        output.close()
        shutil.rmtree(folder)


def _end(process: subprocess.Popen[bytes]) -> None:
    children = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
    process.kill()
    process.wait()
    for child in children:
        with suppress(psutil.NoSuchProcess):
            child.kill()


def test_it_serves_on_loopback_only_and_ctrl_c_ends_all_of_it(
    running: tuple[psutil.Process, str],
) -> None:
    process, url = running
    end = time.monotonic() + START_S
    while not _ready(url):
        assert process.is_running(), "serve run ended"
        assert time.monotonic() < end, "serve run did not become ready"
        time.sleep(0.5)
    children = process.children(recursive=True)
    assert listening_beyond_loopback([process, *children]) == []

    process.send_signal(signal.SIGINT)
    _, left = psutil.wait_procs([process, *children], timeout=STOP_S)
    assert left == []


def _ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz", timeout=2).status_code == 200
    except httpx.TransportError:
        return False
