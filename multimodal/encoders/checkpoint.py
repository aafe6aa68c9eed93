"""Reads open_clip model folders: `open_clip_config.json` and weights as safetensors.

Only one tower is built and only its tensors are read: an image encoder has no use for a text tower, which
may be the larger one. Nothing here reaches for a network or unpickles.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

from multimodal.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

    _Rename = Callable[[str], str | None]

CONFIG_FILE = "open_clip_config.json"
WEIGHT_FILES = ("open_clip_model.safetensors", "open_clip_pytorch_model.safetensors", "model.safetensors")
"""Names that open_clip 3 gives to weights, in its order of preference."""

INITIAL_LOGIT_SCALE = math.log(1 / 0.07)
"""What open_clip begins training with, as a logarithm: CLIP's temperature of 0.07."""
LARGEST_LOGIT_SCALE = math.log(100)
"""open_clip's upper bound while it trains, as a logarithm: section 2.5 of CLIP's paper (arXiv 2103.00020)."""

Config = Mapping[str, object]

SMALLEST_VISION: Config = {"image_size": 8, "patch_size": 8, "width": 8, "head_width": 8, "layers": 1}
SMALLEST_TEXT: Config = {"context_length": 8, "vocab_size": 8, "width": 8, "heads": 1, "layers": 1}
"""Stand-ins for the tower that is not wanted: open_clip has no public way to build only one."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """An open_clip model folder, its configuration read and its weights found."""

    folder: Path
    model: Config
    """`model_cfg`: embed_dim, vision_cfg, text_cfg, quick_gelu."""
    preprocess: Config
    """`preprocess_cfg`: mean, std, interpolation, resize_mode."""
    weights: Path


def read_checkpoint(folder: Path) -> Checkpoint:
    """Read a folder's configuration; ConfigError when it is not an open_clip model with safetensors."""
    config = read_object(folder / CONFIG_FILE)
    model = section(config, "model_cfg")
    if not isinstance(model.get("embed_dim"), int):
        raise ConfigError(f'{CONFIG_FILE} has no "model_cfg" with an "embed_dim": not an open_clip model.')
    return Checkpoint(folder, model, section(config, "preprocess_cfg"), _find_weights(folder))


def _find_weights(folder: Path) -> Path:
    for name in WEIGHT_FILES:
        if (folder / name).is_file():
            return folder / name
    raise ConfigError(
        f"The model folder has no {WEIGHT_FILES[0]}. Pickled weights are refused: save them as safetensors."
    )


def read_json(path: Path) -> object:
    """A JSON file of a model folder; ConfigError names it when it is missing or broken."""
    try:
        value: object = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"The model folder has no readable {path.name}.") from error
    return value


def read_object(path: Path) -> Config:
    """A JSON object of a model folder; ConfigError names the file when it is missing or something else."""
    value = read_json(path)
    if not isinstance(value, dict):
        raise ConfigError(f"{path.name} in the model folder is not a JSON object.")
    return cast("Config", value)


def section(config: Config, name: str) -> Config:
    """An object inside a configuration; empty where there is none."""
    value = config.get(name)
    return cast("Config", value) if isinstance(value, dict) else {}


def load_vision_tower(checkpoint: Checkpoint) -> torch.nn.Module:
    """The image tower, on the CPU in float32: pictures (n, 3, height, width) to vectors (n, embed_dim)."""
    vision = {**section(checkpoint.model, "vision_cfg"), "timm_model_pretrained": False}
    model = _build(checkpoint.model, vision, SMALLEST_TEXT)
    return _fill(model.get_submodule("visual"), checkpoint, _vision_name)


def load_text_tower(checkpoint: Checkpoint) -> torch.nn.Module:
    """The text tower, on the CPU in float32: token ids (n, length) to vectors (n, embed_dim)."""
    model = _build(checkpoint.model, SMALLEST_VISION, _local_text_config(checkpoint))
    return _fill(model.get_submodule("text"), checkpoint, _text_name)


def read_logit_scale(checkpoint: Checkpoint) -> float:
    """How much similarities are multiplied by before their softmax: from 0 to 100; 1/0.07 where the weights
    do not say. ConfigError where what they say is no number."""
    from safetensors import SafetensorError, safe_open

    logarithm = INITIAL_LOGIT_SCALE
    try:
        with safe_open(checkpoint.weights, framework="pt") as file:
            if "logit_scale" in file.keys():  # noqa: SIM118 - it is no mapping
                logarithm = float(file.get_tensor("logit_scale").item())
    except (RuntimeError, SafetensorError) as error:
        raise ConfigError(f"{checkpoint.weights.name} has no readable logit_scale.") from error
    if not math.isfinite(logarithm):
        raise ConfigError(f"The logit_scale in {checkpoint.weights.name} is no finite number.")
    return math.exp(min(logarithm, LARGEST_LOGIT_SCALE))


def _build(model: Config, vision: Config, text: Config) -> torch.nn.Module:
    import open_clip  # type: ignore[import-untyped]

    try:
        built: torch.nn.Module = open_clip.CustomTextCLIP(
            embed_dim=model["embed_dim"],
            vision_cfg=dict(vision),
            text_cfg=dict(text),
            quick_gelu=bool(model.get("quick_gelu")),
        )
    except TypeError as error:
        raise ConfigError(f"{CONFIG_FILE} has an option that this open_clip does not know.") from error
    return built.eval()


def _local_text_config(checkpoint: Checkpoint) -> Config:
    """text_cfg. A Hugging Face text model in it must lie in the folder: a mere name would be downloaded."""
    text = section(checkpoint.model, "text_cfg")
    name = text.get("hf_model_name")
    if not name:
        return text
    for folder in (checkpoint.folder / str(name), checkpoint.folder):
        if (folder / "config.json").is_file():
            return {**text, "hf_model_name": str(folder), "hf_model_pretrained": False}
    raise ConfigError(
        f'{CONFIG_FILE} names the text model "{name}": put its config.json and tokenizer into the folder.'
    )


def _vision_name(name: str) -> str | None:
    return name.removeprefix("visual.") if name.startswith("visual.") else None


def _text_name(name: str) -> str | None:
    """open_clip's CLIP class keeps the text tower's tensors at the top, its other classes under `text.`."""
    if name.startswith(("visual.", "text_decoder.")) or name in ("logit_scale", "logit_bias"):
        return None
    if name.endswith(".embeddings.position_ids"):  # written by old transformers, a constant in new ones
        return None
    return name.removeprefix("text.")


def _fill(tower: torch.nn.Module, checkpoint: Checkpoint, rename: _Rename) -> torch.nn.Module:
    """Load a tower's tensors. A missing or surplus one is an error: the answers would be noise."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(checkpoint.weights, framework="pt") as file:
            names = {name: rename(name) for name in file.keys()}  # noqa: SIM118 - it is no mapping
            tensors = {new: file.get_tensor(old) for old, new in names.items() if new is not None}
        tower.load_state_dict(tensors)
    except (RuntimeError, SafetensorError) as error:
        raise ConfigError(f"{checkpoint.weights.name} does not fit the model in {CONFIG_FILE}.") from error
    return tower
