"""A PostgreSQL server for tests, on a socket of its own. Debian's package `postgresql` has what it needs."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import psycopg

SUPERUSER = "postgres"


@dataclass(frozen=True, slots=True)
class Postgres:
    """A server that runs."""

    folder: Path
    """Where its socket is."""

    @contextmanager
    def database(self) -> Iterator[str]:
        """SQLAlchemy's URL of an empty database, which is dropped afterwards."""
        name = f"test_{uuid4().hex}"
        self._run(f"CREATE DATABASE {name}")
        try:
            yield f"postgresql://{SUPERUSER}@/{name}?host={self.folder}"
        finally:
            self._run(f"DROP DATABASE {name} WITH (FORCE)")

    def _run(self, statement: str) -> None:
        with psycopg.connect(
            host=str(self.folder), user=SUPERUSER, dbname="postgres", autocommit=True
        ) as connection:
            connection.execute(statement.encode())


@contextmanager
def running_postgres() -> Iterator[Postgres]:
    """Start a server, which refuses to run as root, and stop it afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="pg-"))  # not pytest's: only root could enter that
    if os.geteuid() == 0:
        shutil.chown(folder, SUPERUSER)
    data = folder / "data"
    try:
        _run(folder, "initdb", "--no-sync", "--auth=trust", f"--username={SUPERUSER}", "-D", str(data))
        options = f"-k {folder} -c listen_addresses= -c fsync=off"
        _run(folder, "pg_ctl", "-D", str(data), "-w", "-l", str(folder / "log"), "-o", options, "start")
        try:
            yield Postgres(folder)
        finally:
            _run(folder, "pg_ctl", "-D", str(data), "-w", "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder)


def _run(folder: Path, command: str, *arguments: str) -> None:
    owner = pwd.getpwnam(SUPERUSER) if os.geteuid() == 0 else None
    subprocess.run(
        [_binary(command), *arguments],
        check=True,
        cwd=folder,
        stdout=subprocess.DEVNULL,
        user=owner and owner.pw_uid,
        group=owner and owner.pw_gid,
        extra_groups=[] if owner else None,
    )


def _binary(name: str) -> str:
    """Debian keeps the server's programs out of the path."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda one: int(one.parent.name))
    found = shutil.which(name, path=os.pathsep.join([*map(str, reversed(folders)), os.environ["PATH"]]))
    if found is None:
        raise FileNotFoundError(f"{name} is not installed: apt-get install postgresql")
    return found
