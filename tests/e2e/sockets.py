"""Who can be reached from outside."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

import psutil


def listening_beyond_loopback(processes: Iterable[psutil.Process]) -> list[tuple[str, str, int]]:
    """Name, address and port of every TCP socket that listens on more than loopback."""
    found = []
    for process in processes:
        if not process.is_running():
            continue
        for connection in process.net_connections(kind="tcp"):
            if connection.status == psutil.CONN_LISTEN and not _is_loopback(connection.laddr.ip):
                found.append((process.name(), connection.laddr.ip, connection.laddr.port))
    return found


def _is_loopback(ip: str) -> bool:
    address = ipaddress.ip_address(ip)
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback
