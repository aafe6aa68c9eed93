"""Where importing goes, in the processes that a start of the server waits for."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Mapping

from benchmarks.plot_data import Parts

PROCESSES: Mapping[str, str] = {
    "multimodal serve": "import multimodal.cli",
    "any replica": "import deployments.app",
    "Gateway, when it starts": "import deployments.app, multimodal.api.app",
    "TextEncoder, with its model": "import deployments.app, multimodal.encoders.text, torch, transformers",
    "Generator, with its engine": "import deployments.app, vllm.v1.engine.async_llm",
}
"""What each imports; the models' libraries only where there is a model."""

LARGEST = 6
"""Packages by name; all others are one part."""
OTHERS = "others"


def measure() -> list[Parts]:
    """Each in a process of its own, with warm files. Raises RuntimeError where something is missing."""
    spent_ms = {name: packages_ms(report(code)) for name, code in PROCESSES.items()}
    total = sum((Counter(one) for one in spent_ms.values()), Counter[str]())
    named = [package for package, _ in total.most_common(LARGEST)]
    return [
        Parts(plot="Where importing goes", side=name, parts=parts(one, named), x_label="ms")
        for name, one in spent_ms.items()
    ]


def report(code: str) -> str:
    """What Python says of each module."""
    command = [sys.executable, "-X", "importtime", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace")
    if done.returncode:
        raise RuntimeError(f"{code!r} failed: {done.stderr[-300:]}")
    return done.stderr


def packages_ms(report: str) -> dict[str, float]:
    """Time in the modules of each package themselves, without what they import."""
    found: Counter[str] = Counter()
    for line in report.splitlines():
        columns = line.removeprefix("import time:").split("|")
        if line.startswith("import time:") and len(columns) == 3 and columns[0].strip().isdigit():
            package = columns[2].strip().partition(".")[0]
            found[package] += int(columns[0])
    return {package: spent_us / 1e3 for package, spent_us in found.items()}


def parts(spent_ms: Mapping[str, float], named: list[str]) -> dict[str, float]:
    """Those that have a name of their own, and the rest."""
    own = {package: spent_ms.get(package, 0.0) for package in named}
    return {**own, OTHERS: max(0.0, sum(spent_ms.values()) - sum(own.values()))}


def total_ms(one: Parts) -> float:
    """All of one process."""
    return sum(one["parts"].values())
