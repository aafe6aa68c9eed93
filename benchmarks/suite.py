"""`python -m benchmarks.suite quick|full`: every benchmark, one after the other, and then the report."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import psutil
import typer
from rich.console import Console
from rich.table import Table

from benchmarks import processes, recorded, report
from benchmarks.common import RESULTS, run, setting
from benchmarks.scenarios import SCENARIOS, Mode, Scenario, chosen

ROOT = Path(__file__).parent.parent
TAIL_LINES = 25
STOP_S = 60.0
"""A scenario that is interrupted has so long to stop its servers."""
KILLED_S = 10.0

console = Console()


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A scenario that has no result."""

    name: str
    reason: str
    tail: str
    """The last lines of its output."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Runner:
    """Runs scenarios; their output goes to files in `logs`."""

    mode: Mode
    logs: Path
    stop_s: float = STOP_S

    def run(self, scenario: Scenario) -> Failure | None:
        """One, in a process of its own. None where it succeeded."""
        log = self.logs / f"suite-{scenario.name}-{self.mode}.log"
        self.logs.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-u", "-m", *scenario.arguments(self.mode)]
        with log.open("wb") as output:
            reason = run_command(command, output.fileno(), scenario.limit_s(self.mode), self.stop_s)
        return Failure(name=scenario.name, reason=reason, tail=tail(log)) if reason else None


def run_command(command: Sequence[str], output: int, limit_s: float, stop_s: float = STOP_S) -> str:
    """Why it failed; empty where it did not. Ended with all that it started where it takes too long."""
    # A session of its own: Ctrl-C reaches it through `end` alone, and only once.
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        code = process.wait(limit_s)
    except subprocess.TimeoutExpired:
        return f"not done after {limit_s / 60:.1f} minutes"
    finally:
        if process.poll() is None:
            end(process, stop_s)
    return f"exit status {code}" if code else ""


def end(process: subprocess.Popen[bytes], stop_s: float = STOP_S) -> None:
    """As Ctrl-C does, so that it can stop its servers; what is left after `stop_s` is killed."""
    everything = processes.tree(psutil.Process(process.pid))
    process.send_signal(signal.SIGINT)
    try:
        process.wait(stop_s)
    except subprocess.TimeoutExpired:
        everything += processes.tree(psutil.Process(process.pid))
    _, alive = psutil.wait_procs(everything, timeout=0)
    for one in alive:
        one.kill()
    process.wait(KILLED_S)


def tail(log: Path) -> str:
    """The last TAIL_LINES."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return "\n".join(lines[-TAIL_LINES:])


def run_all(
    scenarios: Sequence[Scenario], run_one: Callable[[Scenario], Failure | None], mode: Mode
) -> list[Failure]:
    """One after the other; those that failed."""
    failures = []
    for number, scenario in enumerate(scenarios, start=1):
        console.print(
            f"{time.strftime('%H:%M')}  {number} of {len(scenarios)}  {scenario.name}: "
            f"{scenario.minutes(mode):g} minutes or so"
        )
        started_s = time.perf_counter()
        failure = run_one(scenario)
        took = f"{(time.perf_counter() - started_s) / 60:.1f} minutes"
        console.print(f"       {'done' if failure is None else f'failed: {failure.reason}'}, {took}")
        failures += [failure] if failure else []
    return failures


def left_over(scenarios: Sequence[Scenario], mode: Mode) -> list[Scenario]:
    """Those without a result of this code and mode."""
    documents, _ = recorded.read()
    here = setting()
    left = [one for one in scenarios if not recorded.has_result(documents, one.arguments(mode), here)]
    if done := [one.name for one in scenarios if one not in left]:
        console.print(f"Measured already (--again runs them, too): {', '.join(done)}.", soft_wrap=True)
    if here["uncommitted_changes"] and not here.get("changes"):
        console.print("There are uncommitted changes: no earlier result is of this code.")
    return left


def show_list() -> None:
    """All scenarios."""
    table = Table(title="Scenarios, in their order", title_justify="left")
    for heading in ("name", "quick, min", "full, min", "measures"):
        table.add_column(heading, no_wrap=heading == "name")
    for one in SCENARIOS:
        quick = "-" if one.quick is None else f"{one.quick_minutes:g}{'' if one.in_quick else ' (--only)'}"
        missing = "" if one.exists else " (not in this checkout)"
        table.add_row(one.name, quick, f"{one.full_minutes:g}", f"{one.measures}\n{one.full}{missing}")
    console.print(table)


def show_failures(failures: Sequence[Failure]) -> None:
    """Each with the end of its output."""
    for one in failures:
        console.rule(f"{one.name}: {one.reason}", align="left", style="red")
        console.print(one.tail, markup=False, highlight=False, soft_wrap=True)


def select(mode: Mode, only: Sequence[str], again: bool) -> list[Scenario]:
    """What is to be run. Raises typer.BadParameter."""
    try:
        scenarios = chosen(mode, only)
        for one in scenarios:
            one.arguments(mode)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--only") from error
    return scenarios if again else left_over(scenarios, mode)


def handle_signals() -> None:
    """SIGTERM ends as Ctrl-C does. Ctrl-C works in a shell's background jobs, too: `end` needs it to."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    signal.signal(signal.SIGINT, signal.default_int_handler)


def main(
    mode: Annotated[Mode, typer.Argument(help="quick: ten minutes, no measurement.")] = Mode.QUICK,
    only: Annotated[list[str] | None, typer.Option(help="One scenario; can be repeated.")] = None,
    list_: Annotated[bool, typer.Option("--list", help="Show the scenarios, and run none.")] = False,
    again: Annotated[bool, typer.Option("--again", help="Run also what has a result already.")] = False,
) -> None:
    """Run benchmarks one after the other, those that have no result yet, and write the report."""
    if list_:
        show_list()
        return
    handle_signals()
    scenarios = select(mode, only or [], again)
    failures = run_all(scenarios, Runner(mode=mode, logs=RESULTS).run, mode)
    show_failures(failures)
    path = report.write({one.name: one.reason for one in failures})
    console.print(f"Report: {path}", soft_wrap=True)
    if failures:
        raise SystemExit(1)


if __name__ == "__main__":
    run(main)
