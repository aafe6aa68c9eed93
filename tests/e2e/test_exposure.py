"""Who can reach the server."""

from __future__ import annotations

import psutil

from multimodal.serving.background import RunningServer
from tests.e2e.sockets import listening_beyond_loopback


def test_everything_listens_on_loopback_only(server: RunningServer) -> None:
    processes = psutil.Process(server.pid).children(recursive=True)
    assert len(processes) > 10
    assert listening_beyond_loopback(processes) == []
