"""BERT without padding: the tokens of all texts go through the linear layers in one row.

Only attention looks at one text at a time; texts of like length are padded to the longest of them for it.
Linear layers take and give bfloat16 where the CPU has instructions for that, and so does attention between
them. Sums, norms and pooling stay float32, whatever the checkpoint has.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

import torch
from torch.nn.functional import gelu, layer_norm, linear, scaled_dot_product_attention

if TYPE_CHECKING:
    from transformers import BertConfig

    Weights = dict[str, torch.Tensor]
    Pair = tuple[torch.Tensor, torch.Tensor]
    """Weight and bias."""

NATIVE = ("avx512_bf16", "amx_bf16")
"""torch's names of instructions for products of bfloat16: without them, float32 is faster."""

GROUP_TOKENS = 32
"""What one more group costs, in tokens of padding: with more padding than that, it is worth it."""


def packed(tower: torch.nn.Module, *, bfloat16: bool | None = None) -> torch.nn.Module:
    """The same tower without padding, if it is open_clip's wrapper of a plain BERT; else the tower itself.

    Args:
        bfloat16: what linear layers multiply; None: what this CPU is faster at.
    """
    from open_clip import hf_model  # type: ignore[import-untyped]
    from transformers import BertModel

    poolers = hf_model.MeanPooler, hf_model.ClsLastHiddenStatePooler
    parts = dict(tower.named_children())
    bert, pooler = parts.get("transformer"), parts.get("pooler")
    if type(bert) is not BertModel or type(pooler) not in poolers:
        return tower
    config = cast("BertConfig", bert.config)
    if config.hidden_act != "gelu" or config.is_decoder:
        return tower
    half = is_native() if bfloat16 is None else bfloat16
    is_mean = isinstance(pooler, hf_model.MeanPooler)
    weights = {name: weight.detach().float() for name, weight in bert.state_dict().items()}
    dtype = torch.bfloat16 if half else torch.float32
    return PackedBert(config, weights, parts["proj"], is_mean, dtype)


def is_native() -> bool:
    """Whether this CPU has instructions for products of bfloat16."""
    found = torch.cpu.get_capabilities()
    return any(found.get(name, False) for name in NATIVE)


@dataclass(frozen=True, slots=True)
class Group:
    """Texts of like length."""

    tokens: torch.Tensor = field(repr=False)
    """(texts, longest) int64: which of all tokens stands there; any, where there is none."""
    is_token: torch.Tensor = field(repr=False)
    """(texts, longest) bool."""
    mask: torch.Tensor | None = field(repr=False)
    """(texts, 1, 1, longest) bool; None without padding, which is faster."""


class PackedBert(torch.nn.Module):
    """Token ids (n, length) to vectors (n, embed_dim) float32. Padding is left out."""

    def __init__(
        self,
        config: BertConfig,
        weights: Weights,
        projection: torch.nn.Module,
        is_mean: bool,
        dtype: torch.dtype,
    ) -> None:
        super().__init__()
        self._pad_id = cast("int", config.pad_token_id)
        self._eps = config.layer_norm_eps
        self._words = weights["embeddings.word_embeddings.weight"]
        self._positions = weights["embeddings.position_embeddings.weight"]
        self._kind = weights["embeddings.token_type_embeddings.weight"][0]
        self._norm = _pair(weights, "embeddings.LayerNorm")
        self._layers = [
            PackedLayer(config, _below(weights, f"encoder.layer.{number}."), dtype)
            for number in range(config.num_hidden_layers)
        ]
        self._projection = projection
        self._is_mean = is_mean

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """(n, length) int64, padded with the model's own token; every text has at least one other."""
        texts, positions = (ids != self._pad_id).nonzero(as_tuple=True)
        counts = torch.bincount(texts, minlength=len(ids))
        embedded = self._words[ids[texts, positions]] + self._positions[positions] + self._kind
        states = layer_norm(embedded, self._norm[0].shape, *self._norm, self._eps)
        groups = grouped(counts)
        for layer in self._layers:
            states = layer(states, groups)
        if self._is_mean:
            sums = states.new_zeros(len(ids), states.shape[1]).index_add_(0, texts, states)
            pooled = sums / counts[:, None]
        else:
            pooled = states[counts.cumsum(0) - counts]
        return cast("torch.Tensor", self._projection(pooled))


