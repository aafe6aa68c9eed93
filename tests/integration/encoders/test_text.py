"""Sentence vectors: MiniLM against its reference values, open_clip folders against open_clip itself."""

import json
import shutil
from pathlib import Path

import numpy as np
import open_clip  # type: ignore[import-untyped]
import pytest
import torch
from numpy.typing import NDArray

from multimodal.config import TextArgs
from multimodal.encoders.packed_bert import packed
from multimodal.encoders.text import CHARACTERS_PER_TOKEN, OpenClipTextEncoder
from multimodal.encoders.text_tower import load_tower
from multimodal.errors import ConfigError, InvalidRequest
from tests.integration.encoders.checkpoints import EMBED_DIM, TEXT, Config, build

TEXTS = [
    "A cat sits on the mat.",
    "A kitten is resting on a rug.",
    "Shares fell sharply on Monday.",
    "Hi",
    "",
]


CAT = "the cat sits on a mat "
MIXED = [
    *TEXTS,
    CAT * 5,
    "kitten",
    CAT * 42 + "cat cat",
    CAT * 20,
    "Zwölf Boxkämpfer, \N{CAT FACE}?",
    CAT * 4,
]
"""From 2 tokens to 256, which is the limit."""


@pytest.fixture(scope="module")
def encoder(minilm: Path) -> OpenClipTextEncoder:
    return OpenClipTextEncoder(minilm, TextArgs(), exact=True)


@pytest.fixture(scope="module")
def default(minilm: Path) -> OpenClipTextEncoder:
    """As it is served: without padding, and in bfloat16 where this CPU has instructions for it."""
    return OpenClipTextEncoder(minilm, TextArgs())


def vectors(encoder: OpenClipTextEncoder, *texts: str) -> NDArray[np.float32]:
    return np.concatenate([row.vectors for row in encoder.encode(texts)])


# --- a sentence-transformers folder ---------------------------------------------------------------


def test_minilm_gives_the_vectors_of_its_recipe(encoder: OpenClipTextEncoder, minilm: Path) -> None:
    """Tokens, mean of the last hidden states, unit length: the model card's own example."""
    from transformers import AutoModel, AutoTokenizer

    model = AutoModel.from_pretrained(minilm, local_files_only=True)
    tokenizer = AutoTokenizer.from_pretrained(minilm, local_files_only=True)
    with torch.inference_mode():
        hidden = [
            model(**tokenizer(text, return_tensors="pt")).last_hidden_state.mean(dim=1) for text in TEXTS
        ]
        expected = torch.nn.functional.normalize(torch.cat(hidden), dim=-1).numpy()
    assert vectors(encoder, *TEXTS) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("size", [1, 3, len(MIXED)])
def test_the_default_keeps_the_direction_of_exact_vectors(
    encoder: OpenClipTextEncoder, default: OpenClipTextEncoder, size: int
) -> None:
    assert {2, 256} <= {default.count_tokens(text) for text in MIXED}
    exact = np.concatenate([vectors(encoder, text) for text in MIXED])
    batches = [MIXED[first : first + size] for first in range(0, len(MIXED), size)]
    found = np.concatenate([vectors(default, *batch) for batch in batches])
    assert found.dtype == np.float32
    assert np.linalg.norm(found, axis=1) == pytest.approx(1, abs=1e-5)
    assert (found * exact).sum(axis=1).min() > 0.999


def test_without_padding_in_float32_the_vectors_are_the_same(
    encoder: OpenClipTextEncoder, minilm: Path
) -> None:
    tower, tokens = load_tower(minilm)
    with torch.inference_mode():
        found = packed(tower.eval(), bfloat16=False)(tokens.ids(MIXED))
    unit = torch.nn.functional.normalize(found, dim=-1).numpy()
    assert unit == pytest.approx(vectors(encoder, *MIXED), abs=1e-5)


