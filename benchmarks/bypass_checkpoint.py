"""The checkpoint of `benchmarks.encode_once` with a tower of any depth: the deeper, the dearer."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from benchmarks.encode_once import checkpoint

T = TypeVar("T")

_BLOCK = re.compile(r"(.*\bvisual\.blocks\.)(\d+)(\..*)")


def build(folder: Path, tower_layers: int) -> None:
    """Write it into `folder`, which exists and is empty.

    Raises ConfigError where the embedded profile's generator was not pulled.
    """
    checkpoint.build(folder)
    if tower_layers != checkpoint.LAYERS:
        _resize(folder, tower_layers)


def _resize(folder: Path, layers: int) -> None:
    from safetensors.torch import load_file, save_file

    path = folder / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    # The proportion stays: one layer of so many looks at the whole picture, the last one among them.
    every = checkpoint.LAYERS // len(checkpoint.WHOLE_ATTENTION_LAYERS)
    whole = sorted({*range(every - 1, layers, every), layers - 1})
    config["vision_config"] |= {"depth": layers, "fullatt_block_indexes": whole}
    path.write_text(json.dumps(config, indent=2), encoding="utf-8")
    weights = with_blocks(load_file(folder / "model.safetensors"), layers)
    # Two layers with one tensor would be refused.
    copies = {name: tensor.clone() for name, tensor in weights.items()}
    save_file(copies, folder / "model.safetensors", metadata={"format": "pt"})


def with_blocks(weights: Mapping[str, T], blocks: int) -> dict[str, T]:
    """The weights with so many blocks in the tower: those that there are, again and again from the first."""
    named = {name: _BLOCK.fullmatch(name) for name in weights}
    known = 1 + max(int(found[2]) for found in named.values() if found)
    resized = {name: weights[name] for name, found in named.items() if not found}
    for name, found in named.items():
        if found:
            for number in range(int(found[2]), blocks, known):
                resized[f"{found[1]}{number}{found[3]}"] = weights[name]
    return resized
