"""Tiny vision-language checkpoints with random weights and the real processors of their families.

A folder looks to transformers and vLLM as one of the family's own does. Weights are wide enough that what is
seen changes what is said.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from multimodal.encoders.towers.weights import INDEX_FILE

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

WORDS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>")
PADS = ("<|image_pad|>", "<|video_pad|>", "<image>", "<video>")
HIDDEN = 64
TEXT: Mapping[str, object] = {
    "hidden_size": HIDDEN,
    "intermediate_size": 2 * HIDDEN,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 32,
    "max_position_embeddings": 4096,
    "tie_word_embeddings": False,
    "initializer_range": 0.15,
}
CHAT = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n"
    "{% endfor %}<|im_start|>assistant\n"
)


def tokenizer() -> PreTrainedTokenizerFast:
    """One token for each byte, and the control tokens of all families."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(models.BPE(vocab={letter: place for place, letter in enumerate(letters)}, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens([AddedToken(word, special=True) for word in (*WORDS, *PADS)])
    made = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=backend, eos_token="<|im_end|>", pad_token="<|endoftext|>", model_max_length=4096
    )
    made.chat_template = CHAT
    return made


def qwen2_5_vl(folder: Path) -> None:
    """Qwen2.5-VL: four layers in the tower, one with full attention."""
    from transformers import (
        Qwen2_5_VLConfig,
        Qwen2_5_VLForConditionalGeneration,
        Qwen2_5_VLProcessor,
        Qwen2VLImageProcessor,
        Qwen2VLVideoProcessor,
    )

    words = tokenizer()
    rope = {"rope_type": "default", "mrope_section": [4, 6, 6], "rope_theta": 10_000.0}
    config = Qwen2_5_VLConfig(
        text_config={**TEXT, "vocab_size": len(words), "rope_parameters": rope},
        vision_config={
            "depth": 2,
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_heads": 2,
            "out_hidden_size": HIDDEN,
            "fullatt_block_indexes": [1],
            "window_size": 56,
            "tokens_per_second": 2,
            "initializer_range": 0.15,
        },
        image_token_id=_id(words, "<|image_pad|>"),
        video_token_id=_id(words, "<|video_pad|>"),
        vision_start_token_id=_id(words, "<|vision_start|>"),
        vision_end_token_id=_id(words, "<|vision_end|>"),
    )
    size = {"shortest_edge": 56 * 56, "longest_edge": 28 * 28 * 64}
    processor = Qwen2_5_VLProcessor(  # type: ignore[no-untyped-call]
        Qwen2VLImageProcessor(size=size), words, Qwen2VLVideoProcessor(size=size), chat_template=CHAT
    )
    _save(Qwen2_5_VLForConditionalGeneration(config), processor, folder)  # type: ignore[no-untyped-call]


def qwen3_vl(folder: Path) -> None:
    """Qwen3-VL with two levels of DeepStack."""
    from transformers import (
        Qwen2VLImageProcessor,
        Qwen3VLConfig,
        Qwen3VLForConditionalGeneration,
        Qwen3VLProcessor,
        Qwen3VLVideoProcessor,
    )

    words = tokenizer()
    rope = {"rope_type": "default", "mrope_section": [6, 5, 5], "rope_theta": 10_000.0}
    config = Qwen3VLConfig(
        text_config={**TEXT, "vocab_size": len(words), "rope_parameters": rope},
        vision_config={
            "depth": 3,
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_heads": 2,
            "out_hidden_size": HIDDEN,
            "num_position_embeddings": 64,
            "deepstack_visual_indexes": [0, 1],
            "initializer_range": 0.15,
        },
        image_token_id=_id(words, "<|image_pad|>"),
        video_token_id=_id(words, "<|video_pad|>"),
        vision_start_token_id=_id(words, "<|vision_start|>"),
        vision_end_token_id=_id(words, "<|vision_end|>"),
    )
    half = [0.5, 0.5, 0.5]
    size = {"shortest_edge": 64 * 64, "longest_edge": 32 * 32 * 64}
    # vLLM normalises pictures and videos of this family with the same numbers.
    image = Qwen2VLImageProcessor(patch_size=16, size=size, image_mean=half, image_std=half)
    video = Qwen3VLVideoProcessor(size={"shortest_edge": 64 * 64, "longest_edge": 32 * 32 * 256})
    processor = Qwen3VLProcessor(image, words, video, chat_template=CHAT)  # type: ignore[no-untyped-call]
    _save(Qwen3VLForConditionalGeneration(config), processor, folder)  # type: ignore[no-untyped-call]


