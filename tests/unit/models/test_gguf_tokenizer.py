"""The tokenizer that is built from GGUF's tables."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, pre_tokenizers

from multimodal.errors import ConfigError
from multimodal.models.gguf_convert import GgufTokenizer
from multimodal.models.gguf_tokenizer import build_tokenizer, save_tokenizer

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
BYTES = tuple(sorted(pre_tokenizers.ByteLevel.alphabet()))
TABLES = GgufTokenizer(
    model="gpt2",
    pre="smollm",
    tokens=(*SPECIAL, *BYTES, "12", "ca", "cat", "Ġcat"),
    types=(*(3 for _ in SPECIAL), *(1 for _ in BYTES), 1, 1, 1, 1),
    merges=("1 2", "c a", "ca t", "Ġ cat"),
    bos=1,
    eos=2,
    unknown=0,
    padding=2,
    chat_template="{{ messages[0]['content'] }}",
)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return build_tokenizer(TABLES, added=("<image>",))


@given(text=st.text())
def test_every_text_survives_a_round_trip(tokenizer: Tokenizer, text: str) -> None:
    plain = text.replace("<", "")
    assert tokenizer.decode(tokenizer.encode(plain).ids, skip_special_tokens=False) == plain


def test_merges_apply_within_words(tokenizer: Tokenizer) -> None:
    assert tokenizer.encode("cat cat").tokens == ["cat", "Ġcat"]


def test_digits_stand_alone_even_where_a_merge_would_join_them(tokenizer: Tokenizer) -> None:
    assert tokenizer.encode("cat 12").tokens == ["cat", "Ġ", "1", "2"]


def test_control_tokens_are_single_tokens(tokenizer: Tokenizer) -> None:
    assert tokenizer.encode("<|im_start|>cat<|im_end|>").ids == [1, tokenizer.token_to_id("cat"), 2]


def test_added_tokens_come_after_the_vocabulary(tokenizer: Tokenizer) -> None:
    assert tokenizer.token_to_id("<image>") == len(TABLES.tokens)
    assert tokenizer.encode("cat<image>").tokens == ["cat", "<image>"]


def test_an_unknown_pre_tokenizer_is_refused_since_its_splits_are_not_known() -> None:
    with pytest.raises(ConfigError, match="gpt2/llama-bpe is not supported"):
        build_tokenizer(replace(TABLES, pre="llama-bpe"))


def test_the_saved_files_hold_tokenizer_special_tokens_and_chat_template(
    tokenizer: Tokenizer, tmp_path: Path
) -> None:
    save_tokenizer(tokenizer, TABLES, 128, tmp_path)
    loaded = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    assert loaded.encode("a cat in 12<|im_end|>").ids == tokenizer.encode("a cat in 12<|im_end|>").ids
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    assert (config["bos_token"], config["eos_token"], config["pad_token"]) == (
        "<|im_start|>",
        "<|im_end|>",
        "<|im_end|>",
    )
    assert config["model_max_length"] == 128
    assert (tmp_path / "chat_template.jinja").read_text() == TABLES.chat_template
