"""One real server for all end-to-end tests: real Ray Serve, real vLLM, real models, on ports of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import openai
import psutil
import pytest

from multimodal.serving.background import RunningServer, running_server

ROOT = Path(__file__).parents[2]
MODEL = "smollm2-135m-instruct"


@pytest.fixture(scope="session")
def server() -> Iterator[RunningServer]:
    """The embedded profile as `make run` starts it. When it stops, none of its processes may be left."""
    with running_server(ROOT / "serve_config.yaml") as server:
        yield server
        processes = psutil.Process(server.pid).children(recursive=True)
    assert len(processes) > 10  # Ray, a replica for each deployment, vLLM's engine
    # One that has just ended is there until whoever inherited it has noticed.
    _, left = psutil.wait_procs(processes, timeout=10)
    assert left == []


@pytest.fixture(scope="session")
def client(server: RunningServer) -> Iterator[openai.OpenAI]:
    """OpenAI's own client, which needs some key and may not try twice."""
    with openai.OpenAI(
        base_url=f"{server.base_url}/v1", api_key="none", max_retries=0, timeout=180
    ) as client:
        yield client


@pytest.fixture(scope="session")
def http(server: RunningServer) -> Iterator[httpx.Client]:
    """For what OpenAI's client has no call for."""
    with httpx.Client(base_url=server.base_url, timeout=180) as client:
        yield client
