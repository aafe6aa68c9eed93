from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import typer

from benchmarks import suite
from benchmarks.scenarios import MIN_LIMIT_S, SCENARIOS, Mode, Scenario, chosen
from benchmarks.suite import Failure, run_all, run_command

QUICK_SUITE_MINUTES = 10
ROOT = Path(__file__).parents[3]


def scenario(name: str) -> Scenario:
    return Scenario(name=name, measures="", full=f"benchmarks.{name}", full_minutes=1)


@pytest.mark.parametrize("one", SCENARIOS, ids=lambda one: one.name)
def test_every_scenario_is_there_and_has_the_option_that_it_is_run_with(one: Scenario) -> None:
    assert one.exists
    module = ROOT.joinpath(*one.full.split()[0].split("."))
    files = module.glob("*.py") if module.is_dir() else [module.with_suffix(".py")]
    source = "".join(file.read_text(encoding="utf-8") for file in files)
    options = [word for word in f"{one.full} {one.quick or ''}".split() if word.startswith("--")]
    for option in options:
        assert f'"{option}"' in source or f"{option.removeprefix('--')}: Annotated" in source


def test_names_and_commands_are_each_of_one_scenario() -> None:
    assert len({one.name for one in SCENARIOS}) == len({one.full for one in SCENARIOS}) == len(SCENARIOS)


def test_a_quick_suite_fits_in_ten_minutes() -> None:
    assert sum(one.minutes(Mode.QUICK) for one in chosen(Mode.QUICK, [])) <= QUICK_SUITE_MINUTES


def test_only_runs_what_is_named_in_the_order_of_the_suite() -> None:
    assert [one.name for one in chosen(Mode.QUICK, ["zipf", "jpeg"])] == ["jpeg", "zipf"]
    assert chosen(Mode.FULL, []) == list(SCENARIOS)
    with pytest.raises(typer.BadParameter, match="nothing"):
        suite.select(Mode.QUICK, ["nothing"], again=True)
    with pytest.raises(typer.BadParameter, match="no quick way"):
        suite.select(Mode.QUICK, ["bypass"], again=True)


def test_short_scenarios_have_time_for_a_slow_start() -> None:
    assert scenario("a").limit_s(Mode.FULL) == MIN_LIMIT_S
    assert SCENARIOS[0].limit_s(Mode.FULL) == 180 * SCENARIOS[0].full_minutes


def test_one_that_fails_does_not_stop_the_others() -> None:
    ran = []

    def run_one(one: Scenario) -> Failure | None:
        ran.append(one.name)
        return Failure(name=one.name, reason="exit status 3", tail="") if one.name == "a" else None

    failures = run_all([scenario("a"), scenario("b")], run_one, Mode.FULL)
    assert (ran, [one.name for one in failures]) == (["a", "b"], ["a"])


def test_the_exit_status_and_the_end_of_the_output_are_told(tmp_path: Path) -> None:
    log = tmp_path / "log"
    program = "print('\\n'.join(map(str, range(100)))); raise SystemExit('no model')"
    with log.open("wb") as output:
        reason = run_command([sys.executable, "-c", program], output.fileno(), 60)
    assert reason == "exit status 1"
    assert suite.tail(log).splitlines()[-2:] == ["99", "no model"]
    assert len(suite.tail(log).splitlines()) == suite.TAIL_LINES


def test_one_that_succeeds_has_no_reason() -> None:
    assert run_command([sys.executable, "-c", ""], subprocess.DEVNULL, 60) == ""


CLEANS_UP = """
import sys, time
try:
    time.sleep(60)
except KeyboardInterrupt:
    print('stopped', flush=True)
"""

NEVER_ENDS = """
import signal, subprocess, sys, time
signal.signal(signal.SIGINT, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'], start_new_session=True)
print(child.pid, flush=True)
time.sleep(60)
"""

IN_THE_BACKGROUND = """
import sys
from benchmarks import suite
suite.handle_signals()
program = "import signal; print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)"
suite.run_command([sys.executable, "-c", program], sys.stdout.fileno(), 60)
"""


@pytest.fixture
def handled_signals() -> Iterator[None]:
    """As the suite handles them."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    suite.handle_signals()
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("handled_signals")
def test_one_that_takes_too_long_may_stop_its_servers(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with log.open("wb") as output:
        reason = run_command([sys.executable, "-c", CLEANS_UP], output.fileno(), 1.0)
    assert reason.startswith("not done after")
    assert log.read_text().strip() == "stopped"


def test_one_that_does_not_is_killed_with_all_that_it_started(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with log.open("wb") as output:
        reason = run_command([sys.executable, "-c", NEVER_ENDS], output.fileno(), 1.0, stop_s=0.2)
    assert reason.startswith("not done after")
    child = int(log.read_text())
    deadline_s = time.perf_counter() + 5
    while is_running(child) and time.perf_counter() < deadline_s:
        time.sleep(0.01)
    assert not is_running(child)


def is_running(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def test_a_command_in_the_background_still_hears_ctrl_c() -> None:
    done = subprocess.run(
        ["sh", "-c", 'trap \'\' INT; exec "$0" -c "$1"', sys.executable, IN_THE_BACKGROUND],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=True,
    )
    assert done.stdout.strip() == "True"
