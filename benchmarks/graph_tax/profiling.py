"""Where the processor's time goes in a replica under load: its Python functions, and its threads.

py-spy (which comes with Ray) sees Python only. What C++ threads of Ray and gRPC use is beside it.
"""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil
from rich.table import Table

from benchmarks.memory import role
from multimodal.errors import ConfigError

SECONDS = 15
RATE_PER_S = 200
TOP = 25
_PACKAGES = "/site-packages/"

WAITING = frozenset(
    {
        "Condition.wait (threading.py)",
        "Thread.run (threading.py)",
        "Worker.main_loop (ray/_private/worker.py)",
        "_worker (concurrent/futures/thread.py)",
    }
)
"""Threads that wait in C for work to do, which py-spy does not always see."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """One process under load."""

    name: str
    answers: int
    """Of the server meanwhile."""
    samples: int
    """RATE_PER_S for each second and each thread that ran Python then."""
    functions: Mapping[str, int]
    """Samples in which a function was the innermost, the most first."""
    modules: Mapping[str, int]
    """The same by package, and by module where it is ours."""
    threads_ms: Mapping[str, float]
    """CPU milliseconds for each answer by the names of threads, Python or not."""


def profile(root: psutil.Process, name: str, load: Callable[[], int]) -> Profile:
    """Of the replica with this role below `root`, while `load`, which returns how many answers there were, is
    called again and again.

    Raises ConfigError where there is none, or py-spy cannot look into it.
    """
    process = _replica(root, name)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "stacks"
        before_s = threads_s(process)
        spy = subprocess.Popen(_command(process.pid, path), stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        answers = 0
        while spy.poll() is None:
            answers += load()
        after_s = threads_s(process)
        if spy.returncode or not path.exists():
            raise ConfigError(f"py-spy ended with {spy.returncode}: {_said(spy)}")
        stacks = path.read_text(encoding="utf-8")
    functions, modules = innermost(stacks)
    spent_ms = {
        thread: 1e3 * (spent_s - before_s.get(thread, 0.0)) / max(1, answers)
        for thread, spent_s in after_s.items()
    }
    return Profile(
        name=name,
        answers=answers,
        samples=functions.total(),
        functions=dict(functions.most_common(TOP)),
        modules=dict(modules.most_common(TOP)),
        threads_ms=dict(sorted(spent_ms.items(), key=lambda item: -item[1])[:TOP]),
    )


def _command(pid: int, path: Path) -> list[str]:
    spy = Path(sys.executable).parent / "py-spy"
    if not spy.exists():
        raise ConfigError("There is no py-spy beside this Python: run `make install`.")
    options = ["--duration", str(SECONDS), "--rate", str(RATE_PER_S), "--format", "raw", "--function"]
    return [str(spy), "record", *options, "--output", str(path), "--pid", str(pid)]


def _said(spy: subprocess.Popen[bytes]) -> str:
    return spy.stdout.read().decode(errors="replace").strip()[-500:] if spy.stdout else ""


def _replica(root: psutil.Process, name: str) -> psutil.Process:
    for process in root.children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if role(process.cmdline()) == name:
                return process
    raise ConfigError(f"There is no replica of {name}.")


def threads_s(process: psutil.Process) -> dict[str, float]:
    """CPU seconds of a process so far, by the names of its threads (numbers at their ends are left out).

    A replica's event loop runs in one that is called as the process was when it began: "ray::IDLE".
    """
    spent_s: dict[str, float] = {}
    for thread in process.threads():
        with suppress(OSError):
            name = Path(f"/proc/{process.pid}/task/{thread.id}/comm").read_text(encoding="utf-8").strip()
            kind = "first thread" if thread.id == process.pid else name.rstrip("0123456789") or name
            spent_s[kind] = spent_s.get(kind, 0.0) + thread.user_time + thread.system_time
    return spent_s


def innermost(stacks: str) -> tuple[Counter[str], Counter[str]]:
    """Samples by function and by module, of lines like "outer (a.py);inner (b.py) 12"."""
    functions: Counter[str] = Counter()
    modules: Counter[str] = Counter()
    for line in stacks.splitlines():
        frames, _, count = line.rpartition(" ")
        if not frames:
            continue
        frame = frames.rpartition(";")[2]
        function, _, place = frame.removesuffix(")").rpartition(" (")
        path = place.rsplit(":", 1)[0]
        where = f"{function} ({_short(path)})"
        if where not in WAITING:
            functions[where] += int(count)
            modules[module(path)] += int(count)
    return functions, modules


def module(path: str) -> str:
    """A package that is installed; of everything else the file."""
    short = _short(path)
    if _PACKAGES not in path:
        return short
    first, *rest = short.split("/")
    return "/".join([first, *rest[:1]]) if first == "ray" and len(rest) > 1 else first


def _short(path: str) -> str:
    """Without what stands before packages, the standard library or this project."""
    for mark in (_PACKAGES, f"/python{sys.version_info[0]}.{sys.version_info[1]}/"):
        if mark in path:
            return path.rpartition(mark)[2]
    return path.removeprefix(f"{Path(__file__).parents[2]}/")


def tables(found: Profile) -> list[Table]:
    """Functions, modules and threads."""
    shares = ((found.functions, "function"), (found.modules, "module"))
    result = [_shares(f"{found.name}: self time by {what}", counts, found.samples) for counts, what in shares]
    threads = Table("thread", title=f"{found.name}: CPU by thread", title_justify="left")
    threads.add_column("ms per request", justify="right")
    for name, spent_ms in found.threads_ms.items():
        threads.add_row(name, f"{spent_ms:.3f}")
    return [*result, threads]


def _shares(title: str, counts: Mapping[str, int], samples: int) -> Table:
    table = Table("", title=title, title_justify="left")
    table.add_column("of samples", justify="right")
    for name, count in counts.items():
        table.add_row(name, f"{100 * count / max(1, samples):.1f} %")
    return table
