"""Calls about one key meet at one of three replicas, on a real Ray Serve, while it is not too much for it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
import yaml

from multimodal.serving.background import running_server
from tests.e2e.obedient import Gate, until

REPLICAS = 3
FLOOR = 64
KEYS = [f"key-{i}" for i in range(30)]

WORKER = {
    "name": "Worker",
    "num_replicas": REPLICAS,
    "max_ongoing_requests": 200,
    "ray_actor_options": {"num_cpus": 0.1},
    "request_router_config": {
        "request_router_class": "deployments.affinity.AffinityRouter",
        "request_router_kwargs": {"load_factor": 1.25, "floor": FLOOR},
    },
}
FRONT = {"name": "Front", "max_ongoing_requests": 200, "ray_actor_options": {"num_cpus": 0.1}}


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """Where calls are made, by someone who has heard of all replicas."""
    file = tmp_path_factory.mktemp("config") / "serve_config.yaml"
    application = {
        "name": "sticky",
        "route_prefix": "/",
        "import_path": "tests.e2e.sticky_app:app",
        "deployments": [FRONT, WORKER],
    }
    file.write_text(yaml.safe_dump({"applications": [application]}), encoding="utf-8")
    with (
        running_server(file, ready_timeout_s=120) as server,
        httpx.Client(base_url=server.base_url, timeout=60) as client,
    ):
        # Serve tells Front of each replica as it starts: the last one after it says that all of them run.
        opened = file.with_name("opened")
        Gate(opened).open()
        until(lambda: len(set(owners(client, opened).values())) == REPLICAS)
        yield client


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    """What all work waits at."""
    return Gate(tmp_path / "gate")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Of the gate."""
    return tmp_path / "gate"


Seen = dict[str, str]


def ask(front: httpx.Client, path: Path, keys: Sequence[str], how: str = "value") -> list[Seen]:
    body = {"keys": keys, "gate": str(path), "how": how}
    answer = front.post("/ask", json=body).raise_for_status().json()
    assert isinstance(answer, list)
    return answer


def owners(front: httpx.Client, path: Path, how: str = "value") -> dict[str, str]:
    return dict(zip(KEYS, (seen["replica"] for seen in ask(front, path, KEYS, how)), strict=True))


def test_a_key_meets_the_same_replica_however_it_is_called(
    front: httpx.Client, gate: Gate, path: Path
) -> None:
    gate.open()
    first = owners(front, path)
    assert len(set(first.values())) == REPLICAS
    for how in ("value", "reference", "stream"):
        assert owners(front, path, how) == first


def test_calls_without_a_key_go_anywhere(front: httpx.Client, gate: Gate, path: Path) -> None:
    gate.open()
    met = Counter(seen["replica"] for seen in ask(front, path, [""] * 60))
    assert len(met) > 1


def test_calls_at_the_same_time_share_the_work(front: httpx.Client, gate: Gate, path: Path) -> None:
    """Among calls about other keys, and about none, of the same request and of others.

    All calls together are below the floor: "hot" and "cold" may well belong to the same replica.
    """
    share = FLOOR // 4
    with ThreadPoolExecutor(FLOOR) as threads:
        alone = [threads.submit(ask, front, path, ["hot"]) for _ in range(share)]
        together = threads.submit(ask, front, path, ["hot", "", "cold"] * share)
        until(lambda: gate.waiting == 4 * share)
        gate.open()
        answers = [*together.result()[::3], *(one.result()[0] for one in alone)]
    assert len(answers) == 2 * share
    assert len({(seen["replica"], seen["run"]) for seen in answers}) == 1


def test_others_take_over_what_is_too_much_for_one(front: httpx.Client, gate: Gate, path: Path) -> None:
    with ThreadPoolExecutor(FLOOR) as threads:
        asked = threads.submit(ask, front, path, ["hot"] * 150)
        until(lambda: gate.waiting == 150)
        gate.open()
        answers = asked.result()
    met = Counter(seen["replica"] for seen in answers)
    assert sorted(met.values(), reverse=True) == [FLOOR, FLOOR, 150 - 2 * FLOOR]
    assert len({seen["run"] for seen in answers}) == REPLICAS


def test_work_goes_on_for_who_waits_when_the_client_that_began_it_goes_away(
    front: httpx.Client, gate: Gate, path: Path
) -> None:
    """Serve cancels all calls that were made for a request with the request."""
    body = {"keys": ["shared"], "gate": str(path)}
    asked, gone = Gate(path.with_name("asked")), Gate(path.with_name("gone"))
    with ThreadPoolExecutor(FLOOR) as threads:
        first = threads.submit(front.post, "/share", json=body, timeout=3.0)
        until(lambda: gate.waiting == 1)
        second = threads.submit(front.post, "/share", json=body)
        until(lambda: asked.waiting == 2)
        assert isinstance(first.exception(), httpx.ReadTimeout)
        until(lambda: gone.waiting == 1)
        gate.open()
        assert second.result().status_code == 200
    assert gate.waiting == 1


def test_the_keys_of_a_replica_that_dies_go_to_others_and_no_other_key_moves(
    front: httpx.Client, gate: Gate, path: Path
) -> None:
    gate.open()
    before = owners(front, path)
    dead = before["key-0"]
    assert front.post("/die", params={"key": "key-0"}).json()
    after = owners(front, path)
    for key in KEYS:
        is_new = after[key] not in before.values()  # what Serve may have started by now, in its place
        assert after[key] != dead
        assert is_new or before[key] in (after[key], dead)
    until(lambda: len(set(owners(front, path).values())) == REPLICAS)
    assert dead not in owners(front, path).values()
