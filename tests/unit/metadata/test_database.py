"""The metadata database, on SQLite and on a PostgreSQL server."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Engine, event, select, text

from multimodal.errors import ConfigError, StageUnavailable
from multimodal.metadata import database as module
from multimodal.metadata.database import Database, open_database
from multimodal.metadata.tables import Base, Tenant
from tests.postgres import Postgres


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str | None]:
    """Of an empty database."""
    if request.param == "sqlite":
        yield None
        return
    server: Postgres = request.getfixturevalue("postgres")
    with server.database() as made:
        yield made


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "100% home"


@contextmanager
def opened(url: str | None, home: Path) -> Iterator[Database]:
    database = open_database(url, home)
    try:
        yield database
    finally:
        database.close()


@contextmanager
def statements() -> Iterator[list[str]]:
    """Those that are executed meanwhile."""
    seen: list[str] = []

    def note(*arguments: object) -> None:
        seen.append(str(arguments[2]))

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        event.remove(Engine, "before_cursor_execute", note)


def a_tenant(name: str) -> Tenant:
    return Tenant(name=name, files=0, bytes=0, last_us=0)


def tenants(database: Database) -> list[str]:
    with database.read() as session:
        return list(session.scalars(select(Tenant.name).order_by(Tenant.name)))


def test_the_migrations_make_what_the_tables_say(url: str | None, home: Path) -> None:
    with opened(url, home) as database, database.read() as session:
        context = MigrationContext.configure(session.connection())
        assert compare_metadata(context, Base.metadata) == []


def test_opening_it_again_changes_nothing(url: str | None, home: Path) -> None:
    with opened(url, home) as database, database.write() as session:
        session.add(a_tenant("ann"))
    with statements() as seen, opened(url, home) as database:
        changes = [one for one in seen if one.split()[0] in ("CREATE", "ALTER", "DROP", "INSERT", "UPDATE")]
        assert changes == []
        assert tenants(database) == ["ann"]


def test_many_can_open_it_at_the_same_moment(url: str | None, home: Path) -> None:
    together = threading.Barrier(8)

    def open_it() -> Database:
        together.wait()
        return open_database(url, home)

    with ThreadPoolExecutor(8) as threads:
        databases = [one.result() for one in [threads.submit(open_it) for _ in range(8)]]
    for number, database in enumerate(databases):
        with database.write() as session:
            session.add(a_tenant(str(number)))
    assert tenants(databases[0]) == [str(number) for number in range(8)]
    for database in databases:
        database.close()


def test_a_database_of_a_newer_version_is_refused_and_left_alone(url: str | None, home: Path) -> None:
    with opened(url, home) as database, database.write() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(ConfigError, match="newer version"):
        open_database(url, home)


def test_a_migration_that_fails_leaves_nothing(url: str | None, home: Path) -> None:
    prefixed = _starting("CREATE TABLE files", RuntimeError("killed"))
    event.listen(Engine, "before_cursor_execute", prefixed)
    try:
        with pytest.raises(RuntimeError, match="killed"):
            open_database(url, home)
    finally:
        event.remove(Engine, "before_cursor_execute", prefixed)
    with opened(url, home) as database:
        assert tenants(database) == []


def test_a_transaction_whose_body_fails_leaves_nothing(url: str | None, home: Path) -> None:
    def fail(database: Database) -> None:
        with database.write() as session:
            session.add(a_tenant("ann"))
            session.flush()
            raise ValueError("mistake")

    with opened(url, home) as database:
        with pytest.raises(ValueError, match="mistake"):
            fail(database)
        assert tenants(database) == []


def test_writers_wait_for_each_other_and_lose_nothing(url: str | None, home: Path) -> None:
    def count(database: Database) -> None:
        for _ in range(10):
            with database.write() as session:
                session.get_one(Tenant, "ann", with_for_update=True).files += 1

    with opened(url, home) as one, opened(url, home) as other:
        with one.write() as session:
            session.add(a_tenant("ann"))
        with ThreadPoolExecutor(4) as threads:
            for done in [threads.submit(count, database) for database in (one, other, one, other)]:
                done.result()
        with one.read() as session:
            assert session.get_one(Tenant, "ann").files == 40


def test_a_reader_does_not_wait_for_a_writer(url: str | None, home: Path) -> None:
    with opened(url, home) as database, database.write() as session:
        session.add(a_tenant("ann"))
        session.flush()
        assert tenants(database) == []


def test_connections_that_the_server_closed_are_replaced(postgres: Postgres, home: Path) -> None:
    with postgres.database() as url, opened(url, home) as one, opened(url, home) as other:
        assert tenants(one) == []
        with other.write() as session:
            others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid != pg_backend_pid()"
            session.execute(text(f"{others} AND datname = current_database()"))
        assert tenants(one) == []


def test_a_server_that_goes_away_in_a_transaction_is_unavailable(postgres: Postgres, home: Path) -> None:
    with postgres.database() as url, opened(url, home) as database:
        with pytest.raises(StageUnavailable) as raised, database.write() as session:
            session.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))
        assert "SELECT" not in raised.value.message


def test_a_writer_of_sqlite_that_waits_too_long_is_told_so(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BUSY_MS", 1)
    with opened(None, home) as one, opened(None, home) as other, one.write():
        waiting = other.write()
        with pytest.raises(StageUnavailable, match="database"):
            waiting.__enter__()


def test_sqlite_keeps_what_was_committed_through_a_power_cut(home: Path) -> None:
    with opened(None, home) as database, database.read() as session:
        assert session.scalar(text("PRAGMA journal_mode")) == "wal"
        assert session.scalar(text("PRAGMA synchronous")) == 2  # FULL
        assert session.scalar(text("PRAGMA foreign_keys")) == 1


def test_without_a_url_the_database_lies_in_the_home_folder(home: Path) -> None:
    with opened(None, home), closing(sqlite3.connect(home / "library" / "metadata.db")) as connection:
        assert connection.execute("SELECT count(*) FROM files").fetchone() == (0,)


@pytest.mark.parametrize(
    "url",
    [
        "no url with hunter2",
        "mysql://ann:hunter2@host/base",
        "nothing://ann:hunter2@host/base",
        "sqlite://",
        "sqlite:///:memory:",
        "postgresql://ann:hunter2@127.0.0.1:1/base",
        "postgresql+nothing://ann:hunter2@host/base",
        "postgresql+psycopg2://ann:hunter2@host/base",
        "postgresql+psycopg_async://ann:hunter2@host/base",
        "sqlite:////dev/null/hunter2.db",
    ],
)
def test_a_database_that_cannot_be_used_is_a_mistake_of_the_configuration(url: str, home: Path) -> None:
    with pytest.raises(ConfigError) as raised:
        open_database(url, home)
    assert "hunter2" not in raised.value.message


def test_a_file_that_is_no_database_is_a_mistake_of_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "metadata.db").write_bytes(b"something else, " * 100)
    with pytest.raises(ConfigError):
        open_database(f"sqlite:///{tmp_path}/metadata.db", tmp_path)


def _starting(prefix: str, error: Exception) -> Callable[..., None]:
    def fail(*arguments: object) -> None:
        if str(arguments[2]).strip().startswith(prefix):
            raise error

    return fail