class PackedLayer:
    """One layer: (tokens, width) float32 to the same."""

    def __init__(self, config: BertConfig, weights: Weights, dtype: torch.dtype) -> None:
        parts = [_pair(weights, f"attention.self.{name}") for name in ("query", "key", "value")]
        fused = torch.cat([weight for weight, _ in parts]), torch.cat([bias for _, bias in parts])
        products = [fused] + [
            _pair(weights, f"{name}.dense") for name in ("attention.output", "intermediate", "output")
        ]
        self._asks, self._answers, self._widens, self._narrows = (
            (weight.to(dtype), bias.to(dtype)) for weight, bias in products
        )
        self._norms = _pair(weights, "attention.output.LayerNorm"), _pair(weights, "output.LayerNorm")
        self._heads, self._eps, self._dtype = config.num_attention_heads, config.layer_norm_eps, dtype

    def __call__(self, states: torch.Tensor, groups: Sequence[Group]) -> torch.Tensor:
        """Attention, then the linear layers after it."""
        seen = self._attend(linear(states.to(self._dtype), *self._asks), groups)
        states = self._add(states, linear(seen, *self._answers), self._norms[0])
        wide = gelu(linear(states.to(self._dtype), *self._widens))
        return self._add(states, linear(wide, *self._narrows), self._norms[1])

    def _attend(self, asked: torch.Tensor, groups: Sequence[Group]) -> torch.Tensor:
        """(tokens, 3 * width) queries, keys and values to (tokens, width)."""
        seen = asked.new_empty(len(asked), asked.shape[1] // 3)
        for group in groups:
            heads = asked[group.tokens].view(*group.tokens.shape, 3, self._heads, -1)
            query, key, value = heads.permute(2, 0, 3, 1, 4)
            found = scaled_dot_product_attention(query, key, value, attn_mask=group.mask)
            seen[group.tokens[group.is_token]] = found.transpose(1, 2).flatten(2)[group.is_token]
        return seen

    def _add(self, states: torch.Tensor, more: torch.Tensor, norm: Pair) -> torch.Tensor:
        return layer_norm(states + more, norm[0].shape, *norm, self._eps)


def grouped(counts: torch.Tensor) -> list[Group]:
    """Texts with so many tokens, which lie one after the other, in groups."""
    firsts, groups = counts.cumsum(0) - counts, []
    for texts in alike(counts.tolist()):
        steps = torch.arange(int(counts[texts[0]]))
        is_token = steps < counts[texts, None]
        mask = None if bool(is_token.all()) else is_token[:, None, None]
        groups.append(Group(firsts[texts, None] + steps * is_token, is_token, mask))
    return groups


def alike(counts: Sequence[int]) -> list[list[int]]:
    """Indices of texts with so many tokens, from the longest on, in groups with little padding."""
    groups: list[list[int]] = []
    padding = 0
    for index in sorted(range(len(counts)), key=lambda index: -counts[index]):
        padding += counts[groups[-1][0]] - counts[index] if groups else 0
        if not groups or padding > GROUP_TOKENS:
            groups.append([])
            padding = 0
        groups[-1].append(index)
    return groups


def _pair(weights: Weights, name: str) -> Pair:
    return weights[f"{name}.weight"], weights[f"{name}.bias"]


def _below(weights: Weights, prefix: str) -> Weights:
    return {name.removeprefix(prefix): weight for name, weight in weights.items() if name.startswith(prefix)}
