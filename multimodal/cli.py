"""The `multimodal` command."""

from __future__ import annotations

import functools
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from multimodal import __version__, config
from multimodal.errors import ConfigError
from multimodal.models.commands import models_app

app = typer.Typer(
    name="multimodal",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    help="A multimodal assistant on your own machine: text, images, audio and video behind OpenAI's API.",
)
app.add_typer(models_app, name="models")

_Port = functools.partial(typer.Option, min=1, max=65535)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"multimodal {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit."),
    ] = False,
) -> None:
    """Options of all commands."""


@app.command()
def serve(
    config_file: Annotated[
        Path, typer.Option("--config", "-c", help="Serve configuration: models, limits, scaling.")
    ] = Path("serve_config.yaml"),
    host: Annotated[
        str | None,
        typer.Option(
            envvar="MULTIMODAL_HOST",
            help="Address to listen on. Default: the configuration's. Others than loopback need API keys.",
        ),
    ] = None,
    port: Annotated[
        int | None,
        _Port(envvar="MULTIMODAL_PORT", help="Port to listen on. Default: the configuration's."),
    ] = None,
    dashboard_port: Annotated[
        int,
        _Port(
            envvar="MULTIMODAL_DASHBOARD_PORT",
            help="Port of the Ray dashboard, on 127.0.0.1. The next free one is used where it is taken.",
        ),
    ] = 8265,
    ready_file: Annotated[
        Path | None,
        typer.Option(help="Write the addresses to this file, as JSON, once the server is ready."),
    ] = None,
    stop_with_parent: Annotated[
        bool, typer.Option("--stop-with-parent", help="Stop when the process that started this one ends.")
    ] = False,
) -> None:
    """Start the server on this machine and show when it is ready.

    Runs `serve run` in a Ray instance of its own, which listens on loopback only, and stops all of it on
    Ctrl-C or SIGTERM. Models and logs lie in MULTIMODAL_HOME, by default `multimodal` in your cache folder;
    uploaded files and their index in MULTIMODAL_STATE, by default the same folder.
    """
    from multimodal.serving import background, console, launcher, processes

    if stop_with_parent:
        processes.die_with_parent(signal.SIGTERM)
    view = console.ConsoleView(Console())
    plan = launcher.prepare(
        config_file,
        home=config.home(),
        env=dict(os.environ),
        host=host,
        port=port,
        dashboard_port=dashboard_port,
    )
    if plan.dashboard_port != dashboard_port:
        view.note(f"Port {dashboard_port} is taken: the Ray dashboard uses {plan.dashboard_port}.")
    on_ready: Callable[[launcher.Plan, Path], None] | None = None
    if ready_file is not None:
        on_ready = functools.partial(background.announce, ready_file)
    raise typer.Exit(launcher.serve(plan, view, on_ready=on_ready))


@app.command()
def ingest(
    folder: Annotated[Path, typer.Argument(exists=True, file_okay=False, readable=True)],
    url: Annotated[str, typer.Option(help="Address of the server.")] = "http://127.0.0.1:8000",
    concurrency: Annotated[
        int, typer.Option(min=1, max=32, help="Files that are sent at the same time.")
    ] = 4,
    metadata: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE",
            help="For all files; searches can filter by it. Numbers, true and false are read as such.",
        ),
    ] = None,
    purpose: Annotated[str, typer.Option(help="OpenAI's word for what files are for.")] = "user_data",
    wait: Annotated[
        bool, typer.Option("--wait/--no-wait", help="Wait until everything can be searched.")
    ] = True,
) -> None:
    """Upload everything in a folder, and wait until it can be searched.

    Files that the server has already, with the same name and bytes, are not sent again: after Ctrl-C, or when
    something failed, the same command goes on. Hidden files, and links that lead out of the folder, are left
    out. The API key is taken from MULTIMODAL_API_KEY. Exit code 1: something failed.
    """
    from multimodal.client import command
    from multimodal.client.ingest import Options

    options = Options(
        purpose=purpose,
        metadata=command.parse_metadata(metadata or []),
        concurrency=concurrency,
        wait=wait,
    )
    key = os.environ.get("MULTIMODAL_API_KEY")
    raise typer.Exit(command.ingest(folder, url, key, options, Console()))


def main() -> None:
    """Entry point. What the operator must change is said in one sentence, with exit code 2."""
    try:
        app()
    except ConfigError as error:
        console = Console(stderr=True)
        console.print(error.message, style="red", markup=False, highlight=False, soft_wrap=True)
        raise SystemExit(2) from error


if __name__ == "__main__":
    main()
