"""Llama weights out of a GGUF file: dequantised, with the names and row order of transformers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import gguf
import numpy as np
from numpy.typing import NDArray

from multimodal.errors import ConfigError

if TYPE_CHECKING:
    import torch

T = TypeVar("T")

_TOP_NAMES = {"token_embd.weight": "embed_tokens.weight", "output_norm.weight": "norm.weight"}
_LAYER_NAMES = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_norm": "input_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "ffn_norm": "post_attention_layernorm",
}
"""GGUF's name of each weight in a block, and the one in transformers' LlamaModel."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LlamaShape:
    """The numbers that define a Llama model."""

    layers: int
    hidden: int
    intermediate: int
    heads: int
    kv_heads: int
    context: int
    rope_theta: float
    norm_eps: float


@dataclass(frozen=True, slots=True, kw_only=True)
class GgufTokenizer:
    """What GGUF says of its tokenizer."""

    model: str
    pre: str
    """Name of the pre-tokenizer: how text is split before merging."""
    tokens: tuple[str, ...]
    """(vocabulary,), in GPT-2's printable byte alphabet."""
    types: tuple[int, ...]
    """(vocabulary,), gguf.TokenType of each token."""
    merges: tuple[str, ...]
    bos: int
    eos: int
    unknown: int
    padding: int
    chat_template: str


class GgufFile:
    """A GGUF file, memory-mapped. Raises ConfigError for one that is not a Llama with tied embeddings."""

    def __init__(self, path: Path) -> None:
        try:
            self._reader = gguf.GGUFReader(path)
        except (ValueError, IndexError) as error:
            raise ConfigError("The GGUF file is damaged. Run `multimodal models pull` again.") from error
        self._names = {tensor.name for tensor in self._reader.tensors}
        if self._text("general.architecture") != "llama" or "output.weight" in self._names:
            raise ConfigError("The GGUF file must hold a Llama model with tied embeddings.")

    def shape(self) -> LlamaShape:
        """The model's hyperparameters."""
        return LlamaShape(
            layers=self._int("llama.block_count"),
            hidden=self._int("llama.embedding_length"),
            intermediate=self._int("llama.feed_forward_length"),
            heads=self._int("llama.attention.head_count"),
            kv_heads=self._int("llama.attention.head_count_kv"),
            context=self._int("llama.context_length"),
            rope_theta=self._float("llama.rope.freq_base"),
            # GGUF stores float32: 9.99999975e-06 was written as 1e-05.
            norm_eps=float(f"{self._float('llama.attention.layer_norm_rms_epsilon'):.7g}"),
        )

    def tokenizer(self) -> GgufTokenizer:
        """The tokenizer's tables."""
        return GgufTokenizer(
            model=self._text("tokenizer.ggml.model"),
            pre=self._text("tokenizer.ggml.pre"),
            tokens=self._list("tokenizer.ggml.tokens", str),
            types=self._list("tokenizer.ggml.token_type", int),
            merges=self._list("tokenizer.ggml.merges", str),
            bos=self._int("tokenizer.ggml.bos_token_id"),
            eos=self._int("tokenizer.ggml.eos_token_id"),
            unknown=self._int("tokenizer.ggml.unknown_token_id"),
            padding=self._int("tokenizer.ggml.padding_token_id"),
            chat_template=self._text("tokenizer.chat_template"),
        )

    @property
    def weights_bytes(self) -> int:
        """Size of all weights as bfloat16."""
        return sum(2 * int(tensor.n_elements) for tensor in self._reader.tensors)

    def weights(self) -> Iterator[tuple[str, torch.Tensor]]:
        """Yield (name in LlamaModel, bfloat16 tensor), one at a time: only one float32 copy is ever alive."""
        import torch

        shape = self.shape()
        for tensor in self._reader.tensors:
            array = gguf.dequantize(tensor.data, tensor.tensor_type).astype(np.float32, copy=False)
            if ".attn_q." in tensor.name:
                array = unpermute(array, shape.heads)
            elif ".attn_k." in tensor.name:
                array = unpermute(array, shape.kv_heads)
            yield llama_name(tensor.name), torch.tensor(array).to(torch.bfloat16)

    def _value(self, key: str) -> object:
        field = self._reader.get_field(key)
        if field is None:
            raise ConfigError(f"The GGUF file lacks {key}.")
        value: object = field.contents()
        return value

    def _typed(self, key: str, kind: type[T]) -> T:
        value = self._value(key)
        if not isinstance(value, kind):
            raise ConfigError(f"{key} of the GGUF file is not of type {kind.__name__}.")
        return value

    def _text(self, key: str) -> str:
        return self._typed(key, str)

    def _int(self, key: str) -> int:
        return self._typed(key, int)

    def _float(self, key: str) -> float:
        return self._typed(key, float)

    def _list(self, key: str, kind: type[T]) -> tuple[T, ...]:
        items = self._typed(key, list)
        if not all(isinstance(item, kind) for item in items):
            raise ConfigError(f"{key} of the GGUF file holds something else than {kind.__name__}.")
        return tuple(items)


def unpermute(rows: NDArray[np.float32], heads: int) -> NDArray[np.float32]:
    """Undo the row order that GGUF gives to q and k. (heads * head_size, hidden) -> the same shape.

    GGUF stores the rows of each head for rotary embedding over neighbouring pairs (0, 1), (2, 3), ...;
    transformers rotates the first half of a head against the second.
    """
    paired = rows.reshape(heads, rows.shape[0] // heads // 2, 2, -1)
    return np.ascontiguousarray(paired.swapaxes(1, 2)).reshape(rows.shape)


def llama_name(gguf_name: str) -> str:
    """The name in transformers' LlamaModel: `blk.3.attn_q.weight` is `layers.3.self_attn.q_proj.weight`."""
    if gguf_name in _TOP_NAMES:
        return _TOP_NAMES[gguf_name]
    match gguf_name.split("."):
        case ["blk", layer, name, "weight"] if name in _LAYER_NAMES:
            return f"layers.{layer}.{_LAYER_NAMES[name]}.weight"
    raise ConfigError(f"The GGUF file holds an unexpected tensor: {gguf_name}.")
