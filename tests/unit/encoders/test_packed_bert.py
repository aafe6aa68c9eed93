"""BERT without padding against transformers' own, with random weights."""

from __future__ import annotations

import pytest
import torch
from open_clip.hf_model import HFTextEncoder  # type: ignore[import-untyped]
from torch.nn.functional import cosine_similarity
from transformers import BertConfig

from multimodal.encoders.packed_bert import GROUP_TOKENS, PackedBert, alike, grouped, packed

WIDTH = 32
LONGEST = 80


def tower(
    pooler: str = "mean_pooler", width: int = WIDTH, *, act: str = "gelu", is_decoder: bool = False
) -> torch.nn.Module:
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=50,
        hidden_size=WIDTH,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=LONGEST,
        hidden_act=act,
        is_decoder=is_decoder,
    )
    projection = None if width == WIDTH else "linear"
    made: torch.nn.Module = HFTextEncoder("", width, config, pooler, projection)
    return made.eval()


def texts(*lengths: int) -> torch.Tensor:
    """(n, longest) ids; 0 is padding."""
    ids = torch.zeros(len(lengths), max(lengths), dtype=torch.long)
    for row, length in zip(ids, lengths, strict=True):
        row[:length] = torch.randint(1, 50, (length,), generator=torch.Generator().manual_seed(length))
    return ids


@pytest.mark.parametrize("pooler", ["mean_pooler", "cls_last_hidden_state_pooler"])
@pytest.mark.parametrize("width", [WIDTH, 8])
@torch.inference_mode()
def test_vectors_are_those_of_the_tower(pooler: str, width: int) -> None:
    plain = tower(pooler, width)
    ids = texts(3, 70, 2, LONGEST, 5, 41)
    ids[1, 7] = 0  # somebody wrote "[PAD]"
    made = packed(plain, bfloat16=False)
    assert isinstance(made, PackedBert)
    assert made(ids).numpy() == pytest.approx(plain(ids).numpy(), abs=1e-5)


@torch.inference_mode()
def test_bfloat16_keeps_their_direction() -> None:
    plain, ids = tower(), texts(3, 70, 2, 30)
    found = packed(plain, bfloat16=True)(ids)
    assert found.dtype == torch.float32
    assert cosine_similarity(found, plain(ids)).min() > 0.999


@pytest.mark.parametrize("stored", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("bfloat16", [False, True])
@torch.inference_mode()
def test_a_checkpoint_of_half_precision_is_summed_in_float32(stored: torch.dtype, bfloat16: bool) -> None:
    plain, ids = tower().to(stored), texts(3, 70, 2, 30)
    found = packed(plain, bfloat16=bfloat16)(ids)
    assert found.dtype == torch.float32
    assert cosine_similarity(found, plain.float()(ids)).min() > 0.999


@torch.inference_mode()
def test_a_text_has_the_same_vector_in_any_company() -> None:
    made, company = packed(tower(), bfloat16=False), texts(LONGEST, 5, 5, 4, 40)
    alone = made(company[1:2, :5])
    company[2] = 0
    company[2, :5] = torch.arange(20, 25)
    assert made(company)[1].numpy() == pytest.approx(alone[0].numpy(), abs=1e-5)


@pytest.mark.parametrize("pooler", ["max_pooler", "cls_pooler"])
def test_other_poolings_stay_as_they_are(pooler: str) -> None:
    plain = tower(pooler)
    assert packed(plain) is plain


@pytest.mark.parametrize(("act", "is_decoder"), [("relu", False), ("gelu", True)])
def test_what_is_no_plain_bert_stays_as_it_is(act: str, is_decoder: bool) -> None:
    plain = tower(act=act, is_decoder=is_decoder)
    assert packed(plain) is plain
    assert packed(plain.get_submodule("transformer")) is plain.get_submodule("transformer")


def test_texts_of_like_length_are_padded_together_and_others_are_not() -> None:
    assert alike([10, 200, 11, 190, 10]) == [[1, 3], [2, 0, 4]]
    assert alike([]) == []
    length = 2 * GROUP_TOKENS
    assert alike([length, length - GROUP_TOKENS]) == [[0, 1]]
    assert alike([length, length - GROUP_TOKENS - 1]) == [[0], [1]]


def test_every_token_is_in_one_group() -> None:
    counts = torch.tensor([(37 * number) % 250 + 2 for number in range(100)])
    groups = grouped(counts)
    found = torch.cat([group.tokens[group.is_token] for group in groups])
    assert sorted(found.tolist()) == list(range(int(counts.sum())))
    assert all(int((~group.is_token).sum()) <= GROUP_TOKENS for group in groups)
