"""Processes die while files are processed, and the whole server: nothing that was acknowledged is lost.

A graph without weights; the library, its database and its index are real.
"""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path

import httpx
import psutil

from multimodal.serving.background import RunningServer, running_server
from tests.e2e.conftest import MODEL
from tests.e2e.profile import Options, write_profile

PATIENCE_S = 120.0
FILES = 40


def quick(args: dict[str, object], options: Options) -> None:
    """What a dead Ingestor worked on is soon another's, and the sweep comes often."""
    args["library"] = {"lease_s": 3, "poll_s": 0.1, "sweep_s": 2, "orphan_s": 3600, "attempts": 10}


def upload(server: RunningServer, number: int) -> str:
    file = {"file": (f"{number}.txt", f"note number{number} about thing{number}".encode())}
    while True:
        answer = httpx.post(
            f"{server.base_url}/v1/files", files=file, data={"purpose": "x"}, timeout=PATIENCE_S
        )
        if answer.status_code == 200:
            return str(answer.json()["id"])
        assert answer.status_code == 503, answer.text
        time.sleep(0.5)


def statuses(server: RunningServer) -> dict[str, str]:
    files = httpx.get(f"{server.base_url}/v1/files", timeout=PATIENCE_S).raise_for_status().json()["data"]
    return {one["id"]: one["status"] for one in files}


def until_processed(server: RunningServer, count: int) -> None:
    end = time.monotonic() + PATIENCE_S
    while list((found := statuses(server)).values()) != ["processed"] * count:
        assert "error" not in found.values()
        assert time.monotonic() < end, found
        time.sleep(0.3)


def found(server: RunningServer, number: int) -> list[str]:
    """Files that hold the word of this number, by search. Waits for a Retriever that restarts."""
    end = time.monotonic() + PATIENCE_S
    body = {"query": f"thing{number}", "weights": {"dense": 0}, "top_k": 5}
    while True:
        answer = httpx.post(f"{server.base_url}/v1/search", json=body, timeout=PATIENCE_S)
        if answer.status_code == 200:
            return [one["file_id"] for one in answer.json()["results"]]
        assert answer.status_code == 503, answer.text
        assert time.monotonic() < end
        time.sleep(0.5)


def kill(server: RunningServer, deployment: str) -> None:
    """Its replica, with SIGKILL."""
    replicas = [
        process
        for process in psutil.Process(server.pid).children(recursive=True)
        if f":{deployment}" in " ".join(process.cmdline()) and "ServeReplica" in " ".join(process.cmdline())
    ]
    assert len(replicas) == 1, deployment
    replicas[0].kill()


def test_replicas_die_and_the_server_dies_and_every_file_is_found(tmp_path: Path) -> None:
    profile = write_profile(tmp_path, quick)
    env = {"MULTIMODAL_STATE": str(tmp_path / "state")}
    with running_server(profile, env=env) as server:
        ids = [upload(server, number) for number in range(FILES // 2)]
        kill(server, "Ingestor")
        ids += [upload(server, number) for number in range(FILES // 2, FILES)]
        kill(server, "Retriever")
        # Whatever is done with the index, the rest goes on.
        chat = {"model": MODEL, "messages": [{"role": "user", "content": "hello"}]}
        answer = httpx.post(f"{server.base_url}/v1/chat/completions", json=chat, timeout=PATIENCE_S)
        assert answer.status_code == 200
        until_processed(server, FILES)
        assert [found(server, number) for number in range(FILES)] == [[one] for one in ids]
        httpx.delete(f"{server.base_url}/v1/files/{ids[0]}", timeout=PATIENCE_S).raise_for_status()
        ids.append(upload(server, FILES))
        kill_all(server)

    with running_server(profile, env=env) as server:
        until_processed(server, FILES)
        assert found(server, 0) == []
        assert [found(server, number) for number in range(1, FILES + 1)] == [[one] for one in ids[1:]]
        content = httpx.get(f"{server.base_url}/v1/files/{ids[-1]}/content", timeout=PATIENCE_S)
        assert content.content == f"note number{FILES} about thing{FILES}".encode()


def kill_all(server: RunningServer) -> None:
    """As when the machine loses its power, but for what the kernel has yet to write."""
    everything = psutil.Process(server.pid)
    for process in [everything, *everything.children(recursive=True)]:
        with suppress(psutil.NoSuchProcess):  # it went with one before it
            process.kill()
