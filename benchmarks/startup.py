"""Time from launching the server to ready, and to the first streamed token."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Annotated

import aiohttp
import httpx
import typer
from rich.console import Console

from benchmarks import imports
from benchmarks.common import median, run
from benchmarks.findings import Target, check, publish
from benchmarks.load import Answer, HttpAsker
from multimodal import serve_config
from multimodal.serving.checks import check_port, free_port
from multimodal.serving.launcher import READY_TIMEOUT_S

POLL_S = 0.1
"""Resolution of the time to ready."""

STOP_TIMEOUT_S = 120.0
QUESTION = "What is the capital of Japan?"
ANSWER_TOKENS = 16

SOON = Target(at_most=60.0)
"""Seconds, of a second start on two cores."""

console = Console()


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """A line that the launcher printed: what it was doing from then on."""

    at_s: float
    """Since the launch."""
    line: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Startup:
    """One start. All times are seconds."""

    ready_s: float
    """From the launch until /readyz answered 200."""
    first_token_s: float
    """From the launch until the first piece of a streamed answer, asked for as soon as it was ready."""
    first_ttft_s: float
    """Of that request alone."""
    stopped_s: float
    """From SIGTERM until the launcher had ended."""
    phases: list[Phase]


@dataclass(slots=True)
class Launch:
    """A launched server and what it prints."""

    process: subprocess.Popen[str]
    started_s: float
    phases: list[Phase] = field(default_factory=list)

    def age_s(self) -> float:
        """Seconds since the launch."""
        return time.perf_counter() - self.started_s

    def read(self, output: IO[str]) -> None:
        """Collect lines until the output ends."""
        with output:
            for line in output:
                phase = Phase(at_s=self.age_s(), line=line.rstrip())
                self.phases.append(phase)
                text = f"{phase.at_s:7.1f} s  {phase.line}"
                console.print(text, markup=False, highlight=False, soft_wrap=True)

    def output(self) -> str:
        """All lines so far."""
        return "\n".join(phase.line for phase in self.phases)


def launch(command: Sequence[str], changes: Mapping[str, str]) -> Launch:
    """Start the command, with these changes to the environment."""
    started_s = time.perf_counter()
    process = subprocess.Popen(
        command,
        env=os.environ | changes,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    launched = Launch(process, started_s)
    if process.stdout is not None:
        threading.Thread(target=launched.read, args=(process.stdout,), daemon=True).start()
    return launched


def wait_until_ready(launched: Launch, url: str, timeout_s: float = READY_TIMEOUT_S) -> float:
    """Seconds from the launch until /readyz answers 200.

    Raises RuntimeError, with the output so far, when it ends or takes too long.
    """
    with httpx.Client(trust_env=False, timeout=2.0) as client:
        while launched.process.poll() is None and launched.age_s() < timeout_s:
            if _answers(client, f"{url}/readyz"):
                return launched.age_s()
            time.sleep(POLL_S)
    raise RuntimeError(f"The server did not become ready:\n{launched.output()}")


def _answers(client: httpx.Client, url: str) -> bool:
    try:
        return client.get(url).status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False


async def first_answer(url: str, model: str) -> Answer:
    """A short streamed answer."""
    async with aiohttp.ClientSession() as session:
        return await HttpAsker(session, url, model, ANSWER_TOKENS).ask(QUESTION)


def stop(launched: Launch) -> float:
    """SIGTERM, and seconds until it has ended. Kills it after STOP_TIMEOUT_S and raises TimeoutExpired."""
    asked_s = time.perf_counter()
    launched.process.terminate()
    try:
        launched.process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        launched.process.kill()
        launched.process.wait()
        raise
    return time.perf_counter() - asked_s


def measure(command: Sequence[str], port: int, dashboard_port: int, model: str) -> Startup:
    """Start, ask, stop. Raises ConfigError when the port is taken, RuntimeError when the server fails."""
    check_port("127.0.0.1", port)  # else whatever listens there would be ready at once
    url = f"http://127.0.0.1:{port}"
    launched = launch(command, environment(port, dashboard_port))
    try:
        ready_s = wait_until_ready(launched, url)
        answer = asyncio.run(first_answer(url, model))
        first_token_s = answer.arrivals_s[0] - launched.started_s
    finally:
        stopped_s = stop(launched)
    return Startup(
        ready_s=ready_s,
        first_token_s=first_token_s,
        first_ttft_s=answer.arrivals_s[0] - answer.sent_s,
        stopped_s=stopped_s,
        phases=launched.phases,
    )


def environment(port: int, dashboard_port: int) -> dict[str, str]:
    """Where `multimodal serve` and `make run` take the address from."""
    return {
        "MULTIMODAL_HOST": "127.0.0.1",
        "MULTIMODAL_PORT": str(port),
        "MULTIMODAL_DASHBOARD_PORT": str(dashboard_port),
    }


def command_of(config: Path, make: bool) -> list[str]:
    """`make run`, or what it ends in."""
    if make:
        return ["make", "--no-print-directory", "run", f"CONFIG={config}"]
    serve = [sys.executable, "-m", "multimodal.cli", "serve", "--stop-with-parent"]
    return [*serve, "--config", str(config)]


def main(
    config: Annotated[Path, typer.Option(help="What is served.")] = Path("serve_config.yaml"),
    make: Annotated[bool, typer.Option("--make", help="Run `make run` and not `multimodal serve`.")] = False,
    port: Annotated[int | None, typer.Option(help="Default: a free one.")] = None,
    runs: Annotated[int, typer.Option(min=1, help="Starts, one after the other.")] = 1,
) -> None:
    """Start the server on a port of its own, wait until it is ready, ask it something, stop it."""
    args = serve_config.read(config).args
    if args is None:
        raise typer.BadParameter("it does not configure this graph", param_hint="--config")
    command = command_of(config, make)
    model = args.generator.served_name
    startups = [measure(command, port or free_port(), free_port(), model) for _ in range(runs)]
    medians = {
        "ready_s": median([one.ready_s for one in startups]),
        "first_token_s": median([one.first_token_s for one in startups]),
        "first_ttft_s": median([one.first_ttft_s for one in startups]),
        "stopped_s": median([one.stopped_s for one in startups]),
    }
    for name, value in medians.items():
        console.print(f"{name:14} {value:6.2f}")
    imported = imports.measure()
    facts = {f"importing, {one['side']}, ms": round(imports.total_ms(one)) for one in imported}
    details = {
        "checks": [check("launch to the first streamed token", medians["first_token_s"], SOON, "s")],
        "facts": {name: round(value, 2) for name, value in medians.items()} | facts,
        "parts": imported,
        "served_by": command,
        "startups": [asdict(one) for one in startups],
    }
    publish("startup", [], details, 0.0)


if __name__ == "__main__":
    run(main)
