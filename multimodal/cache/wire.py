"""Connections to Redis, for `multimodal.cache.remote`.

Redis answers in order, and does not say what it answers: a connection whose replies were not read to the end
would give them to whoever uses it next. So a connection is used again only after all its replies were read,
and is closed after anything else that ended its use: an error, a limit of time, a cancellation.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import TypeAlias
from urllib.parse import parse_qs, urlsplit

from redis import exceptions
from redis.asyncio.connection import AbstractConnection, ConnectionPool, SSLConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from multimodal.errors import ConfigError

Argument: TypeAlias = str | bytes | int
Reply: TypeAlias = bytes | int | exceptions.ResponseError | None
"""An error of one command is its reply; the connection is as good as before."""

CONNECT_S = 1.0
"""Longest that connecting may take. Nobody waits for so long: see `multimodal.cache.remote`."""

SEND_BYTES = 256 * 1024
"""What is given to the socket at a time, so that what waits to be sent is never copied as a whole."""

SCHEMES = ("redis", "rediss", "unix")
OPTIONS = frozenset(
    {"db", "ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs", "ssl_check_hostname"}
)
"""Of a URL. Others would undo what is set here, or hold a password."""


class Wire:
    """Connections to one Redis. Of one event loop.

    Raises ConfigError for a URL that cannot be used. No error and no text of it names the password.
    """

    def __init__(self, url: str, password: str | None, password_env: str) -> None:
        _require_usable(url, password_env)
        try:
            # It makes connections only: waiting for one of those that it keeps would have no limit.
            self._maker = ConnectionPool.from_url(
                url,
                password=password,
                protocol=2,  # its parser is the smaller one, and has no notifications
                socket_timeout=None,  # each use has a limit of its own
                socket_connect_timeout=CONNECT_S,
                retry=Retry(NoBackoff(), 0),
                driver_info=None,
            )
        except ValueError:
            raise _bad("is no address of a Redis: it looks like redis://host:6379/0") from None
        # Read once: it takes tens of milliseconds of the event loop.
        self._tls = self._with_certificates()
        self._idle: list[AbstractConnection] = []
        self._closed = False

    @asynccontextmanager
    async def line(self) -> AsyncIterator[Line]:
        """A connection of one's own. Raises RedisError and OSError; connecting takes CONNECT_S at most."""
        connection = self._idle.pop() if self._idle else self._make()
        try:
            await _prepare(connection)
            yield Line(connection)
        except BaseException:
            await connection.disconnect(nowait=True)
            raise
        if self._closed:
            await connection.disconnect(nowait=True)
        else:
            self._idle.append(connection)

    def _make(self) -> AbstractConnection:
        connection: AbstractConnection = self._maker.make_connection()  # type: ignore[no-untyped-call]
        if self._tls is not None and isinstance(connection, SSLConnection):
            connection.ssl_context = self._tls.ssl_context
        return connection

    def _with_certificates(self) -> SSLConnection | None:
        """A connection that others have their certificates from; None: no TLS."""
        try:
            connection = self._maker.make_connection()  # type: ignore[no-untyped-call]
            if not isinstance(connection, SSLConnection):
                return None
            connection.ssl_context.get()
        except (OSError, exceptions.RedisError):
            raise _bad("names certificates that cannot be read, or options of TLS that are none") from None
        return connection

    async def close(self) -> None:
        """Those in use are closed when they come back."""
        self._closed = True
        while self._idle:
            await self._idle.pop().disconnect(nowait=True)


class Line:
    """A connection in use."""

    def __init__(self, connection: AbstractConnection) -> None:
        self._connection = connection

    async def send(self, *commands: Sequence[Argument]) -> None:
        """All of them before the first reply is read. Raises RedisError and OSError."""
        for chunk in self._connection.pack_commands(commands):
            for start in range(0, len(chunk), SEND_BYTES):
                await self._connection.send_packed_command(chunk[start : start + SEND_BYTES])

    async def receive(self) -> Reply:
        """The reply to the next command. Raises RedisError and OSError."""
        try:
            reply = await self._connection.read_response()
        except exceptions.ResponseError as error:
            return error
        if reply is None or isinstance(reply, bytes | int):
            return reply
        raise exceptions.InvalidResponse("a reply of an unknown kind")


def reason_of(error: BaseException) -> str:
    """What went wrong, in a word for metrics and logs: what Redis says may hold more than they should."""
    return next((reason for kinds, reason in _REASONS if isinstance(error, kinds)), "malformed")


_Kinds: TypeAlias = tuple[type[BaseException], ...]

_REASONS: Iterable[tuple[_Kinds, str]] = (
    (
        (exceptions.AuthenticationError, exceptions.AuthorizationError, exceptions.NoPermissionError),
        "auth",
    ),
    ((exceptions.OutOfMemoryError,), "full"),
    ((exceptions.ReadOnlyError,), "read_only"),
    ((exceptions.BusyLoadingError,), "loading"),
    ((exceptions.ResponseError,), "refused"),
    ((exceptions.TimeoutError, asyncio.TimeoutError), "timeout"),
    ((exceptions.ConnectionError, OSError), "connection"),
)
"""The first that fits: some of these classes are others' children."""


async def _prepare(connection: AbstractConnection) -> None:
    """Connect, where it is not connected, or was closed by Redis while nobody used it."""
    if connection.is_connected and await connection.can_read():
        await connection.disconnect(nowait=True)
    await connection.connect()  # type: ignore[no-untyped-call]


def _require_usable(url: str, password_env: str) -> None:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in SCHEMES and (parts.port is None or parts.port > 0)
    except ValueError:
        raise _bad("is no address of a Redis: it looks like redis://host:6379/0") from None
    options = parse_qs(parts.query, keep_blank_values=True)
    if parts.password is not None or any("password" in name for name in options):
        raise _bad(f"holds a password. Put that into the environment variable {password_env}")
    if not usable:
        raise _bad("must begin with redis://, rediss:// or unix://")
    if not options.keys() <= OPTIONS:
        raise _bad("has options that are not known here. Known are " + ", ".join(sorted(OPTIONS)))


def _bad(what: str) -> ConfigError:
    return ConfigError(f"cache.redis_url {what}.")
