"""Tiny open_clip model folders with random weights, as open_clip itself would save them."""

import json
from pathlib import Path
from typing import TypeAlias

import open_clip  # type: ignore[import-untyped]
import torch
from safetensors.torch import save_file

Config: TypeAlias = dict[str, object]

EMBED_DIM = 24
IMAGE_SIZE = 32

VIT: Config = {"image_size": IMAGE_SIZE, "patch_size": 8, "width": 32, "head_width": 16, "layers": 2}
RESNET: Config = {"image_size": 64, "layers": [1, 1, 1, 1], "width": 8, "head_width": 16}
TIMM: Config = {
    "image_size": IMAGE_SIZE,
    "timm_model_name": "test_vit",
    "timm_proj": "linear",
    "timm_pool": "avg",
}
TEXT: Config = {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 2}
NARROW: Config = {"context_length": 8, "vocab_size": 8, "width": 8, "heads": 1, "layers": 1}
PREPROCESS: Config = {
    "mean": [0.2, 0.4, 0.6],
    "std": [0.5, 0.25, 0.125],
    "interpolation": "bilinear",
    "resize_mode": "squash",
}


def build(
    folder: Path,
    vision: Config = VIT,
    text: Config = NARROW,
    *,
    custom_text: bool = True,
    preprocess: Config = PREPROCESS,
    saved_text: Config | None = None,
    **options: object,
) -> Path:
    """A model folder. `saved_text` is what the configuration says of the text tower where that differs from
    what is built."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(7)
    model_class = open_clip.CustomTextCLIP if custom_text else open_clip.CLIP
    model: torch.nn.Module = model_class(EMBED_DIM, dict(vision), dict(text), **options)
    save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()},
              folder / "open_clip_model.safetensors")  # fmt: skip
    config = {
        "model_cfg": {
            "embed_dim": EMBED_DIM,
            "vision_cfg": vision,
            "text_cfg": saved_text or text,
            "custom_text": custom_text,
            **options,
        },
        "preprocess_cfg": preprocess,
    }
    (folder / "open_clip_config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder
