"""What a generator looks at, as vLLM takes it: rows from VisionTower, or pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from multimodal.generation.prompt import VisualSize
from multimodal.types import GeneratorEmbedding, Image, Visual

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image as Picture

PIXELS_PER_TOKEN = 28 * 28
"""Qwen2.5-VL: 14-pixel patches, merged two by two. Only an estimate of what a picture will take."""


def items(visual: Visual) -> list[torch.Tensor] | list[Picture]:
    """One item for each placeholder: single rows (1, hidden_size) float32, or pictures.

    vLLM takes the items of all requests of a step together, and those of LLaVA must then have one shape:
    items with different numbers of rows would end the engine.
    """
    import torch
    from PIL import Image as Pillow

    if isinstance(visual, GeneratorEmbedding):
        # A copy: arrays from the object store are read-only, and tensors cannot be.
        return list(torch.split(torch.from_numpy(np.array(visual.rows, dtype=np.float32)), 1))
    frames = [visual.pixels] if isinstance(visual, Image) else list(visual.frames)
    return [Pillow.fromarray(frame) for frame in frames]


def size(visual: Visual) -> VisualSize:
    """How much of the context it takes: exactly for rows, about for pixels."""
    if isinstance(visual, GeneratorEmbedding):
        return VisualSize(items=len(visual.rows), tokens=len(visual.rows))
    frames = visual.pixels[None] if isinstance(visual, Image) else visual.frames
    count, height, width, _ = frames.shape
    return VisualSize(items=count, tokens=count * max(1, height * width // PIXELS_PER_TOKEN))
