"""`multimodal models`: list, pull and verify."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.console import Console
from rich.filesize import decimal
from rich.progress import (
    BarColumn,
    DownloadColumn,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.progress import Progress as RichProgress
from rich.table import Table

from multimodal import config, serve_config
from multimodal.errors import ConfigError, MultimodalError
from multimodal.models import catalog, manifest, refs
from multimodal.models.progress import Progress, Step
from multimodal.models.refs import EmbeddedRef, FileRef, HubRef, ModelState, StoredRef
from multimodal.models.store import ModelStore

models_app = typer.Typer(
    no_args_is_help=True,
    help="Fetch and check models. They lie in MULTIMODAL_HOME, by default `multimodal` in your cache folder.",
)

Names = Annotated[
    list[str] | None,
    typer.Argument(
        help="Names (minilm) or references (hf:org/name@revision). Default: what the configuration needs."
    ),
]
ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        exists=True,
        dir_okay=False,
        help="Take the models that this Serve configuration names. Default: the embedded profile.",
    ),
]

_STATE_STYLE = {
    ModelState.READY: "green",
    ModelState.MISSING: "yellow",
    ModelState.OUTDATED: "yellow",
    ModelState.DAMAGED: "red",
}


@models_app.command("list")
def list_models() -> None:
    """Show the embedded models and everything in the store."""
    with _reported():
        store = ModelStore(config.home())
        found = {entry.name: entry for entry in store.manifests()}
        table = Table(box=box.SIMPLE_HEAD)
        for heading in ("name", "state", "size", "purpose", "licence", "source"):
            table.add_column(heading, no_wrap=heading in ("name", "state", "size"), overflow="fold")
        for entry in catalog.CATALOG.values():
            state = store.state(EmbeddedRef(entry.name))
            ready = state is ModelState.READY and entry.name in found
            size_bytes = found[entry.name].size_bytes if ready else entry.download_bytes
            table.add_row(
                entry.name, *_state_size(state, size_bytes), entry.purpose, entry.licence, entry.source
            )
        for name in sorted(found.keys() - catalog.CATALOG.keys()):
            _add_hub_row(table, store, found[name])
        Console().print(table)


@models_app.command()
def pull(names: Names = None, config_file: ConfigFile = None) -> None:
    """Fetch models and check their checksums. Those that are there and intact are not fetched again."""
    with _reported(), _progress_bars() as bars:
        store = ModelStore(config.home())
        for ref in _wanted(names, config_file):
            store.pull(ref, bars.track(str(ref)))
            bars.finish(str(ref), "ready")


@models_app.command()
def verify(names: Names = None, config_file: ConfigFile = None) -> None:
    """Read every byte and compare checksums. Exit code 1 names the files that are wrong."""
    with _reported():
        store = ModelStore(config.home())
        damaged = False
        for ref in _wanted(names, config_file):
            with _progress_bars() as bars:
                problems = store.verify(ref, bars.track(str(ref)))
                bars.finish(str(ref), "damaged" if problems else "verified")
            damaged = damaged or bool(problems)
            for problem in problems:
                _error(f"{ref}: {problem.path} is {problem.what}")
        if damaged:
            raise ConfigError(
                "These models are not as they were pulled. Run `multimodal models pull` to repair them."
            )


def configured_refs(args: config.AppArgs) -> list[StoredRef]:
    """The models that a configuration needs from the store, each once. Raises ConfigError for a bad one."""
    named = (args.text.model, args.image.model, args.audio.model, args.generator.model)
    return _stored([ref for ref in named if ref is not None])


def _wanted(names: Sequence[str] | None, config_file: Path | None) -> list[StoredRef]:
    if names:
        return _stored([name if ":" in name else f"embedded:{name}" for name in names])
    return configured_refs(_read_args(config_file) if config_file else config.AppArgs())


def _stored(named: Sequence[str]) -> list[StoredRef]:
    parsed = [refs.parse(ref) for ref in named]
    return list(dict.fromkeys(ref for ref in parsed if not isinstance(ref, FileRef)))


def _read_args(path: Path) -> config.AppArgs:
    """The `args:` of our graph in a Serve configuration."""
    args = serve_config.read(path).args
    if args is None:
        raise ConfigError(f"{path} is not a Serve configuration of this application.")
    return args


def _state_size(state: ModelState, size_bytes: int) -> tuple[str, str]:
    return f"[{_STATE_STYLE[state]}]{state}[/]", decimal(size_bytes)


def _add_hub_row(table: Table, store: ModelStore, found: manifest.Manifest) -> None:
    parsed = refs.parse(found.source)
    if isinstance(parsed, HubRef):
        state_size = _state_size(store.state(parsed), found.size_bytes)
        table.add_row(parsed.repository, *state_size, "", "see the hub", found.source)


class _Bars:
    """One bar for each model."""

    def __init__(self, display: RichProgress) -> None:
        self._display = display
        self._step: dict[str, Step] = {}
        self._task: dict[str, TaskID] = {}

    def track(self, name: str) -> Progress:
        """A Progress that moves the bar of one model."""
        self._task[name] = self._display.add_task(name, total=None, step="")

        def update(step: Step, done_bytes: int, total_bytes: int) -> None:
            if self._step.get(name) is not step:
                self._step[name] = step
                self._display.reset(self._task[name], step=str(step))
            self._display.update(self._task[name], completed=done_bytes, total=total_bytes or None)

        return update

    def finish(self, name: str, state: str) -> None:
        """Fill the bar."""
        total = self._display.tasks[self._task[name]].total or 1
        self._display.update(self._task[name], completed=total, total=total, step=state)


@contextmanager
def _progress_bars() -> Iterator[_Bars]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[step]}"),
    )
    with RichProgress(*columns) as display:
        yield _Bars(display)


@contextmanager
def _reported() -> Iterator[None]:
    """Turn our errors into one sentence and exit code 1."""
    try:
        yield
    except MultimodalError as error:
        _error(error.message)
        raise typer.Exit(1) from error


def _error(message: str) -> None:
    Console(stderr=True).print(message, style="red", markup=False, highlight=False, soft_wrap=True)
