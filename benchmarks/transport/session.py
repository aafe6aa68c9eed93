"""A Ray session of its own that serves the app, and what its processes cost."""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import os
import secrets
import tempfile
from collections.abc import Iterator, Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, cast

import psutil

from benchmarks import processes
from benchmarks.transport.turns import Turn

if TYPE_CHECKING:
    from benchmarks.transport.app import Handle

ROOT = Path(__file__).parent.parent.parent

MAX_MESSAGE_BYTES = 64 * 2**20
"""Serve's own limit of a call by value is 4 MiB, gRPC's default."""
STORE_BYTES = 512 * 2**20
END_S = 30.0

LOOPS: Mapping[str, Mapping[str, str]] = {
    "Serve defaults": {},
    "one loop": {
        "RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "0",
        "RAY_SERVE_RUN_ROUTER_IN_SEPARATE_LOOP": "0",
    },
}
"""Where a replica runs its user's code and its router: in threads of their own, or in its main loop."""

ON_THE_WAY = ("ray::ServeReplica", "raylet", "gcs_server")
"""Processes that a call can pass: replicas, object store, and the table of actors."""


class Session:
    """Drives the app from here."""

    def __init__(self, connection: Connection, process_id: int, log: Path) -> None:
        self._connection = connection
        self._log = log
        self.receive()
        self._all = processes.tree(psutil.Process(process_id))
        self._processes = [one for one in self._all if _takes_part(one)]

    def run(self, turn: Turn) -> list[float]:
        """Milliseconds of each call; blocks. Raises RuntimeError when the session has ended."""
        self._connection.send(turn)
        return cast("list[float]", self.receive())

    def processes(self) -> list[psutil.Process]:
        """Those that a call can pass."""
        return self._processes

    def all_processes(self) -> list[psutil.Process]:
        """Those of the whole session."""
        return self._all

    def receive(self) -> object:
        """What the session says next."""
        try:
            return self._connection.recv()
        except EOFError:
            tail = self._log.read_text(encoding="utf-8", errors="replace")[-1500:]
            raise RuntimeError(f"The Ray session ended. Its output ends with:\n{tail}") from None


@contextlib.contextmanager
def session(loops: str) -> Iterator[Session]:
    """Serve the app with these LOOPS until the block is left."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    with tempfile.TemporaryDirectory(prefix="transport-", ignore_cleanup_errors=True) as folder:
        log = Path(folder, "output.log")
        process = context.Process(target=_main, args=(theirs, environment(loops, folder), log))
        process.start()
        theirs.close()
        try:
            yield Session(ours, cast("int", process.pid), log)
        finally:
            ours.close()
            process.join(END_S)
            _end(psutil.Process(cast("int", process.pid)) if process.is_alive() else None)


def _end(process: psutil.Process | None) -> None:
    for one in reversed(processes.tree(process) if process else []):
        with contextlib.suppress(psutil.NoSuchProcess):
            one.kill()


def environment(loops: str, folder: str) -> dict[str, str]:
    """As `multimodal serve` has it: on loopback, with a token."""
    return {
        **LOOPS[loops],
        "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH")))),
        "RAY_TMPDIR": folder,
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "RAY_SERVE_REPLICA_GRPC_MAX_MESSAGE_LENGTH": str(MAX_MESSAGE_BYTES),
        "RAY_USAGE_STATS_ENABLED": "0",
    }


def _takes_part(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        command = process.cmdline()
        return bool(command) and (
            command[0].startswith(ON_THE_WAY) or Path(command[0]).name.startswith(ON_THE_WAY)
        )
    return False


def _main(connection: Connection, env: Mapping[str, str], log: Path) -> None:
    os.environ.pop("RAY_ADDRESS", None)
    os.environ.update(env)
    with log.open("wb") as stream:
        os.dup2(stream.fileno(), 1)
        os.dup2(stream.fileno(), 2)
    # Ray and Serve read their environment when they are imported.
    import ray
    from ray import serve

    from benchmarks.transport.app import app

    ray.init(address="local", include_dashboard=False, object_store_memory=STORE_BYTES, num_cpus=2)
    serve.start(
        proxy_location="Disabled", logging_config={"log_level": "WARNING", "enable_access_log": False}
    )
    try:
        asyncio.run(_answer(connection, serve.run(app(), route_prefix=None)))
    finally:
        serve.shutdown()  # type: ignore[no-untyped-call]
        ray.shutdown()


async def _answer(connection: Connection, driver: Handle) -> None:
    """Run turns until the other end is closed. In a loop: with one loop, handles work nowhere else."""
    run = driver.options(method_name="run", _by_reference=True)
    with contextlib.suppress(EOFError, BrokenPipeError):
        connection.send(None)
        while True:
            turn: Turn = await asyncio.to_thread(connection.recv)
            connection.send(await run.remote(turn))
