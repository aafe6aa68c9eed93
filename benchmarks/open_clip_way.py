"""How open_clip itself runs the model of a folder: the other side of `image_encoder`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, cast

import PIL.Image

from multimodal.errors import ConfigError
from multimodal.types import Image

if TYPE_CHECKING:
    import torch

    from multimodal.encoders.checkpoint import Checkpoint


def own_transform(checkpoint: Checkpoint, size: object) -> Callable[[PIL.Image.Image], torch.Tensor]:
    """open_clip's own preprocessing of the folder."""
    from open_clip.transform import (  # type: ignore[import-untyped]
        PreprocessCfg,
        image_transform_v2,
        merge_preprocess_dict,
    )

    config = merge_preprocess_dict(PreprocessCfg(), {**checkpoint.preprocess, "size": size})
    made = image_transform_v2(PreprocessCfg(**config), is_train=False)
    return cast("Callable[[PIL.Image.Image], torch.Tensor]", made)


def encode_one_by_one(
    tower: torch.nn.Module, checkpoint: Checkpoint, images: Sequence[Image]
) -> torch.Tensor:
    """(n, embed_dim) unit vectors as open_clip's documentation makes them, each picture alone."""
    import torch

    transform = own_transform(checkpoint, tower.image_size)
    with torch.inference_mode():
        found = [tower(transform(PIL.Image.fromarray(image.pixels))[None]) for image in images]
        return torch.nn.functional.normalize(torch.cat(found), dim=-1)


def whole_model(checkpoint: Checkpoint) -> torch.nn.Module:
    """Both towers, as open_clip builds them. A Hugging Face text model must be where the folder says."""
    import open_clip  # type: ignore[import-untyped]
    from safetensors.torch import load_file

    from multimodal.encoders.checkpoint import section

    text = dict(section(checkpoint.model, "text_cfg"))
    if name := text.get("hf_model_name"):
        folder = checkpoint.folder / str(name)
        if not folder.is_dir():
            raise ConfigError(
                f"The text model {name} is missing: pull it, or leave memory out (--no-memory)."
            )
        text["hf_model_name"] = str(folder)
    model: torch.nn.Module = open_clip.CustomTextCLIP(
        embed_dim=checkpoint.model["embed_dim"],
        vision_cfg={**section(checkpoint.model, "vision_cfg"), "timm_model_pretrained": False},
        text_cfg=text,
        quick_gelu=bool(checkpoint.model.get("quick_gelu")),
    )
    # A text tower of its own may not be among the folder's tensors.
    model.load_state_dict(load_file(checkpoint.weights), strict=False)
    return model.eval()
