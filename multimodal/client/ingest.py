"""A folder into the library: what is not there yet is sent, then all of it is waited for.

There is no state but the server's. A run that was stopped is continued by the same call: files that are
there, by name and SHA-256, are not sent again, and those whose processing failed are tried again.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from multimodal.client.folder import LocalFile, find_files
from multimodal.client.form import FileChanged
from multimodal.client.server import Refused, RemoteFile, Server
from multimodal.errors import ConfigError
from multimodal.retrieval.types import Scalar

WINDOW = 8
"""Files that are asked for at once. The server works through them in order, so the others need not be."""

FIRST_POLL_S, LONGEST_POLL_S = 0.5, 5.0


class Fate(StrEnum):
    """What a run did with a file."""

    SENT = "sent"
    THERE = "already there"
    RETRIED = "tried again"
    EMPTY = "empty and left out"


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A file that is not searchable, and why."""

    shown: str
    reason: str


@dataclass(slots=True)
class Summary:
    """What came of a run."""

    fates: Counter[Fate] = field(default_factory=Counter)
    failures: list[Failure] = field(default_factory=list)
    processed: int = 0
    """Files that are known to be searchable."""
    waiting: int = 0
    """Files that the server had not processed when the run ended."""


class View(Protocol):
    """Shows how far a run is."""

    def begin(self, files: int, size_bytes: int) -> None:
        """So much is to be sent."""

    def advance(self, size_bytes: int) -> None:
        """Bytes that were sent, or need not be; negative: that have to be sent again."""

    def wait_for(self, files: int) -> None:
        """So many files are being processed."""

    def processed(self, files: int) -> None:
        """So many are no more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How files are sent."""

    purpose: str = "user_data"
    metadata: Mapping[str, Scalar] = field(default_factory=dict)
    concurrency: int = 4
    wait: bool = True


class Ingest:
    """One run."""

    def __init__(
        self,
        server: Server,
        options: Options,
        view: View,
        *,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._server = server
        self._options = options
        self._view = view
        self._sleep = sleep
        self._summary = Summary()
        self._pending: list[tuple[LocalFile, str]] = []
        """Files that are to be waited for, and their ids."""
        self._locks: dict[tuple[str, str], asyncio.Lock] = {}
        """By name and SHA-256: of two equal files the second one finds the first."""

    async def run(self, folder: Path) -> Summary:
        """Raises ConfigError where the server cannot be used at all."""
        await self._server.check()
        files = await asyncio.to_thread(self._found, folder)
        self._view.begin(len(files), sum(file.size_bytes for file in files))
        await self._send_all(iter(files))
        if self._options.wait:
            await self._wait()
        self._summary.waiting = len(self._pending)
        return self._summary

    def _found(self, folder: Path) -> Sequence[LocalFile]:
        return list(find_files(folder, lambda shown: self._fail(shown, "It cannot be read.")))

    async def _send_all(self, files: Iterator[LocalFile]) -> None:
        async def work() -> None:
            for file in files:
                await self._take(file)

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(self._options.concurrency):
                    group.create_task(work())
        except* ConfigError as errors:
            raise _first(errors) from None

    async def _take(self, file: LocalFile) -> None:
        """Whatever goes wrong with one file is noted."""
        if not file.size_bytes:
            self._summary.fates[Fate.EMPTY] += 1
            return
        try:
            fate, remote = await self._store(file)
        except Refused as refused:
            self._fail(file.shown, str(refused))
        except FileChanged:
            self._fail(file.shown, "It was changed while it was sent.")
        except OSError:
            self._fail(file.shown, "It cannot be read.")
        else:
            self._summary.fates[fate] += 1
            if remote.status == "processed":
                self._summary.processed += 1
            else:
                self._pending.append((file, remote.id))

    async def _store(self, file: LocalFile) -> tuple[Fate, RemoteFile]:
        sha256 = await asyncio.to_thread(file.sha256)
        async with self._locks.setdefault((file.name, sha256), asyncio.Lock()):
            remote = await self._server.find(file, sha256)
            if remote is None:
                return Fate.SENT, await self._upload(file, sha256)
        self._view.advance(file.size_bytes)
        if remote.status == "error":
            return Fate.RETRIED, await self._server.retry(remote.id)
        return Fate.THERE, remote

    async def _upload(self, file: LocalFile, sha256: str) -> RemoteFile:
        remote = await self._server.upload(
            file,
            sha256,
            purpose=self._options.purpose,
            metadata=self._options.metadata,
            sent=self._view.advance,
        )
        if remote.sha256 != sha256:
            raise FileChanged
        return remote

    async def _wait(self) -> None:
        self._view.wait_for(len(self._pending))
        delay_s = FIRST_POLL_S
        while self._pending:
            window, rest = self._pending[:WINDOW], self._pending[WINDOW:]
            done = await asyncio.gather(*(self._is_done(file, file_id) for file, file_id in window))
            self._pending = [one for one, is_done in zip(window, done, strict=True) if not is_done] + rest
            if any(done):
                self._view.processed(sum(done))
                delay_s = FIRST_POLL_S
            else:
                await self._sleep(delay_s)
                delay_s = min(1.5 * delay_s, LONGEST_POLL_S)

    async def _is_done(self, file: LocalFile, file_id: str) -> bool:
        try:
            remote = await self._server.get(file_id)
        except Refused as refused:
            self._fail(file.shown, str(refused))
            return True
        if remote.status == "error":
            self._fail(file.shown, remote.error.message if remote.error else "It could not be processed.")
        elif remote.status == "processed":
            self._summary.processed += 1
        return remote.status in ("processed", "error")

    def _fail(self, shown: str, reason: str) -> None:
        self._summary.failures.append(Failure(shown=shown, reason=reason))


def _first(errors: BaseExceptionGroup[ConfigError]) -> ConfigError:
    """They all say the same."""
    error: BaseException = errors
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if not isinstance(error, ConfigError):
        raise TypeError("a group of ConfigErrors")
    return error
