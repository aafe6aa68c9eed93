"""A tokenizer for transformers out of the tables in a GGUF file. Needs no network."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import gguf
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from multimodal.errors import ConfigError
from multimodal.models.gguf_convert import GgufTokenizer


def build_tokenizer(tables: GgufTokenizer, added: Sequence[str] = ()) -> Tokenizer:
    """Byte-level BPE as SmolLM2 was trained with it, and the `added` special tokens at the end.

    SmolLM2's pre-tokenizer (`smollm`) cuts digits apart one by one, then splits with GPT-2's pattern.
    """
    if (tables.model, tables.pre) != ("gpt2", "smollm"):
        raise ConfigError(f"Tokenizer {tables.model}/{tables.pre} is not supported, only gpt2/smollm.")
    merges = [_pair(merge) for merge in tables.merges]
    vocabulary = {token: index for index, token in enumerate(tables.tokens)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    kinds = zip(tables.tokens, tables.types, strict=True)
    special = [*(token for token, kind in kinds if kind == gguf.TokenType.CONTROL), *added]
    tokenizer.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in special])
    return tokenizer


def save_tokenizer(tokenizer: Tokenizer, tables: GgufTokenizer, context: int, folder: Path) -> None:
    """Write tokenizer.json, tokenizer_config.json and chat_template.jinja for AutoTokenizer."""
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": tables.tokens[tables.bos],
        "eos_token": tables.tokens[tables.eos],
        "unk_token": tables.tokens[tables.unknown],
        "pad_token": tables.tokens[tables.padding],
        "add_prefix_space": False,
        "clean_up_tokenization_spaces": False,
        "model_max_length": context,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    (folder / "chat_template.jinja").write_text(tables.chat_template, encoding="utf-8")


def _pair(merge: str) -> tuple[str, str]:
    left, _, right = merge.partition(" ")
    return left, right
