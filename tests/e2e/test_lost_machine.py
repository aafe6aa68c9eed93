"""A machine of the cluster goes away with decoded media in its object store: they are loaded again."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import httpx
import pytest

from multimodal.serving.background import RunningServer, running_server
from tests.e2e.conftest import MODEL
from tests.e2e.machine import Cluster
from tests.e2e.obedient import Gate, until
from tests.e2e.profile import Options, write_profile

PATIENCE_S = 100.0
DECODES = "decodes"
"""The resource of machines that MediaLoader runs on."""

SLOTS = 2
CHAT = "/v1/chat/completions"


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """That of the server."""
    cluster = Cluster()
    yield cluster
    cluster.lose_machines()


@pytest.fixture
def server(cluster: Cluster, tmp_path: Path) -> Iterator[RunningServer]:
    """MediaLoader runs on a machine of its own; ImageEncoder and Reader can be kept busy."""

    def change(args: dict[str, object], options: Options) -> None:
        options["MediaLoader"]["ray_actor_options"] = {"num_cpus": 0, "resources": {DECODES: 1}}
        for name in ("ImageEncoder", "Reader"):
            options[name]["max_ongoing_requests"] = SLOTS

    file = write_profile(tmp_path, change, "obedient")
    with ThreadPoolExecutor(1) as elsewhere:
        # The server is not ready before it has this machine, and it ends with the thread that starts it.
        joined = elsewhere.submit(cluster.add_machine, DECODES)
        with running_server(file) as server:
            joined.result()
            yield server


def ask(server: RunningServer, said: str, is_loaded: Event) -> str:
    """The last event of an answer about a picture whose stages are told something."""
    url = f"data:image/png;base64,{base64.b64encode(said.encode()).decode()}"
    body = {
        "model": MODEL,
        "messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}],
        "stream": True,
        "stream_options": {"include_stages": True},
    }
    last = ""
    with httpx.stream("POST", f"{server.base_url}{CHAT}", json=body, timeout=PATIENCE_S) as response:
        for line in response.iter_lines():
            last = line or last
            if "encoding image" in line:
                is_loaded.set()
    return last


def test_media_that_went_with_a_machine_are_loaded_again(
    server: RunningServer, cluster: Cluster, tmp_path: Path
) -> None:
    gate, loads = Gate(tmp_path / "gate"), Gate(tmp_path / "loads")
    loads.open()
    is_loaded = Event()
    with ThreadPoolExecutor(SLOTS + 1) as pool:
        orders = f"{gate.before('ImageEncoder')} {gate.before('Reader')}"
        # Other bytes each: who asks about the same shares the work.
        busy = [pool.submit(ask, server, f"{orders} {number}", Event()) for number in range(SLOTS)]
        until(lambda: gate.waiting >= 2)
        # Both stages that want this picture are busy: it waits on the machine that decoded it.
        answer = pool.submit(ask, server, loads.before("MediaLoader"), is_loaded)
        assert is_loaded.wait(PATIENCE_S)
        assert loads.waiting == 1
        cluster.lose_machines()
        cluster.add_machine(DECODES)
        gate.open()
        assert {future.result() for future in (answer, *busy)} == {"data: [DONE]"}
    assert loads.waiting == 2
