"""GGUF files: weights and tables come out as transformers wants them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from multimodal.errors import ConfigError
from multimodal.models.gguf_convert import GgufFile, llama_name, unpermute
from tests.unit.models.gguf_files import HEADS, HIDDEN, KV_HEADS, permute, random, write_gguf


@given(heads=st.integers(1, 5), half=st.integers(1, 6), columns=st.integers(1, 4))
def test_unpermute_undoes_ggufs_row_order(heads: int, half: int, columns: int) -> None:
    rows = np.arange(heads * 2 * half * columns, dtype=np.float32).reshape(-1, columns)
    assert np.array_equal(unpermute(permute(rows, heads), heads), rows)


def test_weights_come_out_dequantised_renamed_and_in_order(tmp_path: Path) -> None:
    query, key, value = random(HIDDEN, HIDDEN), random(HIDDEN // 2, HIDDEN), random(32, HIDDEN)
    path = write_gguf(
        tmp_path / "m.gguf",
        {
            "token_embd.weight": random(4, HIDDEN),
            "blk.0.attn_q.weight": permute(query, HEADS),
            "blk.0.attn_k.weight": permute(key, KV_HEADS),
            "blk.0.attn_v.weight": value,
        },
    )
    source = GgufFile(path)
    weights = dict(source.weights())
    expected = {
        "embed_tokens.weight": random(4, HIDDEN),
        "layers.0.self_attn.q_proj.weight": query,
        "layers.0.self_attn.k_proj.weight": key,
        "layers.0.self_attn.v_proj.weight": value,
    }
    assert weights.keys() == expected.keys()
    for name, array in expected.items():
        assert weights[name].dtype is torch.bfloat16
        np.testing.assert_allclose(weights[name].float().numpy(), array, atol=0.04)
    assert source.weights_bytes == sum(tensor.nbytes for tensor in weights.values())


def test_hyperparameters_and_tokenizer_tables_are_read(tmp_path: Path) -> None:
    source = GgufFile(write_gguf(tmp_path / "m.gguf", {"token_embd.weight": random(4, HIDDEN)}))
    shape, tables = source.shape(), source.tokenizer()
    assert (shape.layers, shape.hidden, shape.intermediate) == (1, HIDDEN, 96)
    assert (shape.heads, shape.kv_heads, shape.context) == (HEADS, KV_HEADS, 128)
    assert (shape.rope_theta, shape.norm_eps) == (100000.0, 1e-5)
    assert tables.tokens == ("<eos>", "a", "b", "ab")
    assert tables.types == (3, 1, 1, 1)
    assert tables.merges == ("a b",)
    assert (tables.model, tables.pre, tables.chat_template) == ("gpt2", "smollm", "{{ messages }}")


def test_untied_embeddings_are_refused(tmp_path: Path) -> None:
    tensors = {"token_embd.weight": random(4, HIDDEN), "output.weight": random(4, HIDDEN)}
    with pytest.raises(ConfigError, match="tied embeddings"):
        GgufFile(write_gguf(tmp_path / "m.gguf", tensors))


def test_another_architecture_is_refused(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "m.gguf", {"token_embd.weight": random(4, HIDDEN)}, architecture="mamba")
    with pytest.raises(ConfigError, match="must hold a Llama model"):
        GgufFile(path)


@pytest.mark.parametrize("content", [b"", b"not a gguf file at all", b"GGUF"])
def test_bytes_that_are_not_gguf_are_one_clear_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "m.gguf").write_bytes(content)
    with pytest.raises(ConfigError, match="damaged"):
        GgufFile(tmp_path / "m.gguf")


@pytest.mark.parametrize("name", ["blk.0.attn_q.bias", "blk.0.ssm_in.weight", "rope_freqs.weight"])
def test_a_tensor_that_llama_does_not_have_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="unexpected tensor"):
        llama_name(name)
