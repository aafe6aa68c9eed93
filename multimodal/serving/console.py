"""What `multimodal serve` tells a person: progress while starting, where everything is, what went wrong."""

from __future__ import annotations

import json
import os
import re
import shlex
import sys
from pathlib import Path

from rich.console import Console
from rich.status import Status

from multimodal.config import GeneratorArgs
from multimodal.serving.launcher import Plan
from multimodal.serving.ray_dashboard import Progress

_ESCAPES = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_QUESTION = "What is the capital of Japan?"


class ConsoleView:
    """Writes to a terminal, with a spinner, or to a file, a line for each change."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._spinner: Status | None = None
        self._last = ""

    def progress(self, progress: Progress | None) -> None:
        """What the server waits for."""
        self._say(describe(progress))

    def ready(self, plan: Plan, log: Path, seconds: float) -> None:
        """The addresses, and a request to try."""
        self._end_spinner()
        self._line(f"Ready in {seconds:.0f} s.", style="bold green")
        self._line(f"  API            {plan.base_url}/v1")
        self._line(f"  Ray dashboard  http://127.0.0.1:{plan.dashboard_port}")
        self._line(f"                 It asks for a token: paste what `{token_command()}` prints.")
        self._line(f"  Log            {log}")
        self._line("Try it:")
        self._line(f"  {curl(plan)}")
        self._line("Ctrl-C stops everything.")

    def stopping(self) -> None:
        """Stopping takes some seconds."""
        self._say("Stopping (Ctrl-C again: at once)")

    def stopped(self) -> None:
        """All done."""
        self._end_spinner()
        self._line("Stopped.")

    def failed(self, reason: str, tail: str, logs: Path) -> None:
        """The reason, the end of the output, and where to find more."""
        self._end_spinner()
        if tail:
            self._line("Its last output was:")
            self._line(_ESCAPES.sub("", tail), style="dim")
        self._line(f"The server failed: {_ESCAPES.sub('', reason)}", style="red")
        self._line(f"All logs: {logs}")

    def note(self, text: str) -> None:
        """Something worth knowing."""
        self._line(text, style="yellow")

    def _say(self, text: str) -> None:
        if self._console.is_terminal:
            if self._spinner is None:
                self._spinner = self._console.status(text)
                self._spinner.start()
            self._spinner.update(text)
        elif text != self._last:
            self._line(text)
        self._last = text

    def _end_spinner(self) -> None:
        if self._spinner is not None:
            self._spinner.stop()
            self._spinner = None

    def _line(self, text: str, style: str | None = None) -> None:
        # Never wrapped nor marked up: lines are pasted, and logs hold brackets.
        self._console.print(text, style=style, markup=False, highlight=False, emoji=False, soft_wrap=True)


def describe(progress: Progress | None) -> str:
    """One line on how far the graph is."""
    if progress is None:
        return "Starting Ray"
    if not progress.ready and not progress.waiting:
        return "Building the graph"
    if progress.waiting:
        total = len(progress.ready) + len(progress.waiting)
        return f"Loading: {len(progress.ready)} of {total} ready, waiting for {', '.join(progress.waiting)}"
    return "Checking that every stage can serve"


def curl(plan: Plan) -> str:
    """A chat request that can be pasted into a shell."""
    args = plan.config.args
    body = {
        "model": (args.generator if args else GeneratorArgs()).served_name,
        "stream": True,
        "messages": [{"role": "user", "content": _QUESTION}],
    }
    headers = ["-H", "'Content-Type: application/json'"]
    if args is not None and args.api.keys:
        headers += ["-H", '"Authorization: Bearer $API_KEY"']
    return " ".join(
        ("curl -N", f"{plan.base_url}/v1/chat/completions", *headers, "-d", shlex.quote(json.dumps(body)))
    )


def token_command() -> str:
    """Prints Ray's token: the same environment's `ray`, by the shortest path."""
    command = Path(sys.executable).parent / "ray"
    relative = os.path.relpath(command)
    return f"{command if relative.startswith('..') else relative} get-auth-token"
