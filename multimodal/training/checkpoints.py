"""Checkpoints of a training run: one file, replaced at once, loaded without unpickling code."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TypedDict, cast

import torch

State = dict[str, torch.Tensor]


class Checkpoint(TypedDict):
    """All that a run must know to go on as if it had not stopped."""

    step: int
    """Steps done."""
    recipe: str
    """Fingerprint of the settings: a run goes on only with its own."""
    tower: State
    average: State
    scales: State
    optimiser: dict[str, object]


def save(path: Path, checkpoint: Checkpoint) -> None:
    """Write beside, flush, replace: a crash leaves the old file or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    with partial.open("wb") as sink:
        torch.save(checkpoint, sink)
        sink.flush()
        os.fsync(sink.fileno())
    os.replace(partial, path)


def load(path: Path) -> Checkpoint | None:
    """The checkpoint, or None where there is none."""
    if not path.is_file():
        return None
    return cast("Checkpoint", torch.load(path, map_location="cpu", weights_only=True))
