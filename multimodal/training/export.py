"""Writes the trained tower as an open_clip model folder: float16 safetensors, configuration, checksums."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from multimodal.encoders.checkpoint import CONFIG_FILE, WEIGHT_FILES
from multimodal.errors import ConfigError
from multimodal.training.tower import TowerSpec

if TYPE_CHECKING:
    import torch

MOST_BYTES = 24_000_000
CARD = "MODEL_CARD.md"
CHECKSUMS = "SHA256SUMS"


def export(state: Mapping[str, torch.Tensor], spec: TowerSpec, log_scale: float, folder: Path) -> Path:
    """Write the folder from the tower's (averaged) state and the logarithm of its inverse temperature.

    Raises ConfigError when the weights are too large.
    """
    import torch
    from safetensors.torch import save

    folder.mkdir(parents=True, exist_ok=True)
    tensors = {
        f"visual.{name}": (value.half() if value.is_floating_point() else value).contiguous()
        for name, value in state.items()
        if not name.endswith("num_batches_tracked")
    }
    tensors |= {  # counters that open_clip expects and nobody reads after training
        f"visual.{name}": torch.zeros_like(value)
        for name, value in state.items()
        if name.endswith("num_batches_tracked")
    }
    tensors["logit_scale"] = torch.tensor(log_scale)
    content = save(tensors, metadata={"format": "pt"})
    if len(content) > MOST_BYTES:
        raise ConfigError(f"The weights take {len(content)} bytes; at most {MOST_BYTES} are shipped.")
    (folder / WEIGHT_FILES[0]).write_bytes(content)
    config = {"model_cfg": spec.model_config(), "preprocess_cfg": spec.preprocess_config()}
    (folder / CONFIG_FILE).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    write_checksums(folder)
    return folder


def write_checksums(folder: Path) -> None:
    """SHA256SUMS of every other file, as `sha256sum -c` reads it."""
    lines = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}"
        for path in sorted(folder.iterdir())
        if path.name != CHECKSUMS and path.is_file()
    ]
    (folder / CHECKSUMS).write_text("\n".join(lines) + "\n", encoding="utf-8")
