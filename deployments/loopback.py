"""Keeps the ports of every replica on loopback.

Ray Serve 2.60 opens a port on all interfaces in each replica, without authentication, and unpickles what
arrives there: anyone who reaches it runs code. It serves calls by value, which `deployments/calls.py` makes
on one machine. With Ray's TLS (RAY_USE_TLS=1) callers have to show a certificate, and the port stays as Serve
opens it.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Protocol

from ray.serve._private import http_util, replica

if TYPE_CHECKING:
    import uvicorn
    from ray.serve.config import HTTPOptions
    from starlette.types import ASGIApp


class _Server(Protocol):
    def add_insecure_port(self, address: str) -> int: ...


def keep_on_loopback() -> None:
    """Call before the replica opens its port: modules of deployments do, when they are imported."""
    if _is_set("RAY_USE_TLS"):
        return
    if not hasattr(replica, "add_port_to_grpc_server"):
        raise RuntimeError("This version of Ray Serve opens its gRPC port in another way than 2.60 does.")
    replica.add_port_to_grpc_server = _add_loopback_port
    if is_one_machine() and _is_set("RAY_SERVE_ENABLE_HA_PROXY"):
        # HAProxy has the address that clients use, and asks Gateways at 127.0.0.1, whatever that address is.
        replica.start_asgi_http_server = _start_on_loopback  # type: ignore[attr-defined]


def reaches_replicas() -> bool:
    """Whether that port of every replica can be reached from here."""
    return _is_set("RAY_USE_TLS") or is_one_machine()


def is_one_machine() -> bool:
    """Whether Ray keeps to this machine; without a word it does not."""
    return not _is_set("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "1")


def _is_set(name: str, default: str = "0") -> bool:
    return os.environ.get(name, default).lower() in ("1", "true")


async def _start_on_loopback(
    app: ASGIApp,
    http_options: HTTPOptions,
    *,
    event_loop: asyncio.AbstractEventLoop,
    enable_so_reuseport: bool = False,
) -> tuple[asyncio.Task[None], uvicorn.Server]:
    options = http_options.model_copy(update={"host": "127.0.0.1"})
    return await http_util.start_asgi_http_server(
        app, options, event_loop=event_loop, enable_so_reuseport=enable_so_reuseport
    )


def _add_loopback_port(server: _Server, address: str) -> int:
    port = address.rpartition(":")[2]
    return server.add_insecure_port(f"127.0.0.1:{port}")
