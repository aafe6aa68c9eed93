"""The tower of Qwen3-VL: as that of Qwen2.5-VL, with DeepStack, and with videos that write down their times.

DeepStack: features of earlier layers of the tower are added to the first layers of the language model. vLLM
takes them as further columns of a row: (tokens, hidden_size * (1 + levels)), the merged patches first.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

from multimodal.config import VisionArgs
from multimodal.encoders.towers import clock
from multimodal.encoders.towers.base import Family, read_config, read_processor
from multimodal.encoders.towers.qwen_vl import WEIGHTS, Processor, QwenTower, VisionOutput
from multimodal.encoders.towers.weights import build, dtype_of, fill
from multimodal.types import GeneratorEmbedding, Video

if TYPE_CHECKING:
    import torch


def with_deepstack(output: VisionOutput) -> torch.Tensor:
    """(tokens, hidden_size * (1 + levels))."""
    import torch

    return torch.cat([output.pooler_output, *output.deepstack_features], dim=1)


def with_timestamps(seen: GeneratorEmbedding, video: Video, frames_per_step: int) -> GeneratorEmbedding:
    """The prompt says when each step is."""
    return replace(seen, timestamps_s=clock.timestamps_s(video.times_s, frames_per_step))


def open_family(folder: Path, args: VisionArgs) -> Family:
    """Raises ConfigError where the folder holds no Qwen3-VL."""
    from transformers.models.qwen3_vl.modeling_qwen3_vl import Qwen3VLVisionModel

    vision = read_config(folder).vision_config
    visual = build(lambda: Qwen3VLVisionModel(vision))
    fill(visual, folder, WEIGHTS, dtype_of(folder, args.dtype), args.device)
    processor = cast(Processor, read_processor(folder))
    return QwenTower(visual, vision.spatial_merge_size, processor, with_deepstack, with_timestamps)
