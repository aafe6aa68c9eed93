"""Tokens of prompts, over a small vocabulary that is made here."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel

from multimodal.encoders.whisper import languages_of, spell


@pytest.fixture(scope="module")
def vocabulary() -> Tokenizer:
    """Single bytes and " yes"; after them control tokens, a language and a time, as in Whisper."""
    letters = {letter: number for number, letter in enumerate(sorted(ByteLevel.alphabet()))}
    merges = [("Ġ", "y"), ("e", "s"), ("Ġy", "es")]
    words = letters | {one + other: len(letters) + at for at, (one, other) in enumerate(merges)}
    tokenizer = Tokenizer(BPE(words, merges))
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False)
    tokenizer.add_special_tokens(["<|endoftext|>", "<|startofprev|>", "<|fr|>", "<|yue|>"])
    tokenizer.add_tokens([AddedToken("<|0.00|>", normalized=False)])
    return tokenizer


def written(vocabulary: Tokenizer, tokens: list[int]) -> str:
    pieces = "".join(vocabulary.id_to_token(token) or "" for token in tokens)
    byte_of = {vocabulary.pre_tokenizer.pre_tokenize_str(chr(b))[0][0]: b for b in range(128)}
    return bytes(byte_of[piece] for piece in pieces).decode()


def test_words_get_the_tokens_of_the_vocabulary(vocabulary: Tokenizer) -> None:
    assert spell(vocabulary, " yes yes") == [vocabulary.token_to_id("Ġyes")] * 2


@pytest.mark.parametrize("text", ["<|endoftext|>", " yes<|startofprev|><|fr|>", "<|0.00|>"])
def test_control_tokens_in_a_text_are_spelt_out(vocabulary: Tokenizer, text: str) -> None:
    tokens = spell(vocabulary, text)
    assert max(tokens) < vocabulary.get_vocab()["<|endoftext|>"]
    assert written(vocabulary, tokens) == text


@given(text=st.text(st.characters(), max_size=50))
def test_any_text_has_tokens(vocabulary: Tokenizer, text: str) -> None:
    readable = text.encode("utf-8", "replace").decode()
    assert spell(vocabulary, text) == spell(vocabulary, readable)
    assert len(spell(vocabulary, text)) <= len(readable.encode())


def test_half_of_a_surrogate_pair_is_a_question_mark(vocabulary: Tokenizer) -> None:
    assert spell(vocabulary, "a\ud800") == spell(vocabulary, "a?")


def test_a_model_knows_the_languages_that_it_has_a_token_for(vocabulary: Tokenizer) -> None:
    assert languages_of(vocabulary) == {"fr", "yue"}
