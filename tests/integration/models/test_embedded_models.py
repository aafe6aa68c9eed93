"""The embedded models for real: pulled into MULTIMODAL_HOME (kept for the next run), loaded, and asked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

import numpy as np
import pytest
from numpy.typing import NDArray

from multimodal import config
from multimodal.models import refs
from multimodal.models.catalog import CATALOG
from multimodal.models.llava_shell import IMAGE_TOKEN, MAX_IMAGE_TOKENS
from multimodal.models.refs import EmbeddedRef
from multimodal.models.store import ModelStore

if TYPE_CHECKING:
    import torch


class Generates(Protocol):
    """What the test uses of a transformers model."""

    def generate(self, inputs: torch.Tensor, *, max_new_tokens: int, do_sample: bool) -> torch.Tensor: ...


@pytest.fixture(scope="module")
def home() -> Path:
    """The home, with every embedded model pulled."""
    store = ModelStore(config.home())
    for name in CATALOG:
        store.pull(EmbeddedRef(name))
    return config.home()


@pytest.mark.parametrize("name", CATALOG)
def test_every_embedded_model_verifies(home: Path, name: str) -> None:
    assert ModelStore(home).verify(EmbeddedRef(name)) == []


def test_smollm2_knows_the_capital_of_france(home: Path) -> None:
    import torch
    from transformers import AutoTokenizer, LlavaForConditionalGeneration

    folder = refs.resolve("embedded:smollm2-135m-vl", home)
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    model = LlavaForConditionalGeneration.from_pretrained(folder, local_files_only=True)
    question = [{"role": "user", "content": "What is the capital of France?"}]
    text = tokenizer.apply_chat_template(question, tokenize=False, add_generation_prompt=True)
    prompt = torch.tensor([tokenizer.encode(cast(str, text))])
    answer = cast(Generates, model).generate(prompt, max_new_tokens=20, do_sample=False)
    said = tokenizer.decode(answer[0, prompt.shape[1] :])
    assert said == "The capital of France is Paris.<|im_end|>"


def test_transformers_finds_a_place_for_every_weight_and_a_weight_for_every_place(home: Path) -> None:
    from transformers import LlavaForConditionalGeneration

    loaded: object = LlavaForConditionalGeneration.from_pretrained(
        refs.resolve("embedded:smollm2-135m-vl", home), local_files_only=True, output_loading_info=True
    )
    _, report = cast("tuple[object, dict[str, set[str]]]", loaded)
    assert not any(report[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))


def test_the_shell_has_room_for_the_image_token_and_ends_on_chatmls_end(home: Path) -> None:
    folder = refs.resolve("embedded:smollm2-135m-vl", home)
    described = json.loads((folder / "config.json").read_text())
    text, vision = described["text_config"], described["vision_config"]
    assert described["image_token_index"] == text["vocab_size"] - 1
    assert (vision["image_size"] // vision["patch_size"]) ** 2 == MAX_IMAGE_TOKENS == 1024
    assert json.loads((folder / "generation_config.json").read_text())["eos_token_id"] == 2


def test_vllms_names_of_the_vision_tower_are_in_the_checkpoint_and_the_image_row_is_the_mean(
    home: Path,
) -> None:
    import torch
    from safetensors import safe_open

    folder = refs.resolve("embedded:smollm2-135m-vl", home)
    with safe_open(folder / "model.safetensors", framework="pt") as weights:
        names = set(weights.keys())
        embeddings: torch.Tensor = weights.get_tensor("model.language_model.embed_tokens.weight").float()
    tower = {name for name in names if name.startswith("model.vision_tower.")}
    assert tower
    assert all(name.startswith("model.vision_tower.vision_model.") for name in tower)
    assert not any(name.startswith("lm_head") for name in names)
    torch.testing.assert_close(embeddings[-1], embeddings[:-1].mean(dim=0), atol=1e-3, rtol=1e-2)


def test_the_chat_template_renders_chatml_and_tokenises_it_as_control_tokens(home: Path) -> None:
    from transformers import LlavaProcessor

    processor = LlavaProcessor.from_pretrained(
        refs.resolve("embedded:smollm2-135m-vl", home), local_files_only=True
    )
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": f"See {IMAGE_TOKEN}"}]
    text = processor.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert text == (
        "<|im_start|>system\nBe brief.<|im_end|>\n"
        "<|im_start|>user\nSee <image><|im_end|>\n<|im_start|>assistant\n"
    )
    ids = processor.tokenizer(text)["input_ids"]
    assert ids.count(1) == 3
    assert ids.count(2) == 2
    assert ids.count(processor.image_token_id) == 1


def test_minilm_puts_a_cat_nearer_to_a_kitten_than_to_a_car(home: Path) -> None:
    cat, kitten, car = encode_with_open_clip(
        refs.resolve("embedded:minilm", home), ["a cat", "a kitten", "a car"]
    )
    assert cat.shape == (384,)
    assert cat @ kitten > 0.7 > 0.5 > cat @ car


def test_minilm_gives_the_vector_that_its_authors_model_gives(home: Path) -> None:
    import torch
    from transformers import AutoModel, AutoTokenizer

    folder = refs.resolve("embedded:minilm", home)
    text = "The quick brown fox jumps over the lazy dog."
    tokens = AutoTokenizer.from_pretrained(folder)(text, return_tensors="pt")
    with torch.inference_mode():
        states = AutoModel.from_pretrained(folder)(**tokens).last_hidden_state[0]
    expected = torch.nn.functional.normalize(states.mean(dim=0), dim=0).numpy()
    np.testing.assert_allclose(encode_with_open_clip(folder, [text])[0], expected, atol=1e-5)


def test_whisper_loads_and_is_english_only(home: Path) -> None:
    from faster_whisper import WhisperModel  # type: ignore[import-untyped]

    model = WhisperModel(
        str(refs.resolve("embedded:whisper-tiny-en", home)), device="cpu", compute_type="int8", cpu_threads=2
    )
    assert not model.model.is_multilingual
    assert model.model.n_mels == 80
    segments, info = model.transcribe(np.zeros(16_000, np.float32), vad_filter=True)
    assert list(segments) == []
    assert info.duration == 1.0


def encode_with_open_clip(folder: Path, texts: list[str]) -> NDArray[np.float32]:
    """(n, 384), unit length: MiniLM as open_clip's text tower."""
    import torch
    from open_clip.hf_model import HFTextEncoder  # type: ignore[import-untyped]
    from open_clip.tokenizer import HFTokenizer  # type: ignore[import-untyped]

    tower = HFTextEncoder(
        str(folder), output_dim=384, pooler_type="mean_pooler", proj_type=None, pretrained=True
    ).eval()
    tokens = HFTokenizer(str(folder), context_length=64)(texts)
    with torch.inference_mode():
        vectors = torch.nn.functional.normalize(tower(tokens), dim=-1)
    return np.asarray(vectors.numpy(), dtype=np.float32)
