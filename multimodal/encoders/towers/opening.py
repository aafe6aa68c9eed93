"""Finds the family of a checkpoint and opens its tower."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import cast

from multimodal.config import VisionArgs
from multimodal.encoders.checkpoint import read_object
from multimodal.encoders.towers.base import Open, Tower
from multimodal.encoders.towers.weights import CONFIG_FILE
from multimodal.errors import ConfigError
from multimodal.stages import VisionBackend

FAMILIES: Mapping[str, str] = {
    "llava_onevision": "llava_onevision",
    "qwen2_5_vl": "qwen_vl",
    "qwen3_vl": "qwen3_vl",
    "qwen2_5_omni": "qwen_omni",
}
"""Modules beside this one by `model_type`; each has a function `open_family` (see `base.Open`)."""


def open_tower(folder: Path, args: VisionArgs) -> VisionBackend:
    """The vision tower and projector of a checkpoint, without its language model.

    Raises ConfigError for a family that has no module here, or a folder that does not fit.
    """
    model_type = read_object(folder / CONFIG_FILE).get("model_type")
    name = FAMILIES.get(str(model_type))
    if name is None:
        raise ConfigError(
            f"vision.source: tower knows no models of the type {model_type!r}, only {', '.join(FAMILIES)}. "
            "Set generator.pixels to true and vision to null, and the generator encodes pictures itself."
        )
    open_family = cast(Open, import_module(f"{__package__}.{name}").open_family)
    return Tower(open_family(folder, args), args.max_pixels)
