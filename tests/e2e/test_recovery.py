"""The engine dies: Serve replaces it, the rest goes on, and clients are told when to come back."""

from __future__ import annotations

import time
from pathlib import Path

import httpx
import psutil

from multimodal.config import home
from multimodal.generation.compiling import missing_tools
from multimodal.serving.background import RunningServer
from tests.e2e.conftest import MODEL

ASK = {"model": MODEL, "messages": [{"role": "user", "content": "Hello."}], "max_tokens": 5}
NOTICED_S = 30.0
REPLACED_S = 240.0


def engines(server: RunningServer) -> list[psutil.Process]:
    children = psutil.Process(server.pid).children(recursive=True)
    return [child for child in children if "VLLM::" in " ".join(child.cmdline())]


def compiled_models() -> dict[Path, int]:
    """All that were ever compiled here, and when."""
    return {path: path.stat().st_mtime_ns for path in (home() / "compiled").glob("*/**/rank_*/model")}


def test_the_engine_is_one_process_and_keeps_no_threads_for_groups_of_one(server: RunningServer) -> None:
    (engine,) = engines(server)
    names = [Path(f"/proc/{engine.pid}/task/{one.id}/comm").read_text() for one in engine.threads()]
    assert sum(name.startswith("gloo_tcp") for name in names) <= 1


def test_a_dead_engine_is_replaced_while_the_rest_goes_on(server: RunningServer, http: httpx.Client) -> None:
    old, compiled = engines(server), compiled_models()
    assert old
    assert bool(compiled) == (not missing_tools())
    for process in old:
        process.kill()

    end = time.monotonic() + NOTICED_S
    while (response := http.post("/v1/chat/completions", json=ASK)).status_code == 200:
        assert time.monotonic() < end, "nobody noticed"
    assert response.status_code == 503
    assert response.json()["error"]["code"] == "stage_unavailable"
    assert int(response.headers["retry-after"]) > 0

    assert http.get("/healthz").status_code == 200
    assert http.get("/metrics").status_code == 200
    embeddings = http.post("/v1/embeddings", json={"model": "text", "input": "still here"})
    assert embeddings.status_code == 200

    end = time.monotonic() + NOTICED_S
    while (unready := http.get("/readyz")).status_code == 200:
        assert time.monotonic() < end, "a dead engine counts as ready"
        time.sleep(0.2)
    assert unready.json()["unavailable"] == ["Generator"]

    end = time.monotonic() + REPLACED_S
    while http.get("/readyz").status_code != 200:
        assert time.monotonic() < end, "it was not replaced"
        time.sleep(1)
    assert http.post("/v1/chat/completions", json=ASK).status_code == 200
    assert not {process.pid for process in old} & {process.pid for process in engines(server)}
    assert compiled_models() == compiled, "the model was compiled again"


def test_a_killed_replica_takes_its_engine_with_it(server: RunningServer, http: httpx.Client) -> None:
    """vLLM leaves its engine running, with all its memory, when its front end is killed."""
    (engine,) = [process for process in engines(server) if "EngineCore" in " ".join(process.cmdline())]
    replica = engine.parent()
    assert replica is not None
    replica.kill()
    psutil.wait_procs([engine], timeout=NOTICED_S)
    assert not engine.is_running()
    end = time.monotonic() + REPLACED_S
    while (response := http.post("/v1/chat/completions", json=ASK)).status_code != 200:
        assert response.status_code == 503
        assert time.monotonic() < end, "it was not replaced"
        time.sleep(1)
