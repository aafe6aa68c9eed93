"""`multimodal ingest`: options in, a progress bar and a summary out."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from pydantic_core import from_json
from rich.console import Console, Group
from rich.live import Live
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Table
from rich.text import Text

from multimodal.client.ingest import Ingest, Options, Summary
from multimodal.client.server import Server
from multimodal.errors import ConfigError
from multimodal.retrieval.types import Scalar

MAX_SHOWN = 100
"""Failures that are listed; of a folder of thousands the same reason is told often."""

INTERRUPTED = 130
"""Exit code after Ctrl-C: 128 and the number of the signal."""

_KEY = re.compile(r"[A-Za-z0-9_.-]{1,64}")


def ingest(folder: Path, url: str, key: str | None, options: Options, console: Console) -> int:
    """Run, and say what came of it. Returns the exit code; raises ConfigError."""
    try:
        with _Bars(console) as bars:
            summary = asyncio.run(_run(folder, url, key, options, bars))
    except KeyboardInterrupt:
        console.print("Stopped. The same command goes on from here.")
        return INTERRUPTED
    report(summary, console)
    return 1 if summary.failures else 0


async def _run(folder: Path, url: str, key: str | None, options: Options, bars: _Bars) -> Summary:
    server = Server.at(url, key)
    try:
        return await Ingest(server, options, bars).run(folder)
    finally:
        await server.close()


def parse_metadata(pairs: Sequence[str]) -> dict[str, Scalar]:
    """`key=value` pairs. Numbers, true, false and texts in double quotes are read as JSON; all else is text.

    Raises ConfigError.
    """
    found: dict[str, Scalar] = {}
    for pair in pairs:
        key, separator, value = pair.partition("=")
        if not separator or not _KEY.fullmatch(key):
            raise ConfigError(
                "--metadata takes key=value, with a key of letters, digits, dots, hyphens and underscores."
            )
        found[key] = _scalar(value)
    return found


def _scalar(text: str) -> Scalar:
    try:
        value: object = from_json(text, allow_inf_nan=False)
    except ValueError:
        return text
    return value if isinstance(value, str | int | float) else text


def report(summary: Summary, console: Console) -> None:
    """What was done, and what failed and why."""
    counts = [f"{count} {fate}" for fate, count in summary.fates.items()]
    counts += [f"{summary.processed} searchable"] if summary.processed else []
    counts += [f"{summary.waiting} still being processed"] if summary.waiting else []
    console.print(f"{', '.join(counts) or 'Nothing to do'}.", highlight=False)
    if not summary.failures:
        return
    table = Table("file", "why", title=f"{len(summary.failures)} failed", title_justify="left")
    for failure in summary.failures[:MAX_SHOWN]:
        table.add_row(Text(failure.shown, overflow="fold"), Text(failure.reason, overflow="fold"))
    console.print(table)
    if len(summary.failures) > MAX_SHOWN:
        console.print(f"... and {len(summary.failures) - MAX_SHOWN} more.")
    console.print("The same command sends what is missing, and has what failed processed again.")


class _Bars:
    """A View: one bar for the bytes, one for the files."""

    def __init__(self, console: Console) -> None:
        name, bar = TextColumn("{task.description}"), BarColumn()
        self._bytes = Progress(
            name, bar, DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn(), console=console
        )
        self._files = Progress(name, bar, MofNCompleteColumn(), console=console)
        self._live = Live(Group(self._bytes, self._files), console=console)
        self._sending = self._processing = TaskID(0)

    def __enter__(self) -> _Bars:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()
        if not self._live.console.is_terminal:
            self._live.console.line()  # Rich ends the bars' last line on terminals only

    def begin(self, files: int, size_bytes: int) -> None:
        self._sending = self._bytes.add_task(f"sending {files} files", total=size_bytes)

    def advance(self, size_bytes: int) -> None:
        self._bytes.advance(self._sending, size_bytes)

    def wait_for(self, files: int) -> None:
        self._processing = self._files.add_task("processing", total=files)

    def processed(self, files: int) -> None:
        self._files.advance(self._processing, files)
