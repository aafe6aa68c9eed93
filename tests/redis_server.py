"""A Redis server for tests, on a free port of this machine. Debian's package `redis-server` has it."""

from __future__ import annotations

import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import redis

START_S = 60.0


@dataclass
class RedisServer:
    """A server that can be stopped, killed and started again. It keeps nothing on the disk."""

    folder: Path
    options: tuple[str, ...] = ()
    """Of its command line, such as `--requirepass`, `word`."""
    port: int = field(default_factory=lambda: _free_port())
    _process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Returns when it answers; it may ask for a password."""
        self._process = subprocess.Popen(
            ["redis-server", *_flags(bind="127.0.0.1", port=self.port, dir=self.folder), *self.options],
            stdout=subprocess.DEVNULL,
        )
        until_s = time.monotonic() + START_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > until_s:
                raise RuntimeError((self.folder / "log").read_text())
            time.sleep(0.01)

    def kill(self) -> None:
        """As a crash does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def freeze(self) -> None:
        """It takes connections, as the kernel does that, and never answers."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """After `freeze`: it answers all that it was asked meanwhile."""
        self._signal(signal.SIGCONT)

    @contextmanager
    def client(self, password: str | None = None) -> Iterator[redis.Redis]:
        """To look at what it has, and to change that."""
        with closing(redis.Redis(port=self.port, password=password, protocol=2)) as client:
            yield client

    def _answers(self) -> bool:
        with self.client() as client:
            try:
                return bool(client.ping())
            except redis.AuthenticationError:
                return True
            except redis.ConnectionError:
                return False

    def _signal(self, number: signal.Signals) -> None:
        if self._process is None:
            raise RuntimeError("it does not run")
        self._process.send_signal(number)


@contextmanager
def running_redis(*options: str) -> Iterator[RedisServer]:
    """Start a server, and end it afterwards, whatever has become of it."""
    with tempfile.TemporaryDirectory(prefix="redis-") as folder:
        server = RedisServer(Path(folder), options)
        try:
            server.start()
            yield server
        finally:
            server.kill()


def _flags(**settings: object) -> Iterator[str]:
    for name, value in {"save": "", "appendonly": "no", "logfile": "log", **settings}.items():
        yield from (f"--{name}", str(value))


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
