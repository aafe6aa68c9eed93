"""The LLaVA-style shell: built from a tiny GGUF, it computes what the original model computes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from transformers import LlamaConfig, LlamaForCausalLM, LlavaForConditionalGeneration

from multimodal.models.llava_shell import IMAGE_TOKEN, build_llava_shell
from multimodal.models.progress import Step
from tests.unit.models.gguf_files import HEADS, HIDDEN, KV_HEADS, TOKENS, permute, write_gguf

GGUF_NAMES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "input_layernorm": "attn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "post_attention_layernorm": "ffn_norm",
}


@pytest.fixture(scope="module")
def original() -> LlamaForCausalLM:
    """A random Llama of the shape that `write_gguf` declares."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(TOKENS),
        hidden_size=HIDDEN,
        intermediate_size=96,
        num_hidden_layers=1,
        num_attention_heads=HEADS,
        num_key_value_heads=KV_HEADS,
        max_position_embeddings=128,
        rms_norm_eps=1e-5,
        rope_parameters={"rope_type": "default", "rope_theta": 100000.0},
        tie_word_embeddings=True,
        initializer_range=0.3,
    )
    model: LlamaForCausalLM = LlamaForCausalLM(config)  # type: ignore[no-untyped-call]
    return model


@pytest.fixture(scope="module")
def shell(original: LlamaForCausalLM, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shell")
    source = write_gguf(tmp_path_factory.mktemp("gguf") / "m.gguf", as_gguf(original), quantise=False)
    build_llava_shell(source, folder)
    return folder


def as_gguf(model: LlamaForCausalLM) -> dict[str, NDArray[np.float32]]:
    tensors = {}
    for name, tensor in model.model.state_dict().items():
        array: NDArray[np.float32] = tensor.float().numpy()
        match name.split("."):
            case ["embed_tokens", _]:
                tensors["token_embd.weight"] = array
            case ["norm", _]:
                tensors["output_norm.weight"] = array
            case ["layers", layer, *middle, _]:
                own = GGUF_NAMES[".".join(middle)]
                heads = {"attn_q": HEADS, "attn_k": KV_HEADS}.get(own)
                tensors[f"blk.{layer}.{own}.weight"] = permute(array, heads) if heads else array
    return tensors


def test_the_shell_gives_the_logits_of_the_model_inside(shell: Path, original: LlamaForCausalLM) -> None:
    loaded = LlavaForConditionalGeneration.from_pretrained(shell, dtype=torch.float32, local_files_only=True)
    tokens = torch.tensor([[1, 2, 3, 1, 1, 2, 3, 3]])
    with torch.inference_mode():
        expected = original(tokens).logits
        found = loaded(tokens).logits
    assert found.shape[-1] == len(TOKENS) + 1
    # The shell's weights are rounded to bfloat16, 8 bits of precision.
    torch.testing.assert_close(found[..., : len(TOKENS)], expected, atol=0.05, rtol=0.05)


def test_the_image_token_never_wins_greedy_decoding(shell: Path) -> None:
    loaded = LlavaForConditionalGeneration.from_pretrained(shell, dtype=torch.float32, local_files_only=True)
    tokens = torch.randint(0, len(TOKENS), (64, 6), generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        logits = loaded(tokens).logits
    assert (logits.argmax(dim=-1) != len(TOKENS)).all()


def test_building_twice_gives_the_same_bytes_and_tells_how_far_it_is(
    shell: Path, original: LlamaForCausalLM, tmp_path: Path
) -> None:
    source, again = tmp_path / "m.gguf", tmp_path / "again"
    again.mkdir()
    seen: list[tuple[int, int]] = []

    def progress(step: Step, done_bytes: int, total_bytes: int) -> None:
        assert step is Step.BUILDING
        seen.append((done_bytes, total_bytes))

    build_llava_shell(write_gguf(source, as_gguf(original), quantise=False), again, progress)
    assert {path.name: path.read_bytes() for path in again.iterdir()} == {
        path.name: path.read_bytes() for path in shell.iterdir()
    }
    assert seen == sorted(seen)
    assert seen[-1][0] == seen[-1][1]
    assert IMAGE_TOKEN in (again / "tokenizer.json").read_text()