def llava_onevision(folder: Path) -> None:
    """LLaVA-OneVision: SigLIP of 56 pixels, tiles of up to 3 by 3."""
    from transformers import (
        LlavaOnevisionConfig,
        LlavaOnevisionForConditionalGeneration,
        LlavaOnevisionImageProcessor,
        LlavaOnevisionProcessor,
        LlavaOnevisionVideoProcessor,
    )

    words = tokenizer()
    side = 56
    tiles = [[side * rows, side * columns] for rows in range(1, 4) for columns in range(1, 4)]
    config = LlavaOnevisionConfig(
        text_config={
            **TEXT,
            "model_type": "qwen2",
            "vocab_size": len(words),
            "rope_parameters": {"rope_type": "default", "rope_theta": 10_000.0},
        },
        vision_config={
            "model_type": "siglip_vision_model",
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": side,
            "patch_size": 14,
            "vision_use_head": False,
        },
        image_token_index=_id(words, "<image>"),
        video_token_index=_id(words, "<video>"),
        image_grid_pinpoints=tiles,
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
    )
    square = {"height": side, "width": side}
    processor = LlavaOnevisionProcessor(  # type: ignore[no-untyped-call]
        LlavaOnevisionImageProcessor(size=square, image_grid_pinpoints=tiles),
        words,
        LlavaOnevisionVideoProcessor(size=square),
        num_image_tokens=(side // 14) ** 2,
        vision_feature_select_strategy="full",
        chat_template=CHAT,
    )
    _save(LlavaOnevisionForConditionalGeneration(config), processor, folder)


def _id(words: PreTrainedTokenizerFast, word: str) -> int:
    return int(words.get_vocab()[word])


def _save(model: PreTrainedModel, processor: object, folder: Path) -> None:
    """The same weights every time, in several files, as those of large models lie."""
    import torch

    generator = torch.Generator().manual_seed(7)
    for name, tensor in model.named_parameters():
        _draw(name, tensor, generator)
    model.save_pretrained(folder, max_shard_size="150KB")
    _rename(folder)
    processor.save_pretrained(folder)  # type: ignore[attr-defined]


def _rename(folder: Path) -> None:
    """vLLM 0.32 expects SigLIP's tensors a level deeper than transformers 5 saves them: as older ones did."""
    from safetensors.torch import load_file, save_file

    shallow, deep = "vision_tower.", "vision_tower.vision_model."
    index = json.loads((folder / INDEX_FILE).read_text())
    for file in sorted({*index["weight_map"].values()}):
        tensors = {name.replace(shallow, deep): tensor for name, tensor in load_file(folder / file).items()}
        save_file(tensors, folder / file, metadata={"format": "pt"})
    index["weight_map"] = {name.replace(shallow, deep): file for name, file in index["weight_map"].items()}
    (folder / INDEX_FILE).write_text(json.dumps(index))


def _draw(name: str, tensor: torch.Tensor, generator: torch.Generator) -> None:
    """Matrices that keep the size of what they multiply, norms about one, small biases."""
    import torch

    with torch.no_grad():
        if tensor.ndim < 2:
            centre = 1.0 if "norm" in name and name.endswith("weight") else 0.0
            tensor.normal_(centre, 0.1, generator=generator)
        else:
            tensor.normal_(0.0, 1.5 / tensor[0].numel() ** 0.5, generator=generator)
