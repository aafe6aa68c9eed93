"""Keeps the gRPC port of every replica on loopback.

Ray Serve 2.60 opens a port on all interfaces in each replica, without authentication, and unpickles what
arrives there: anyone who reaches it runs code. It serves calls by value, which `deployments/calls.py` makes
on one machine. With Ray's TLS (RAY_USE_TLS=1) callers have to show a certificate, and the port stays as Serve
opens it.
"""

from __future__ import annotations

import os
from typing import Protocol

from ray.serve._private import replica


class _Server(Protocol):
    def add_insecure_port(self, address: str) -> int: ...


def keep_on_loopback() -> None:
    """Call before the replica opens its port: modules of deployments do, when they are imported."""
    if _is_set("RAY_USE_TLS"):
        return
    if not hasattr(replica, "add_port_to_grpc_server"):
        raise RuntimeError("This version of Ray Serve opens its gRPC port in another way than 2.60 does.")
    replica.add_port_to_grpc_server = _add_loopback_port


def reaches_replicas() -> bool:
    """Whether that port of every replica can be reached from here."""
    return _is_set("RAY_USE_TLS") or not _is_set("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER")


def _is_set(name: str) -> bool:
    return os.environ.get(name, "0").lower() in ("1", "true")


def _add_loopback_port(server: _Server, address: str) -> int:
    port = address.rpartition(":")[2]
    return server.add_insecure_port(f"127.0.0.1:{port}")
