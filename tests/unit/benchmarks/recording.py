"""Results files, made up."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

COMMIT = "a" * 40


def document(
    benchmark: str,
    results: object,
    *,
    at: str = "2026-01-01T10:00:00+00:00",
    command: str = "",
    changed: Mapping[str, object] | None = None,
) -> dict[str, object]:
    """What `write_results` writes."""
    return {
        "benchmark": benchmark,
        "at": at,
        "command": command or f"python -m benchmarks.{benchmark}",
        "commit": COMMIT,
        "uncommitted_changes": False,
        "python": "3.11.7",
        "packages": {"ray": "2.60.0"},
        "cpu": "a processor",
        "cores": 2,
        "memory_bytes": 16 * 1024**3,
        "load_average_1m": 0.1,
        "results": results,
        **(changed or {}),
    }


def write(folder: Path, *documents: dict[str, object]) -> None:
    """Each into a file of its own."""
    for number, one in enumerate(documents):
        (folder / f"{number}.json").write_text(json.dumps(one), encoding="utf-8")
