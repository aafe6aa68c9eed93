"""The database: opened, brought up to date, and used in transactions.

Several processes use one at the same time. SQLite runs in WAL mode, where readers and the one writer do not
wait for each other, and flushes every transaction to the disk. A transaction that writes says so when it
begins: one that only finds out later could not wait for the writer before it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from sqlite3 import Connection as SqliteConnection
from sqlite3 import Error as SqliteError

from filelock import FileLock
from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DatabaseError, InterfaceError, NoSuchModuleError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session

from multimodal.errors import ConfigError, StageUnavailable
from multimodal.metadata.upgrade import upgrade

BUSY_MS = 30_000
"""How long a writer of SQLite waits for the one before it."""

POOL, OVERFLOW = 4, 12
"""Connections of one process that stay open, and that come on top when many are needed."""

_UNREACHABLE = (OperationalError, InterfaceError, PoolTimeout)


class Database:
    """Transactions. Methods block, and any number of threads may call them."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._writing = engine.execution_options(immediate=True)

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A transaction that reads. Raises StageUnavailable."""
        with _reachable(), Session(self._engine) as session, session.begin():
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """A transaction that may write. It is on the disk when this ends, or not at all where the body
        raises. Raises StageUnavailable."""
        with _reachable(), Session(self._writing, expire_on_commit=False) as session, session.begin():
            session.connection()  # it begins now: what the first statement reads must not change any more
            yield session

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()


def open_database(url: str | None, home: Path) -> Database:
    """Open a database, made or brought up to date where that is needed.

    Any number of processes may do so at the same time.

    Args:
        url: SQLAlchemy's; None: SQLite, `library/metadata.db` in `home`.
        home: MULTIMODAL_STATE.

    Raises:
        ConfigError: it cannot be opened, is of another kind, or was made by a newer version.
    """
    parsed = _parsed(url, home)
    is_sqlite = parsed.get_backend_name() == "sqlite"
    engine = _sqlite(parsed) if is_sqlite else _postgresql(parsed)
    try:
        if is_sqlite:
            _prepare_sqlite(engine, Path(str(parsed.database)))
        else:
            upgrade(engine)
    except (OSError, SqliteError, DatabaseError, *_UNREACHABLE) as error:
        engine.dispose()
        raise ConfigError(
            "The metadata database cannot be opened. See that it runs, that library.database_url is right, "
            "and that this user may write to it."
        ) from error
    except BaseException:
        engine.dispose()
        raise
    return Database(engine)


def _parsed(url: str | None, home: Path) -> URL:
    if url is None:
        return URL.create("sqlite", database=str((home / "library" / "metadata.db").absolute()))
    try:
        parsed = make_url(url)
        backend, dialect = parsed.get_backend_name(), parsed.get_dialect()
        dialect.import_dbapi()
    except (ArgumentError, NoSuchModuleError, ImportError) as error:
        raise ConfigError("library.database_url is no SQLAlchemy URL of a database known here.") from error
    if backend not in ("sqlite", "postgresql") or dialect.is_async:
        raise ConfigError("library.database_url must be a sqlite or postgresql URL, with no async driver.")
    if backend == "sqlite" and parsed.database in (None, "", ":memory:"):
        raise ConfigError("library.database_url must name a file: several processes share the database.")
    return parsed


def _postgresql(url: URL) -> Engine:
    return create_engine(url, hide_parameters=True, pool_size=POOL, max_overflow=OVERFLOW, pool_pre_ping=True)


def _sqlite(url: URL) -> Engine:
    # Transactions begin in `_begin`, and not by themselves.
    engine = create_engine(
        url,
        hide_parameters=True,
        pool_size=POOL,
        max_overflow=OVERFLOW,
        connect_args={"isolation_level": None},
    )
    event.listen(engine, "connect", _configure)
    event.listen(engine, "begin", _begin)
    return engine


def _prepare_sqlite(engine: Engine, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # Changing to WAL mode does not wait for other processes that do the same.
    with FileLock(path.with_name(path.name + ".lock")):
        _use_wal(engine)
        upgrade(engine.execution_options(immediate=True))


def _configure(connection: SqliteConnection, record: object) -> None:
    """Of each connection: the file does not remember these."""
    for pragma in (f"busy_timeout = {BUSY_MS}", "foreign_keys = ON", "synchronous = FULL"):
        connection.execute(f"PRAGMA {pragma}")


def _begin(connection: Connection) -> None:
    immediate = connection.get_execution_options().get("immediate", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")


def _use_wal(engine: Engine) -> None:
    raw = engine.raw_connection()
    try:
        cursor = raw.cursor()
        cursor.execute("PRAGMA journal_mode = WAL")
        (mode,) = cursor.fetchone() or ("",)
        cursor.close()
    finally:
        raw.close()
    if mode != "wal":
        raise ConfigError("The folder of the metadata database must be on a local disk.")


@contextmanager
def _reachable() -> Iterator[None]:
    try:
        yield
    except _UNREACHABLE as error:
        raise StageUnavailable("The metadata database cannot be reached. Try again later.") from error
