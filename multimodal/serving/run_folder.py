"""The files of one run of the server: logs under MULTIMODAL_HOME, the rest in a folder that goes away."""

from __future__ import annotations

import logging
import shutil
import tempfile
import threading
from collections import deque
from datetime import datetime
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import IO

from multimodal.errors import ConfigError

MAX_SCRATCH_CHARACTERS = 107 - max(
    len("/ray/session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store"),
    len("/haproxy/" + 56 * "f" + "/admin.sock.4194304.tmp"),
)
"""Ray, and HAProxy below the id of a node, put Unix sockets this deep below its folder, and their paths may
have 107 characters (unix(7))."""

KEPT_RUNS = 10
"""Older logs are deleted."""

_LOG_BYTES = 20 * 1024 * 1024
_LOG_FILES = 3
_TAIL_LINES = 30


class RunFolder:
    """Scratch space, which only the user can read, and logs of one run."""

    def __init__(self, home: Path, port: int) -> None:
        self.logs = _new_log_folder(home / "logs", f"{datetime.now():%Y%m%d-%H%M%S}-{port}")
        self.log = self.logs / "serve.log"
        self.scratch = _new_scratch()
        """For Ray (RAY_TMPDIR) and the derived configuration."""
        self._tail: deque[str] = deque(maxlen=_TAIL_LINES)
        self._ray_logs = self.logs / "ray"
        self._ray_logs.symlink_to(self.scratch / "ray" / "session_latest" / "logs")

    def keep_output(self, stream: IO[str]) -> None:
        """Copy a process's output to the log, which never grows beyond 60 MiB, until the process ends."""
        threading.Thread(target=self._copy, args=(stream,), daemon=True).start()

    def tail(self) -> str:
        """The last lines of the output."""
        return "\n".join(self._tail)

    def close(self) -> None:
        """Keep Ray's logs beside ours and delete the rest."""
        session_logs = self._ray_logs.resolve()
        self._ray_logs.unlink(missing_ok=True)
        if session_logs.is_dir():
            shutil.move(session_logs, self._ray_logs)
        shutil.rmtree(self.scratch, ignore_errors=True)

    def _copy(self, stream: IO[str]) -> None:
        handler = RotatingFileHandler(
            self.log, maxBytes=_LOG_BYTES, backupCount=_LOG_FILES - 1, encoding="utf-8"
        )
        for line in stream:
            text = line.rstrip("\n")
            self._tail.append(text)
            handler.emit(logging.makeLogRecord({"msg": text}))
        handler.close()


def _new_log_folder(parent: Path, name: str) -> Path:
    try:
        parent.mkdir(parents=True, exist_ok=True)
        for old in sorted(folder for folder in parent.iterdir() if _is_finished(folder))[: -KEPT_RUNS + 1]:
            shutil.rmtree(old, ignore_errors=True)
        return Path(tempfile.mkdtemp(prefix=f"{name}-", dir=parent))
    except OSError as error:
        raise ConfigError(
            f"{parent} cannot be written ({error.strerror}): set MULTIMODAL_HOME to a folder that can."
        ) from error


def _is_finished(folder: Path) -> bool:
    """Whether it holds the logs of a run that ended: a running one links to what Ray writes."""
    ray_logs = folder / "ray"
    return folder.is_dir() and not (ray_logs.is_symlink() and ray_logs.exists())


def _new_scratch() -> Path:
    for parent in (Path(tempfile.gettempdir()), Path("/tmp")):
        folder = Path(tempfile.mkdtemp(prefix="mm-", dir=parent))
        if len(str(folder)) <= MAX_SCRATCH_CHARACTERS:
            return folder
        folder.rmdir()
    raise ConfigError("The path of the folder for temporary files is too long: set TMPDIR to a shorter one.")
