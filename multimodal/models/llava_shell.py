"""A LLaVA-style checkpoint around a text model, so that vLLM takes precomputed embeddings beside text.

The text model is SmolLM2, unchanged but for one added `<image>` token. The vision tower and projector are
placeholders: vLLM's architecture asks for them, but embeddings always come from our own encoders
(`enable_mm_embeds`), so the tower never sees a picture. Its weights are zero, which makes the checkpoint
reproducible and says plainly that nothing was learned there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from multimodal.models.gguf_convert import GgufFile, LlamaShape
from multimodal.models.gguf_tokenizer import build_tokenizer, save_tokenizer
from multimodal.models.progress import Progress, Step, silent

if TYPE_CHECKING:
    import torch
    from transformers import CLIPVisionConfig, LlavaConfig

IMAGE_TOKEN = "<image>"
IMAGE_SIZE_PX = 512
PATCH_SIZE_PX = 16
MAX_IMAGE_TOKENS = (IMAGE_SIZE_PX // PATCH_SIZE_PX) ** 2
"""1024: vLLM budgets an item by the tower's patches, so this bounds the rows of one embedding."""
_TOWER_HIDDEN = 32


def build_llava_shell(gguf_path: Path, folder: Path, progress: Progress = silent) -> None:
    """Write the checkpoint into `folder`, which exists and is empty. About 20 s and 1 GB of memory.

    Raises ConfigError for a GGUF file that holds anything but a Llama with SmolLM2's kind of tokenizer.
    """
    source = GgufFile(gguf_path)
    tables, shape = source.tokenizer(), source.shape()
    tokenizer = build_tokenizer(tables, added=(IMAGE_TOKEN,))
    save_tokenizer(tokenizer, tables, shape.context, folder)
    progress(Step.BUILDING, 0, source.weights_bytes)
    config = _config(shape, len(tables.tokens), tables.bos, tables.eos, tables.padding)
    config.save_pretrained(folder)
    _write_processor(folder)
    _write_generation_config(folder, tables.bos, tables.eos, tables.padding)
    _write_weights(source, config, folder, progress)


def _config(shape: LlamaShape, image_token: int, bos: int, eos: int, padding: int) -> LlavaConfig:
    from transformers import LlamaConfig, LlavaConfig

    text = LlamaConfig(
        architectures=["LlamaForCausalLM"],
        vocab_size=image_token + 1,
        hidden_size=shape.hidden,
        intermediate_size=shape.intermediate,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        max_position_embeddings=shape.context,
        rms_norm_eps=shape.norm_eps,
        rope_parameters={"rope_type": "default", "rope_theta": shape.rope_theta},
        tie_word_embeddings=True,
        bos_token_id=bos,
        eos_token_id=eos,
        pad_token_id=padding,
        dtype="bfloat16",
    )
    return LlavaConfig(
        architectures=["LlavaForConditionalGeneration"],
        text_config=text,
        vision_config=_vision_config(),
        image_token_index=image_token,
        image_seq_length=MAX_IMAGE_TOKENS,
        vision_feature_layer=-1,
        vision_feature_select_strategy="default",
        tie_word_embeddings=True,
        dtype="bfloat16",
    )


def _vision_config() -> CLIPVisionConfig:
    from transformers import CLIPVisionConfig

    return CLIPVisionConfig(
        hidden_size=_TOWER_HIDDEN,
        intermediate_size=2 * _TOWER_HIDDEN,
        projection_dim=_TOWER_HIDDEN,
        num_hidden_layers=1,
        num_attention_heads=1,
        image_size=IMAGE_SIZE_PX,
        patch_size=PATCH_SIZE_PX,
    )


def _write_weights(source: GgufFile, config: LlavaConfig, folder: Path, progress: Progress) -> None:
    from safetensors.torch import save_file

    weights, done = _placeholder_weights(config), 0
    for name, tensor in source.weights():
        done += tensor.nbytes
        progress(Step.BUILDING, done, source.weights_bytes)
        row_added = _with_mean_row(tensor) if name == "embed_tokens.weight" else tensor
        weights[f"model.language_model.{name}"] = row_added
    path = folder / "model.safetensors"
    save_file(weights, path, metadata={"format": "pt"})
    path.chmod(0o644)  # save_file leaves 0600, but a store may serve several users


def _with_mean_row(embeddings: torch.Tensor) -> torch.Tensor:
    """Add the row of `<image>`: with tied embeddings, the mean keeps its logit below the largest always."""
    import torch

    mean = embeddings.float().mean(dim=0, keepdim=True).to(embeddings.dtype)
    return torch.cat([embeddings, mean])


def _placeholder_weights(config: LlavaConfig) -> dict[str, torch.Tensor]:
    """Zeros for tower and projector, under the names that vLLM 0.32 expects.

    transformers 5.19 saves the tower without the `vision_model.` level; vLLM 0.32 has it.
    """
    import torch
    from transformers import LlavaForConditionalGeneration

    with torch.device("meta"):
        shapes = LlavaForConditionalGeneration(config).state_dict()
    return {
        _vllm_name(name): torch.zeros(tensor.shape, dtype=torch.bfloat16)
        for name, tensor in shapes.items()
        if name.startswith(("model.vision_tower.", "model.multi_modal_projector."))
        and tensor.is_floating_point()
    }


def _vllm_name(name: str) -> str:
    tower, level = "model.vision_tower.", "vision_model."
    if name.startswith(tower) and not name.startswith(tower + level):
        return tower + level + name.removeprefix(tower)
    return name


def _write_processor(folder: Path) -> None:
    side = {"height": IMAGE_SIZE_PX, "width": IMAGE_SIZE_PX}
    image_processor = {
        "image_processor_type": "CLIPImageProcessor",
        "size": side,
        "crop_size": side,
    }
    processor = {
        "processor_class": "LlavaProcessor",
        "image_token": IMAGE_TOKEN,
        "patch_size": PATCH_SIZE_PX,
        "num_additional_image_tokens": 1,
        "vision_feature_select_strategy": "default",
    }
    _write_json(folder / "preprocessor_config.json", image_processor | {"processor_class": "LlavaProcessor"})
    _write_json(folder / "processor_config.json", processor)


def _write_generation_config(folder: Path, bos: int, eos: int, padding: int) -> None:
    tokens = {"bos_token_id": bos, "eos_token_id": eos, "pad_token_id": padding}
    _write_json(folder / "generation_config.json", tokens)


def _write_json(path: Path, value: Mapping[str, object]) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
