"""Made-up weights of a classifier, in a file as the tower's first weights come."""

from __future__ import annotations

from pathlib import Path

import torch


def classifier_file(folder: Path, tower: torch.nn.Module) -> tuple[Path, list[torch.Tensor]]:
    """A file for the trunk of a tower, with names of its own and a last layer; and what it holds for the
    trunk, in order."""
    generator = torch.Generator().manual_seed(5)
    trunk = tower.get_submodule("trunk").state_dict()
    values = [
        torch.rand(value.shape, generator=generator) if value.is_floating_point() else torch.tensor(3)
        for value in trunk.values()
    ]
    saved = {f"_blocks.{number}": value for number, value in enumerate(values)}
    last = {"_fc.weight": torch.rand(10, 4), "_fc.bias": torch.rand(10)}
    torch.save(saved | last, folder / "classifier.pth")
    return folder / "classifier.pth", values
