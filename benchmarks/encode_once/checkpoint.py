"""A vision-language checkpoint of a real size that both our server and vLLM's own can serve.

No hub is needed: the language model is the embedded profile's SmolLM2-135M with all its weights, written as a
Qwen2.5-VL (a Llama is a Qwen2 whose attention biases are zero, and multimodal rotary positions are the usual
ones wherever there are words only). So text chats read and write as they do in the embedded profile.
Tower and projector are random: what they say of a picture means nothing, but takes as long as if it did.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, cast

from multimodal.config import home
from multimodal.models.refs import resolve

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerFast, Qwen2_5_VLConfig

TEXT_MODEL = "embedded:smollm2-135m-vl"

VISION_START, VISION_END = "<|vision_start|>", "<|vision_end|>"
IMAGE_PAD, VIDEO_PAD = "<|image_pad|>", "<|video_pad|>"
ADDED = (VISION_START, VISION_END, IMAGE_PAD, VIDEO_PAD)
IMAGE_PLACEHOLDER = f"{VISION_START}{IMAGE_PAD}{VISION_END}"

HIDDEN, LAYERS, HEADS, INTERMEDIATE = 768, 12, 12, 2048
"""97 million parameters, projector included: about a ViT-B."""
WHOLE_ATTENTION_LAYERS = [5, 11]
"""The others look at windows: the proportion of the published models."""
PATCH_PX, MERGE = 14, 2
MROPE_SECTIONS = [8, 12, 12]
"""Time, rows, columns: half of the head's 64 dimensions, in the published proportion."""
MAX_PIXELS = 1280 * (PATCH_PX * MERGE) ** 2
"""Larger pictures are scaled down to 1280 tokens: the limit that Qwen2.5-VL's model card recommends."""
MIN_PIXELS = 4 * (PATCH_PX * MERGE) ** 2

_SEED = 7
_INITIAL_SD = 0.02
"""Of random weights: `initializer_range` of the published configurations."""


KEPT = (
    *("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads"),
    *("max_position_embeddings", "rms_norm_eps", "bos_token_id", "eos_token_id", "pad_token_id"),
)
"""Of the embedded model's text configuration; what Llama and Qwen2 call by the same name."""


def build(folder: Path) -> None:
    """Write the checkpoint into `folder`, which exists and is empty. 10 s, 470 MB.

    Raises ConfigError where the embedded profile's generator was not pulled.
    """
    source = resolve(TEXT_MODEL, home())
    tokenizer = _tokenizer(source)
    config = _config(source, tokenizer)
    config.save_pretrained(folder)
    _write_processor(folder, tokenizer)
    generation = {name: getattr(config.text_config, name) for name in ("bos_token_id", "eos_token_id")}
    (folder / "generation_config.json").write_text(json.dumps(generation), encoding="utf-8")
    _write_weights(folder, source, config)


def _tokenizer(source: Path) -> PreTrainedTokenizerFast:
    from transformers import AutoTokenizer

    tokenizer = cast("PreTrainedTokenizerFast", AutoTokenizer.from_pretrained(source))
    tokenizer.add_special_tokens({"additional_special_tokens": list(ADDED)})
    return tokenizer


def _config(source: Path, tokenizer: PreTrainedTokenizerFast) -> Qwen2_5_VLConfig:
    from transformers import Qwen2_5_VLConfig

    text = json.loads((source / "config.json").read_text(encoding="utf-8"))["text_config"]
    rope = {"rope_type": "default", "rope_theta": text["rope_parameters"]["rope_theta"]}
    ids = dict(zip(ADDED, cast("list[int]", tokenizer.convert_tokens_to_ids(list(ADDED))), strict=True))
    return Qwen2_5_VLConfig(
        architectures=["Qwen2_5_VLForConditionalGeneration"],
        text_config={name: text[name] for name in KEPT}
        | {
            "vocab_size": len(tokenizer),
            "rope_parameters": {**rope, "mrope_section": MROPE_SECTIONS},
            "tie_word_embeddings": True,
            "dtype": "bfloat16",
        },
        vision_config={
            "depth": LAYERS,
            "hidden_size": HIDDEN,
            "intermediate_size": INTERMEDIATE,
            "num_heads": HEADS,
            "out_hidden_size": text["hidden_size"],
            "patch_size": PATCH_PX,
            "spatial_merge_size": MERGE,
            "fullatt_block_indexes": WHOLE_ATTENTION_LAYERS,
        },
        vision_start_token_id=ids[VISION_START],
        vision_end_token_id=ids[VISION_END],
        image_token_id=ids[IMAGE_PAD],
        video_token_id=ids[VIDEO_PAD],
        tie_word_embeddings=True,
        dtype="bfloat16",
    )


def _write_processor(folder: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    from transformers import Qwen2_5_VLProcessor, Qwen2VLImageProcessor, Qwen2VLVideoProcessor

    size = {"shortest_edge": MIN_PIXELS, "longest_edge": MAX_PIXELS}
    processor = Qwen2_5_VLProcessor(  # type: ignore[no-untyped-call]
        image_processor=Qwen2VLImageProcessor(size=size),
        video_processor=Qwen2VLVideoProcessor(size=size),
        tokenizer=tokenizer,
        chat_template=tokenizer.chat_template,
    )
    processor.save_pretrained(folder)


def _write_weights(folder: Path, source: Path, config: Qwen2_5_VLConfig) -> None:
    import torch
    from safetensors.torch import load_file, save_file
    from transformers import Qwen2_5_VLForConditionalGeneration

    with torch.device("meta"):
        model = Qwen2_5_VLForConditionalGeneration(config)  # type: ignore[no-untyped-call]
    shapes: dict[str, torch.Tensor] = model.state_dict()
    known = load_file(source / "model.safetensors")
    random = torch.Generator().manual_seed(_SEED)
    weights = {
        name: _words(name, known, shape) if ".language_model." in name else _drawn(name, shape, random)
        for name, shape in shapes.items()
        if name != "lm_head.weight"
    }
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def _words(name: str, known: dict[str, torch.Tensor], shape: torch.Tensor) -> torch.Tensor:
    """The language model's own weight; biases that it has not are zero."""
    import torch

    if name not in known:
        return torch.zeros(shape.shape, dtype=torch.bfloat16)
    weight = known[name].to(torch.bfloat16)
    if name.endswith("embed_tokens.weight") and (missing := shape.shape[0] - weight.shape[0]):
        # With tied embeddings, the mean keeps the logits of added tokens below the largest always.
        weight = torch.cat([weight, weight.float().mean(dim=0, keepdim=True).bfloat16().expand(missing, -1)])
    return weight


def _drawn(name: str, shape: torch.Tensor, random: torch.Generator) -> torch.Tensor:
    """A weight of tower or projector: norms are one, biases zero."""
    import torch

    if shape.ndim == 1:
        start = torch.zeros if name.endswith("bias") else torch.ones
        return start(shape.shape, dtype=torch.bfloat16)
    return (torch.randn(shape.shape, generator=random) * _INITIAL_SD).bfloat16()
