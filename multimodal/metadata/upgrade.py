"""Brings a database up to date with Alembic."""

from __future__ import annotations

import threading
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, Engine, text

from multimodal.errors import ConfigError

_LOCK = int.from_bytes(b"mmdalmig")
"""Of PostgreSQL's advisory locks: whoever brings the database up to date holds it."""

_ONE_AT_A_TIME = threading.Lock()
"""Alembic keeps what it works on in a module."""


def upgrade(engine: Engine) -> None:
    """Bring the database to the newest revision, in one transaction. Does nothing where it is there.

    Raises ConfigError where a newer version of this product made it.
    """
    with _ONE_AT_A_TIME, engine.begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
        config = migrations(connection)
        heads = ScriptDirectory.from_config(config).get_heads()
        if set(MigrationContext.configure(connection).get_current_heads()) == set(heads):
            return
        try:
            command.upgrade(config, "head")
        except CommandError as error:
            raise ConfigError(
                "The metadata database was made by a newer version. Install that one, or name another "
                "library.database_url."
            ) from error


def migrations(connection: Connection) -> Config:
    """Alembic's configuration: the revisions in this package, on this connection."""
    config = Config()
    folder = str(Path(__file__).parent / "migrations")
    config.set_main_option("script_location", folder.replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config
