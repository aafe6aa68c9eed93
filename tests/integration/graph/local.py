"""Runs the graph in this process (Serve's local testing mode) and talks HTTP to its Gateway."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol, cast

import httpx
import pytest
from fastapi import FastAPI
from ray import serve
from ray.serve import Application

from deployments.gateway import Gateway


class _Ingress(Protocol):
    app: FastAPI


def gateway_of(client: httpx.AsyncClient) -> Gateway:
    """The Gateway that a client talks to."""
    return GATEWAYS[client]


GATEWAYS: dict[httpx.AsyncClient, Gateway] = {}


@contextmanager
def running(app: Application, name: str) -> Iterator[httpx.AsyncClient]:
    """A client of the graph. Every deployment is a thread with an event loop of its own."""
    with tempfile.TemporaryDirectory(prefix="mm-state-") as folder, pytest.MonkeyPatch.context() as patch:
        # Deployments of graphs before this one are never told to let go of their index.
        patch.setitem(os.environ, "MULTIMODAL_STATE", folder)
        with _running(app, name) as client:
            yield client


@contextmanager
def _running(app: Application, name: str) -> Iterator[httpx.AsyncClient]:
    handle = serve.run(app, name=name, _local_testing_mode=True)
    # Local testing mode has no HTTP proxy: the client talks to the Gateway's ASGI app itself.
    handle._init()  # type: ignore[no-untyped-call]
    replica = getattr(handle._router, "_user_callable_wrapper")._callable  # noqa: B009
    ingress = cast(_Ingress, replica)
    transport = httpx.ASGITransport(ingress.app, client=("127.0.0.1", 1))
    client = httpx.AsyncClient(transport=transport, base_url="http://localhost", timeout=120)
    GATEWAYS[client] = cast(Gateway, replica)
    yield client
    del GATEWAYS[client]


def question(*parts: dict[str, object], **options: object) -> dict[str, object]:
    """The body of a chat request with one user message."""
    return {
        "model": "smollm2-135m-instruct",
        "messages": [{"role": "user", "content": list(parts)}],
        **options,
    }


def answer(response: httpx.Response) -> str:
    """What the assistant said."""
    response.raise_for_status()
    return str(response.json()["choices"][0]["message"]["content"])
