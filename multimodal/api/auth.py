"""Who calls: API keys mean tenants; without keys only this machine is served."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import re
from collections.abc import Collection, Mapping
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from multimodal.api.exchange import exchange_of
from multimodal.errors import ConfigError, Forbidden, Unauthenticated

LOCAL_TENANT = "local"
OPEN_PATHS = frozenset({"/healthz", "/readyz"})
"""Whoever starts or balances servers asks these, and has no key."""

_SHA256_HEX = re.compile(r"[0-9a-f]{64}")
_PROXY_HEADERS = ("forwarded", "x-forwarded-for", "x-real-ip")


class KeyRing:
    """Maps API keys to tenants and holds only their hashes."""

    def __init__(self, keys: Mapping[str, str]) -> None:
        self._keys = tuple((digest.strip().lower(), tenant) for digest, tenant in keys.items())
        if not all(_SHA256_HEX.fullmatch(digest) for digest, _ in self._keys):
            raise ConfigError("api.keys: each name must be the SHA-256 of an API key, 64 hexadecimal digits.")
        if not all(tenant for _, tenant in self._keys):
            raise ConfigError("api.keys: a tenant must not be empty.")

    def __bool__(self) -> bool:
        return bool(self._keys)

    def tenant(self, authorization: str) -> str:
        """Tenant of an Authorization header, in a time that tells nothing. Raises Unauthenticated."""
        scheme, _, key = authorization.partition(" ")
        digest = hashlib.sha256(key.strip().encode()).hexdigest()
        found = None
        for known, tenant in self._keys:
            if hmac.compare_digest(known, digest):
                found = tenant
        if scheme.lower() != "bearer" or found is None:
            raise Unauthenticated("Send a known API key as `Authorization: Bearer <key>`.")
        return found


class AuthMiddleware:
    """Puts the tenant into the exchange, or refuses the request before its body is read.

    Without keys nothing protects the server but that it serves this machine only. So it also refuses what
    reaches it from this machine on behalf of others: web pages of other sites (by Origin), host names that a
    stranger points at 127.0.0.1 (DNS rebinding, by Host), and proxies.
    """

    def __init__(self, app: ASGIApp, *, keys: KeyRing, allowed_hosts: Collection[str] = ()) -> None:
        self._app = app
        self._keys = keys
        self._allowed_hosts = frozenset(allowed_hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] not in OPEN_PATHS:
            exchange_of(scope).tenant = self._tenant(scope)
        await self._app(scope, receive, send)

    def _tenant(self, scope: Scope) -> str:
        headers = Headers(scope=scope)
        if self._keys:
            return self._keys.tenant(headers.get("authorization", ""))
        self._require_local(scope, headers)
        return LOCAL_TENANT

    def _require_local(self, scope: Scope, headers: Headers) -> None:
        client = scope.get("client")
        if not client or not _is_loopback(client[0]) or any(name in headers for name in _PROXY_HEADERS):
            raise Forbidden("Without configured API keys (api.keys) only callers on this machine are served.")
        if not self._is_local_host(f"//{headers.get('host', '')}"):
            raise Forbidden("Without configured API keys the Host must be localhost or a loopback address.")
        if "origin" in headers and not self._is_local_host(headers["origin"]):
            raise Forbidden("Without configured API keys pages of other sites may not call this server.")

    def _is_local_host(self, url: str) -> bool:
        try:
            host = urlsplit(url).hostname or ""
        except ValueError:
            return False
        return host == "localhost" or host in self._allowed_hosts or _is_loopback(host)


def _is_loopback(host: str) -> bool:
    """Whether it is 127.0.0.0/8 or ::1, also written as an IPv4 address in IPv6."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped.is_loopback
    return address.is_loopback
