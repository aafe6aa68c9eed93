"""What must hold before anything is started. Each check raises ConfigError with one sentence that helps."""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
import sys
from pathlib import Path

from multimodal.config import AppArgs
from multimodal.errors import ConfigError
from multimodal.models import refs
from multimodal.models.commands import configured_refs
from multimodal.models.refs import ModelState
from multimodal.serving import memory

PYTHON = (3, 11)
"""The one version for which the lock files were resolved."""

GIB = 1024**3

BASE_BYTES = 5 * GIB
"""Memory of the embedded profile without its KV cache: about 1 GiB for Ray's own processes, 0.4 GiB for each
of eight replicas that import PyTorch, and 0.8 GiB for weights and working memory."""

DASHBOARD_TRIES = 50
"""Ports tried after a taken dashboard port, as many as Ray tries."""


def check_python(version: tuple[int, int] = sys.version_info[:2]) -> None:
    """This interpreter is one that the lock files fit."""
    if version != PYTHON:
        wanted, found = ("{}.{}".format(*numbers) for numbers in (PYTHON, version))
        raise ConfigError(f"CPython {wanted} is needed and this is {found}: install with that version.")


def check_exposure(host: str, args: AppArgs | None) -> None:
    """Without keys nobody but this machine may connect."""
    if args is not None and args.api.keys:
        return
    if not is_loopback(host):
        raise ConfigError(
            f"Listening on {host} would let anybody use the server, because no API keys are configured: "
            "add some under `args: api: keys:`, or use 127.0.0.1."
        )


def check_port(host: str, port: int) -> None:
    """The address is free and ours to use."""
    problem = _bind_error(host, port)
    match problem:
        case None:
            return
        case errno.EADDRINUSE:
            what = f"Port {port} on {host} is taken: stop what listens there"
        case errno.EACCES:
            what = f"Port {port} is reserved for root"
        case errno.EADDRNOTAVAIL:
            raise ConfigError(f"{host} is not an address of this machine: set MULTIMODAL_HOST to one.")
        case _:
            what = f"Port {port} on {host} cannot be used ({os.strerror(problem)})"
    raise ConfigError(f"{what}, or choose another port with MULTIMODAL_PORT.")


def choose_dashboard_port(wanted: int) -> int:
    """The wanted port on loopback, or the next free one."""
    last = min(wanted + DASHBOARD_TRIES, 65535)
    for port in range(wanted, last + 1):
        if _bind_error("127.0.0.1", port) is None:
            return port
    raise ConfigError(
        f"Ports {wanted} to {last} are all taken: choose another for the Ray dashboard with "
        "MULTIMODAL_DASHBOARD_PORT."
    )


def free_port() -> int:
    """A port on loopback that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def check_memory(args: AppArgs | None) -> None:
    """There is room for the graph; graphs that are not ours are not judged."""
    if args is None:
        return
    needed = needed_bytes(args)
    limit = memory.address_space_bytes()
    if limit is not None:
        raise ConfigError(
            f"The address space is limited to {limit / GIB:.1f} GiB, which Ray and vLLM cannot work with: "
            "run `ulimit -v unlimited` first."
        )
    available = memory.available_bytes()
    if available < needed:
        raise ConfigError(
            f"About {needed / GIB:.0f} GiB of memory must be free and {available / GIB:.1f} GiB are: "
            "end other programs, or lower `generator: kv_cache_bytes:` in the configuration."
        )


def needed_bytes(args: AppArgs) -> int:
    """Memory that the graph takes on this machine, bytes."""
    on_accelerator = args.generator.gpu_memory_utilization is not None
    return BASE_BYTES + (0 if on_accelerator else args.generator.kv_cache_bytes)


def check_models(args: AppArgs | None, home: Path, pull_command: str) -> None:
    """Every model that the configuration names is in the store."""
    wanted = configured_refs(args) if args is not None else []
    lacking = [str(ref) for ref in wanted if refs.state(ref, home) is not ModelState.READY]
    if lacking:
        verb = "is" if len(lacking) == 1 else "are"
        raise ConfigError(f"{', '.join(lacking)} {verb} not ready: run `{pull_command}`.")


def is_loopback(host: str) -> bool:
    """Whether only this machine can connect to a server that listens there."""
    return all(ipaddress.ip_address(address).is_loopback for _, address in _resolve(host))


def _resolve(host: str) -> list[tuple[socket.AddressFamily, str]]:
    """Family and address of everything that the name stands for, best first."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise ConfigError(f"{host!r} is not a host name or address: set MULTIMODAL_HOST to one.") from error
    return [(family, str(address[0])) for family, _, _, _, address in found]


def _bind_error(host: str, port: int) -> int | None:
    """The error number that listening there would give, None for none."""
    family, address = _resolve(host)[0]
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(
            socket.SOL_SOCKET, socket.SO_REUSEADDR, 1
        )  # connections that just ended do not count
        try:
            probe.bind((address, port))
        except OSError as error:
            return error.errno
    return None
