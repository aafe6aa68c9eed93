"""Keys, tenants, and several replicas of a deployment, with a graph without weights."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from multimodal.serving.background import RunningServer, running_server
from tests.e2e.conftest import MODEL
from tests.e2e.profile import Options, replicas, write_profile

KEYS = {"team-a": "the key of team a", "team-b": "the key of team b"}
REPLICAS = 2
PATIENCE_S = 30.0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """Two tenants, two Gateways, two AudioEncoders."""
    hashes = {hashlib.sha256(key.encode()).hexdigest(): tenant for tenant, key in KEYS.items()}

    def change(args: dict[str, object], options: Options) -> None:
        args["api"] = {"keys": hashes}
        args["audio"] = {"part_windows": 1}
        for name in ("Gateway", "AudioEncoder"):
            options[name].update(replicas(REPLICAS))

    file = write_profile(tmp_path_factory.mktemp("tenants"), change)
    with running_server(file) as server:
        yield server


def ask(server: RunningServer, tenant: str, text: str = "hello") -> httpx.Response:
    # A connection for each request, so that either Gateway may get it.
    return httpx.post(
        f"{server.base_url}/v1/chat/completions",
        json={"model": MODEL, "messages": [{"role": "user", "content": text}]},
        headers={"Authorization": f"Bearer {KEYS[tenant]}"},
        timeout=60,
    ).raise_for_status()


def families(server: RunningServer) -> dict[str, Metric]:
    headers = {"Authorization": f"Bearer {KEYS['team-a']}"}
    text = httpx.get(f"{server.base_url}/metrics", headers=headers, timeout=60).raise_for_status().text
    return {family.name: family for family in text_string_to_metric_families(text)}


def chats(server: RunningServer) -> dict[str, float]:
    """Chats of each tenant, all Gateways together."""
    counted = dict.fromkeys(KEYS, 0.0)
    for sample in families(server)["multimodal_requests"].samples:
        if sample.name.endswith("_total") and sample.labels["endpoint"].endswith("completions"):
            counted[sample.labels["tenant"]] += sample.value
    return counted


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic eA=="}])
@pytest.mark.parametrize("path", ["/v1/models", "/metrics"])
def test_without_a_known_key_nothing_is_told(
    server: RunningServer, path: str, headers: dict[str, str]
) -> None:
    refused = httpx.get(server.base_url + path, headers=headers, timeout=60)
    assert refused.status_code == 401
    assert refused.headers["www-authenticate"] == "Bearer"
    assert refused.json()["error"]["code"] == "invalid_api_key"


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_how_it_is_is_told_to_everyone(server: RunningServer, path: str) -> None:
    # Each Gateway asks for itself how the stages are, the first time within a second or not yet.
    answers = [httpx.get(server.base_url + path, timeout=60).status_code for _ in range(20)]
    assert 200 in answers
    assert 401 not in answers


def test_every_gateway_is_in_the_metrics_and_every_request_is_counted_once(server: RunningServer) -> None:
    for _ in range(10):
        ask(server, "team-a")
    for _ in range(5):
        ask(server, "team-b")
    assert chats(server) == {"team-a": 10, "team-b": 5}
    memory = families(server)["process_resident_memory_bytes"].samples
    gateways = {one.labels["replica"] for one in memory if one.labels["deployment"] == "Gateway"}
    assert len(gateways) == REPLICAS
    # Names stay: a series belongs to one replica for as long as that lives.
    again = families(server)["process_resident_memory_bytes"].samples
    assert {tuple(one.labels.values()) for one in again} == {tuple(one.labels.values()) for one in memory}


def audio_encoders(server: RunningServer) -> int:
    """Replicas that report metrics."""
    samples = families(server)["process_resident_memory_bytes"].samples
    return sum(one.labels["deployment"] == "AudioEncoder" for one in samples)


def test_a_long_recording_is_shared_out_among_the_replicas_and_comes_back_in_order(
    server: RunningServer,
) -> None:
    end = time.monotonic() + PATIENCE_S
    # A deployment is ready with its first replica.
    while audio_encoders(server) < REPLICAS:
        assert time.monotonic() < end
        time.sleep(0.2)
    answer = httpx.post(
        f"{server.base_url}/v1/audio/transcriptions",
        files={"file": ("long.wav", b"hum for 590 s")},
        data={"model": "whisper-1", "response_format": "verbose_json"},
        headers={"Authorization": f"Bearer {KEYS['team-a']}"},
        timeout=60,
    ).raise_for_status()
    # Windows of half a minute, each a call of its own.
    assert [segment["start"] for segment in answer.json()["segments"]] == [30 * n for n in range(20)]
    heard = {
        sample.labels["replica"]: sample.value
        for sample in families(server)["multimodal_encoded_items"].samples
        if sample.name.endswith("_total") and sample.labels["deployment"] == "AudioEncoder"
    }
    assert len(heard) == REPLICAS
    assert sum(heard.values()) == 20


def test_the_log_has_the_tenant_and_the_stages_but_neither_words_nor_keys(server: RunningServer) -> None:
    # Many that are much alike: each has its line.
    answers = [ask(server, "team-b", "SECRET words") for _ in range(20)]
    assert "SECRET" in answers[0].text
    ids = {answer.headers["x-request-id"] for answer in answers}
    text = log(server, ids)
    answer = answers[-1]
    (line,) = (line for line in lines(text) if line["request_id"] == answer.headers["x-request-id"])
    assert line["tenant"] == "team-b"
    assert line["status"] == 200
    stages = line["stages"]
    assert isinstance(stages, list)
    assert [stage["stage"] for stage in stages] == ["generate"]
    assert isinstance(line["duration_ms"], float)
    assert "SECRET" not in text
    assert not any(key in text for key in KEYS.values())


def log(server: RunningServer, ids: set[str]) -> str:
    """The log, once all of these requests are in it: Ray collects the lines about once a second."""
    end = time.monotonic() + PATIENCE_S
    while True:
        text = Path(server.logs, "serve.log").read_text(encoding="utf-8")
        if all(one in text for one in ids):
            return text
        assert time.monotonic() < end, "not every request is in the log"
        time.sleep(0.2)


def lines(text: str) -> Iterator[dict[str, object]]:
    """Request lines, whatever Ray has put in front of them."""
    for line in text.splitlines():
        if '"event": "request"' in line:
            yield json.loads(line[line.index("{") :])


def test_no_tenant_has_anything_of_the_files_of_another(server: RunningServer) -> None:
    def call(tenant: str, method: str, path: str, **body: object) -> httpx.Response:
        headers = {"Authorization": f"Bearer {KEYS[tenant]}"}
        return httpx.request(method, f"{server.base_url}{path}", headers=headers, timeout=60, **body)  # type: ignore[arg-type]

    form: dict[str, object] = {"files": {"file": ("plan.txt", b"the secret plan")}, "data": {"purpose": "x"}}
    file = call("team-a", "POST", "/v1/files", **form).raise_for_status().json()
    end = time.monotonic() + PATIENCE_S
    while call("team-a", "GET", f"/v1/files/{file['id']}").json()["status"] != "processed":
        assert time.monotonic() < end
        time.sleep(0.2)
    mine = call("team-a", "POST", "/v1/search", json={"query": "the secret plan"}).json()
    assert [one["file_id"] for one in mine["results"]] == [file["id"]]

    for method, path in (
        ("GET", ""),
        ("GET", "/content"),
        ("GET", "/thumbnails/0"),
        ("POST", "/retry"),
        ("DELETE", ""),
    ):
        answer = call("team-b", method, f"/v1/files/{file['id']}{path}")
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "file_not_found")
    assert call("team-b", "GET", "/v1/files").json()["data"] == []
    queries: list[object] = [
        {"query": "the secret plan"},
        {"query": "the secret plan", "filters": {"file_ids": [file["id"]]}},
    ]
    for query in queries:
        assert call("team-b", "POST", "/v1/search", json=query).json()["results"] == []
    named = {"query": {"type": "file", "file": {"file_id": file["id"]}}}
    assert call("team-b", "POST", "/v1/search", json=named).status_code == 404
    part = {"type": "file", "file": {"file_id": file["id"]}}
    chat = {"model": MODEL, "messages": [{"role": "user", "content": [part]}]}
    assert call("team-b", "POST", "/v1/chat/completions", json=chat).status_code == 404
    asked = {
        "model": MODEL,
        "messages": [{"role": "user", "content": "the secret plan"}],
        "retrieval": {"score_threshold": -1},
    }
    answer = call("team-b", "POST", "/v1/chat/completions", json=asked).raise_for_status()
    assert answer.json()["citations"] == []
    (cited,) = call("team-a", "POST", "/v1/chat/completions", json=asked).json()["citations"]
    assert cited["file_id"] == file["id"]

    again = call("team-b", "POST", "/v1/files", **form).raise_for_status().json()
    assert again["duplicates"] == []
    assert call("team-a", "GET", f"/v1/files/{file['id']}/content").content == b"the secret plan"