def test_sentences_of_like_meaning_are_close(default: OpenClipTextEncoder) -> None:
    cat, kitten, shares = vectors(default, *TEXTS[:3])
    assert cat @ kitten > 0.5 > 0.2 > cat @ shares


def test_vectors_are_unit_float32_and_come_in_order_whatever_the_company(
    encoder: OpenClipTextEncoder,
) -> None:
    together = vectors(encoder, *TEXTS)
    assert together.dtype == np.float32
    assert together.shape == (len(TEXTS), 384)
    assert np.linalg.norm(together, axis=1) == pytest.approx(1, abs=1e-5)
    alone = np.concatenate([vectors(encoder, text) for text in TEXTS])
    assert together == pytest.approx(alone, abs=1e-5)


def test_tokens_are_counted_with_the_special_ones(encoder: OpenClipTextEncoder) -> None:
    assert encoder.count_tokens("") == 2
    assert encoder.count_tokens("hello world") == 4
    assert [row.tokens for row in encoder.encode(["", "hello world"])] == [2, 4]


def test_a_text_of_exactly_the_limit_is_encoded_and_one_token_more_is_refused(
    encoder: OpenClipTextEncoder,
) -> None:
    assert encoder.count_tokens("cat " * 254) == 256
    assert vectors(encoder, "cat " * 254).shape == (1, 384)
    with pytest.raises(InvalidRequest, match=r"257 tokens.*256"):
        encoder.encode(["fine", "cat " * 255])


def test_a_text_of_megabytes_is_refused_without_counting(encoder: OpenClipTextEncoder) -> None:
    with pytest.raises(InvalidRequest, match="256 tokens"):
        encoder.count_tokens("x" * (CHARACTERS_PER_TOKEN * 256 + 1))


def test_no_texts_have_no_vectors(encoder: OpenClipTextEncoder) -> None:
    assert encoder.encode([]) == []


def test_a_text_without_tokens_is_refused(copied: Path) -> None:
    path = copied / "tokenizer.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"post_processor": None}))
    encoder = OpenClipTextEncoder(copied, TextArgs())
    assert encoder.count_tokens("hello world") == 2
    with pytest.raises(InvalidRequest, match="nothing that the model can read"):
        encoder.encode(["fine", ""])


def test_loading_needs_no_network(minilm: Path, no_network: None, capfd: pytest.CaptureFixture[str]) -> None:
    OpenClipTextEncoder(minilm, TextArgs()).encode(["hello"])
    assert capfd.readouterr() == ("", "")


def test_a_limit_beyond_the_model_is_an_error_of_the_operator(minilm: Path) -> None:
    with pytest.raises(ConfigError, match=r"text\.max_tokens is 513.*512"):
        OpenClipTextEncoder(minilm, TextArgs(max_tokens=513))


