"""The tower's open_clip configuration, and how it is built and averaged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import torch

from multimodal.errors import ConfigError
from multimodal.training.sources import TEXT_MODEL

if TYPE_CHECKING:
    Json = Mapping[str, object]

EMBED_DIM = 384
"""Width of the sentence model's vectors."""
TEXT_FOLDER = f"../{TEXT_MODEL}"
"""Where the product's store keeps the sentence model, seen from the tower's folder."""
MEAN, STD = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)


@dataclass(frozen=True, slots=True)
class TowerSpec:
    """What open_clip must know about the image side."""

    timm_model: str = "tf_efficientnet_lite0"
    """See the README for what else was tried."""
    image_size: int = 96

    def model_config(self) -> dict[str, object]:
        """`model_cfg` of open_clip. The text side is the sentence model, unchanged."""
        return {
            "embed_dim": EMBED_DIM,
            "vision_cfg": {
                "timm_model_name": self.timm_model,
                "timm_model_pretrained": False,
                "timm_pool": "avg",
                "timm_proj": "linear",
                "image_size": self.image_size,
            },
            "text_cfg": {
                "hf_model_name": TEXT_FOLDER,
                "hf_tokenizer_name": TEXT_FOLDER,
                "hf_pooler_type": "mean_pooler",
                "hf_proj_type": None,
            },
        }

    @staticmethod
    def preprocess_config() -> dict[str, object]:
        """`preprocess_cfg` of open_clip: the whole picture is kept, padded to a square."""
        return {
            "mean": list(MEAN),
            "std": list(STD),
            "interpolation": "bicubic",
            "resize_mode": "longest",
            "fill_color": 255,
        }


def build(spec: TowerSpec) -> torch.nn.Module:
    """The image tower as open_clip builds it: (n, 3, side, side) to (n, 384)."""
    from open_clip.model import _build_vision_tower  # type: ignore[import-untyped]

    vision = cast("dict[str, object]", spec.model_config()["vision_cfg"])
    tower: torch.nn.Module = _build_vision_tower(EMBED_DIM, dict(vision))
    for weight in tower.parameters():
        if weight.ndim == 4:
            weight.data = weight.data.contiguous(memory_format=torch.channels_last)
    return tower


def begin_with(tower: torch.nn.Module, weights: Path) -> None:
    """Fill the trunk of a tower from the classifier in a file of weights, all but its last layer.

    The file names tensors in its own way and has them in the order of timm's. Raises ConfigError where they
    differ.
    """
    saved = torch.load(weights, map_location="cpu", weights_only=True)
    values = [value for name, value in saved.items() if not name.startswith("_fc.")]
    trunk = tower.get_submodule("trunk")
    own = trunk.state_dict()
    if [value.shape for value in values] != [value.shape for value in own.values()]:
        raise ConfigError(f"{weights.name} does not fit the trunk of the tower.")
    trunk.load_state_dict(dict(zip(own, values, strict=True)))


def normalise(pictures: torch.Tensor) -> torch.Tensor:
    """Pictures in 0..1 to what the tower takes."""
    return ((pictures - MEAN[0]) / STD[0]).contiguous(memory_format=torch.channels_last)


class Average:
    """Exponential moving average of a module's parameters and buffers."""

    def __init__(self, module: torch.nn.Module, decay: float) -> None:
        self._decay = decay
        self.state = {name: value.detach().clone() for name, value in module.state_dict().items()}

    def update(self, module: torch.nn.Module, step: int) -> None:
        """Follow the module; faster in the first steps, when there is little to remember."""
        decay = min(self._decay, (1 + step) / (10 + step))
        with torch.no_grad():
            for name, value in module.state_dict().items():
                if value.is_floating_point():
                    self.state[name].lerp_(value, 1 - decay)
                else:
                    self.state[name].copy_(value)
