"""A machine of the cluster goes away with decoded media in its object store: they are loaded again."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import httpx
import pytest

from deployments.pictures import ENCODED_BYTES
from multimodal.serving.background import RunningServer, running_server
from tests.e2e.conftest import MODEL
from tests.e2e.machine import Cluster
from tests.e2e.obedient import Gate, until
from tests.e2e.profile import Options, write_profile

PATIENCE_S = 100.0
DECODES = "decodes"
"""The resource of machines that MediaLoader runs on."""

FROZEN_S = 3.0
"""Longer than it takes to ask for a picture."""

CHAT = "/v1/chat/completions"


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """That of the server."""
    cluster = Cluster()
    yield cluster
    cluster.lose_machines()


@pytest.fixture(scope="module")
def server(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """MediaLoader runs on a machine of its own; ImageEncoder and Reader take one call at a time."""

    def change(args: dict[str, object], options: Options) -> None:
        options["MediaLoader"]["ray_actor_options"] = {"num_cpus": 0, "resources": {DECODES: 1}}
        for name in ("ImageEncoder", "Reader"):
            options[name]["max_ongoing_requests"] = 1

    file = write_profile(tmp_path_factory.mktemp("profile"), change, "obedient")
    with ThreadPoolExecutor(1) as elsewhere:
        # The server is not ready before it has this machine, and it ends with the thread that starts it.
        joined = elsewhere.submit(cluster.add_machine, DECODES)
        with running_server(file) as server:
            joined.result()
            yield server


def ask(server: RunningServer, said: str, is_loaded: Event) -> str:
    """The last event of an answer about a picture whose stages are told something: a large one, which goes
    by reference."""
    said = said.ljust(ENCODED_BYTES + 1)
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


def lose_at_once(cluster: Cluster, gate: Gate) -> None:
    """The picture is not there when its stages want it."""
    cluster.lose_machines()
    cluster.add_machine(DECODES)
    gate.open()


def lose_while_it_is_fetched(cluster: Cluster, gate: Gate) -> None:
    """The stages want the picture of a machine that does not answer, and then is gone."""
    cluster.freeze_machines()
    gate.open()
    time.sleep(FROZEN_S)
    cluster.lose_machines()
    cluster.add_machine(DECODES)


@pytest.mark.parametrize("lose", [lose_at_once, lose_while_it_is_fetched])
def test_media_that_went_with_a_machine_are_loaded_again(
    server: RunningServer, cluster: Cluster, tmp_path: Path, lose: Callable[[Cluster, Gate], None]
) -> None:
    gate, loads = Gate(tmp_path / "gate"), Gate(tmp_path / "loads")
    loads.open()
    is_loaded = Event()
    with ThreadPoolExecutor(2) as pool:
        busy = pool.submit(ask, server, f"{gate.before('ImageEncoder')} {gate.before('Reader')}", Event())
        until(lambda: gate.waiting == 2)
        # Both stages that want this picture are busy: it waits on the machine that decoded it.
        answer = pool.submit(ask, server, loads.before("MediaLoader"), is_loaded)
        assert is_loaded.wait(PATIENCE_S)
        assert loads.waiting == 1
        lose(cluster, gate)
        assert {answer.result(), busy.result()} == {"data: [DONE]"}
    assert loads.waiting == 2


def test_media_whose_machine_goes_while_it_makes_them_are_loaded_again(
    server: RunningServer, cluster: Cluster, tmp_path: Path
) -> None:
    """All that the stages hear of is an argument that failed, and the machine is not known to be gone yet."""
    loads = Gate(tmp_path / "loads")
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(ask, server, loads.before("MediaLoader"), Event())
        until(lambda: loads.waiting == 1)
        cluster.lose_machines()
        cluster.add_machine(DECODES)
        loads.open()
        assert answer.result() == "data: [DONE]"
    assert loads.waiting == 2
