"""A tiny Qwen2.5-Omni with random weights, as transformers itself saves one: thinker, processor, tokenizer.

Only the thinker has weights: the two models that make it speak are read by nobody here.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers.pre_tokenizers import ByteLevel
from transformers import (
    Qwen2_5OmniConfig,
    Qwen2_5OmniProcessor,
    Qwen2_5OmniThinkerConfig,
    Qwen2_5OmniThinkerForConditionalGeneration,
    Qwen2Tokenizer,
    Qwen2VLImageProcessor,
    Qwen2VLVideoProcessor,
    WhisperFeatureExtractor,
)

WIDTH = 64
MEL_BINS = 16
SPECIAL = {
    "eos_token": "<|endoftext|>",
    "audio_token": "<|AUDIO|>",
    "image_token": "<|IMAGE|>",
    "video_token": "<|VIDEO|>",
    "audio_bos_token": "<|audio_bos|>",
    "audio_eos_token": "<|audio_eos|>",
    "vision_bos_token": "<|vision_bos|>",
    "vision_eos_token": "<|vision_eos|>",
}
TEMPLATE = "{% for message in messages %}{{ message['content'] }}{% endfor %}"


def build(folder: Path, *, seed: int = 11) -> Path:
    """The model folder. Different seeds make different weights."""
    tokenizer = _tokenizer()
    thinker_config = _thinker(tokenizer)
    torch.manual_seed(seed)
    thinker = Qwen2_5OmniThinkerForConditionalGeneration(thinker_config)
    with torch.no_grad():
        for parameter in thinker.parameters():
            # What is seen and heard shall change what is said, and nothing shall be a tie.
            parameter.add_(0.15 * torch.randn_like(parameter))
    weights = {f"thinker.{name}": tensor.contiguous() for name, tensor in thinker.state_dict().items()}
    folder.mkdir(parents=True, exist_ok=True)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    config = Qwen2_5OmniConfig(thinker_config=thinker_config.to_dict(), enable_audio_output=False)
    config.architectures = ["Qwen2_5OmniModel"]
    config.save_pretrained(folder)
    _processor(tokenizer).save_pretrained(folder)
    return folder


def thinker_alone(model: Path, folder: Path) -> Path:
    """The same thinker as a checkpoint of its own: other names, another model type."""
    from safetensors.torch import load_file

    folder.mkdir(parents=True, exist_ok=True)
    weights = load_file(model / "model.safetensors")
    save_file({name.removeprefix("thinker."): tensor for name, tensor in weights.items()},
              folder / "model.safetensors", metadata={"format": "pt"})  # fmt: skip
    config = json.loads((model / "config.json").read_text(encoding="utf-8"))["thinker_config"]
    config |= {
        "model_type": "qwen2_5_omni_thinker",
        "architectures": ["Qwen2_5OmniThinkerForConditionalGeneration"],
    }
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    Qwen2_5OmniProcessor.from_pretrained(model).save_pretrained(folder)
    return folder


def _tokenizer() -> Qwen2Tokenizer:
    """One token for each byte, and the special ones."""
    vocab = {character: number for number, character in enumerate(sorted(ByteLevel.alphabet()))}
    return Qwen2Tokenizer(
        vocab=vocab,
        merges=[],
        eos_token=SPECIAL["eos_token"],
        extra_special_tokens={name: token for name, token in SPECIAL.items() if name != "eos_token"},
        chat_template=TEMPLATE,
    )


def _thinker(tokenizer: Qwen2Tokenizer) -> Qwen2_5OmniThinkerConfig:
    ids = {name: tokenizer.get_vocab()[token] for name, token in SPECIAL.items()}
    return Qwen2_5OmniThinkerConfig(
        audio_config={
            "num_mel_bins": MEL_BINS,
            "encoder_layers": 2,
            "encoder_attention_heads": 2,
            "encoder_ffn_dim": 48,
            "d_model": 32,
            "output_dim": WIDTH,
        },
        vision_config={
            "depth": 2,
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_heads": 2,
            "out_hidden_size": WIDTH,
            "fullatt_block_indexes": [1],
            "window_size": 56,
        },
        text_config={
            "vocab_size": 320,
            "hidden_size": WIDTH,
            "intermediate_size": 96,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "max_position_embeddings": 4096,
            "tie_word_embeddings": False,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 10000.0,
                "mrope_section": [4, 6, 6],
            },
        },
        audio_token_index=ids["audio_token"],
        image_token_index=ids["image_token"],
        video_token_index=ids["video_token"],
        audio_start_token_id=ids["audio_bos_token"],
        audio_end_token_id=ids["audio_eos_token"],
    )


def _processor(tokenizer: Qwen2Tokenizer) -> Qwen2_5OmniProcessor:
    size = {"shortest_edge": 56 * 56, "longest_edge": 112 * 112}
    return Qwen2_5OmniProcessor(  # type: ignore[no-untyped-call]
        image_processor=Qwen2VLImageProcessor(size=size),
        video_processor=Qwen2VLVideoProcessor(size=size, do_sample_frames=False),
        feature_extractor=WhisperFeatureExtractor(feature_size=MEL_BINS, return_attention_mask=True),  # type: ignore[no-untyped-call]
        tokenizer=tokenizer,
        chat_template=TEMPLATE,
    )