@pytest.fixture
def copied(minilm: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    shutil.copytree(minilm, folder)
    return folder


def test_the_pooling_that_the_folder_asks_for_is_used(copied: Path, encoder: OpenClipTextEncoder) -> None:
    pooling = copied / "1_Pooling"
    pooling.mkdir()
    asks = {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}
    (pooling / "config.json").write_text(json.dumps(asks))
    first_token = vectors(OpenClipTextEncoder(copied, TextArgs(), exact=True), TEXTS[0])
    assert abs((first_token * vectors(encoder, TEXTS[0])).sum()) < 0.99
    (pooling / "config.json").write_text(json.dumps({"pooling_mode_max_tokens": True}))
    with pytest.raises(ConfigError, match="pooling_mode_max_tokens"):
        OpenClipTextEncoder(copied, TextArgs())


def test_a_pipeline_with_further_parts_is_refused(copied: Path) -> None:
    parts = [
        {"idx": i, "type": f"sentence_transformers.models.{part}"}
        for i, part in enumerate(["Pooling", "Dense"])
    ]
    (copied / "modules.json").write_text(json.dumps(parts))
    with pytest.raises(ConfigError, match="Dense"):
        OpenClipTextEncoder(copied, TextArgs())


@pytest.mark.parametrize("missing", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_folder_without_a_needed_file_is_refused_by_its_name(copied: Path, missing: str) -> None:
    (copied / missing).unlink()
    with pytest.raises(ConfigError, match=missing) as caught:
        OpenClipTextEncoder(copied, TextArgs())
    assert str(copied) not in caught.value.message


# --- open_clip folders ---------------------------------------------------------------------------


def reference(folder: Path, texts: list[str]) -> NDArray[np.float32]:
    """What open_clip makes of texts, all by itself."""
    model: torch.nn.Module = open_clip.create_model(f"local-dir:{folder}").eval()
    with torch.inference_mode():
        ids = open_clip.get_tokenizer(f"local-dir:{folder}")(texts)
        found: torch.Tensor = model.encode_text(ids, normalize=True)  # type: ignore[operator]
    return found.numpy()


@pytest.mark.parametrize(
    ("text", "custom_text"),
    [
        (TEXT, False),
        (TEXT, True),
        ({**TEXT, "no_causal_mask": True, "pool_type": "last", "proj_bias": True}, True),
        ({**TEXT, "embed_cls": True, "pad_id": 0}, True),
    ],
    ids=["clip", "custom", "siglip", "class token"],
)
def test_vectors_are_those_of_open_clip(
    tmp_path: Path, no_network: None, text: Config, custom_text: bool
) -> None:
    folder = build(tmp_path, text=text, custom_text=custom_text)
    encoder = OpenClipTextEncoder(folder, TextArgs(max_tokens=16))
    found = vectors(encoder, *TEXTS)
    assert found.shape == (len(TEXTS), EMBED_DIM)
    assert found == pytest.approx(reference(folder, TEXTS), abs=1e-5)


def test_a_hugging_face_text_tower_lies_in_the_folder(tmp_path: Path, minilm: Path, no_network: None) -> None:
    text: Config = {
        "hf_model_name": "nowhere/to-be-found",
        "hf_tokenizer_name": "nowhere/to-be-found",
        "hf_pooler_type": "mean_pooler",
        "hf_proj_type": "linear",
        "context_length": 64,
    }
    shutil.copytree(minilm, tmp_path, dirs_exist_ok=True)
    build(
        tmp_path, text={**text, "hf_model_name": str(minilm), "hf_model_pretrained": False}, saved_text=text
    )
    encoder = OpenClipTextEncoder(tmp_path, TextArgs(max_tokens=64), exact=True)
    found = vectors(encoder, *TEXTS)
    assert found.shape == (len(TEXTS), EMBED_DIM)
    assert found == pytest.approx(np.concatenate([vectors(encoder, text) for text in TEXTS]), abs=1e-5)
    default = vectors(OpenClipTextEncoder(tmp_path, TextArgs(max_tokens=64)), *TEXTS)
    assert (default * found).sum(axis=1).min() > 0.999
    assert encoder.count_tokens("hello world") == 4


def test_a_hugging_face_text_tower_that_is_only_named_is_refused(tmp_path: Path, no_network: None) -> None:
    folder = build(tmp_path, saved_text={"hf_model_name": "someone/some-text-model"})
    with pytest.raises(ConfigError, match="someone/some-text-model"):
        OpenClipTextEncoder(folder, TextArgs(max_tokens=8))


def test_clip_counts_and_limits_its_own_tokens(tmp_path: Path) -> None:
    encoder = OpenClipTextEncoder(build(tmp_path, text=TEXT), TextArgs(max_tokens=16))
    assert encoder.count_tokens("cat " * 14) == 16
    assert encoder.encode(["cat " * 14])[0].tokens == 16
    with pytest.raises(InvalidRequest, match="17 tokens"):
        encoder.encode(["cat " * 15])
