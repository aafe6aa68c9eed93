"""Qwen2.5-Omni's towers: what vLLM says of embeddings is what it says of the media themselves."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image as Pillow
from safetensors.torch import load_file, save_file

from multimodal.config import VisionArgs
from multimodal.encoders.towers.base import Tower
from multimodal.encoders.towers.qwen_omni import open_family
from multimodal.errors import ConfigError
from multimodal.generation.omni_audio import FRAMES_PER_ROW
from multimodal.generation.visuals import inputs
from multimodal.types import SAMPLE_RATE_HZ, Audio, GeneratorEmbedding, Image, MediaKind, Video
from tests import omni_checkpoint
from tests.integration.towers.omni_engine import Answer, Prompt, Session, ask

# torch and transformers warn about their own parts.
pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.timeout(240)]

Medium = Image | Video | Audio
ALL = VisionArgs(source="tower", kinds=frozenset({"image", "video", "audio"}), dtype="float32")
WORDS = {
    Image: "<|vision_bos|><|IMAGE|><|vision_eos|>",
    Video: "<|vision_bos|><|VIDEO|><|vision_eos|>",
    Audio: "<|audio_bos|><|AUDIO|><|audio_eos|>",
}
KINDS = {Image: "image", Video: "video", Audio: "audio"}


def image(seed: int, height: int = 90, width: int = 120) -> Image:
    pixels = np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8)
    return Image(sha256=f"image {seed}", pixels=pixels, width=width, height=height, format="png")


def video(seed: int, *, fps: float, frames: int = 4) -> Video:
    shape = (frames, 64, 80, 3)
    return Video(
        sha256=f"video {seed}",
        frames=np.random.default_rng(seed).integers(0, 255, shape, dtype=np.uint8),
        times_s=tuple(number / fps for number in range(frames)),
        duration_s=frames / fps,
        width=80,
        height=64,
        format="mp4",
        audio=None,
    )


def sound(seed: int, samples: int) -> Audio:
    """A chord that swells, and noise up to the very end."""
    generator = np.random.default_rng(seed)
    time_s = np.arange(samples) / SAMPLE_RATE_HZ
    tones = sum(np.sin(2 * np.pi * hertz * time_s) for hertz in generator.uniform(100, 4000, 3))
    noise = generator.normal(0, 0.1, samples)
    heard = (0.1 * tones * (0.2 + np.sin(time_s)) + noise).astype(np.float32)
    return Audio(sha256=f"sound {seed}", samples=heard, duration_s=samples / SAMPLE_RATE_HZ, format="wav")


@dataclass(frozen=True)
class Case:
    """A prompt with media."""

    media: tuple[Medium, ...]
    fps: float = 2.0
    """Of its videos: vLLM is told for all of a prompt."""


CASES: Mapping[str, Case] = {
    "a picture": Case((image(1),)),
    "another picture": Case((image(2),)),
    "pictures of two sizes": Case((image(1), image(3, 200, 60))),
    "a video": Case((video(1, fps=2.0),)),
    "a slow video": Case((video(1, fps=0.5),), fps=0.5),
    "a video of an odd number of frames": Case((video(2, fps=2.0, frames=3),)),
    "a recording": Case((sound(1, 20_000),)),
    "another recording": Case((sound(2, 20_000),)),
    "a recording of several windows, and frames that do not fill a row": Case((sound(3, 5 * 16_000 + 777),)),
    "recordings of two lengths": Case((sound(1, 20_000), sound(4, 33_001))),
    "all three": Case((sound(5, 16_000), image(4), video(3, fps=2.0))),
}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return omni_checkpoint.build(tmp_path_factory.mktemp("omni"))


@pytest.fixture(scope="module")
def tower(model: Path) -> Tower:
    return Tower(open_family(model, ALL))


def see(tower: Tower, *media: Medium) -> list[GeneratorEmbedding]:
    return tower.see([(one, ()) for one in media])


def prompt(media: Sequence[Medium], data: Mapping[str, object], **more: object) -> Prompt:
    words = "".join(WORDS[type(one)] for one in media)
    return {"prompt": f"Look and listen: {words} What is it?", "multi_modal_data": data, **more}


def with_media(case: Case) -> Prompt:
    data: dict[str, list[object]] = {}
    for one in case.media:
        if isinstance(one, Image):
            data.setdefault("image", []).append(Pillow.fromarray(one.pixels))
        elif isinstance(one, Video):
            data.setdefault("video", []).append(one.frames)
        else:
            data.setdefault("audio", []).append((one.samples, SAMPLE_RATE_HZ))
    return prompt(case.media, data, mm_processor_kwargs={"fps": case.fps} if "video" in data else {})


def with_embeddings(case: Case, tower: Tower) -> Prompt:
    """With keys: vLLM's own hash of a video's embeddings leaves out how fast it is."""
    seen = [
        replace(visual, key=f"{one.sha256} {case.fps}")
        for one, visual in zip(case.media, see(tower, *case.media), strict=True)
    ]
    return with_visuals(case.media, seen)


def with_visuals(media: Sequence[Medium], seen: Sequence[GeneratorEmbedding]) -> Prompt:
    made = inputs(seen, videos_whole=True)
    return prompt(media, made.data, multi_modal_uuids=made.uuids)


@pytest.fixture(scope="module")
def raw(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Answer]:
    """Answers about media, by an engine that has its towers."""
    prompts = [with_media(case) for case in CASES.values()]
    session = ask(model, prompts, tmp_path_factory.mktemp("raw"), towers=True)
    return dict(zip(CASES, session.answers, strict=True))


NARROW = "rows that are too narrow"
AFTER = "after the refusal"
AGAIN = "all three again"
LONG = "a recording longer than one step takes"
LONG_S = 60


@pytest.fixture(scope="module")
def prompts(tower: Tower) -> Mapping[str, Prompt]:
    made = {name: with_embeddings(case, tower) for name, case in CASES.items()}
    recording = sound(9, 20_000)
    (heard,) = see(tower, recording)
    made[NARROW] = with_visuals([recording], [replace(heard, rows=heard.rows[:, :5])])
    made[AFTER] = made["a recording"]
    made[AGAIN] = made["all three"]
    made[LONG] = with_embeddings(Case((sound(10, LONG_S * SAMPLE_RATE_HZ),)), tower)
    return made


@pytest.fixture(scope="module")
def session(model: Path, prompts: Mapping[str, Prompt], tmp_path_factory: pytest.TempPathFactory) -> Session:
    """Answers about embeddings, by an engine without towers."""
    return ask(model, list(prompts.values()), tmp_path_factory.mktemp("rows"), towers=False)


@pytest.fixture(scope="module")
def rows(prompts: Mapping[str, Prompt], session: Session) -> Mapping[str, Answer]:
    return dict(zip(prompts, session.answers, strict=True))


@pytest.mark.parametrize("name", CASES)
def test_embeddings_are_answered_as_the_media_are(
    raw: Mapping[str, Answer], rows: Mapping[str, Answer], name: str
) -> None:
    assert raw[name].error == rows[name].error == ""
    assert rows[name].prompt_tokens == raw[name].prompt_tokens
    assert rows[name].token_ids == raw[name].token_ids
    assert rows[name].logprobs == pytest.approx(raw[name].logprobs, abs=1e-3)


def test_what_is_seen_and_heard_matters(rows: Mapping[str, Answer]) -> None:
    """Else the comparison above would say nothing."""
    pairs = [
        ("a picture", "another picture"),
        ("a recording", "another recording"),
        ("a video", "a slow video"),
    ]
    for one, other in pairs:
        difference = np.subtract(rows[one].logprobs, rows[other].logprobs)
        assert np.abs(difference).max() > 0.01, (one, other)


def test_the_engine_has_no_towers(session: Session) -> None:
    assert session.towers == {"visual": "StageMissingLayer", "audio_tower": "StageMissingLayer"}


def test_rows_of_another_width_are_refused_and_the_engine_goes_on(rows: Mapping[str, Answer]) -> None:
    assert "audio_embeds must be (rows, 64), not (31, 5)" in rows[NARROW].error
    assert rows[AFTER].token_ids == rows["a recording"].token_ids


def test_known_keys_are_found_in_the_prefix_cache(rows: Mapping[str, Answer]) -> None:
    assert rows[AGAIN].cached_tokens >= 128
    assert rows[AGAIN].token_ids == rows["all three"].token_ids


def test_a_long_recording_is_taken_where_vllm_makes_room_for_30_s(rows: Mapping[str, Answer]) -> None:
    assert rows[LONG].error == ""
    assert rows[LONG].prompt_tokens - rows["a recording"].prompt_tokens == 25 * LONG_S - 31


def test_results_come_in_the_order_of_the_batch(tower: Tower) -> None:
    batch = sound(1, 20_000), image(1), video(1, fps=2.0), image(2), sound(2, 9_000)
    kinds = [one.kind.value for one in see(tower, *batch)]
    assert kinds == [KINDS[type(one)] for one in batch]
    for one, alone in zip(see(tower, *batch), (see(tower, medium)[0] for medium in batch), strict=True):
        assert np.allclose(one.rows, alone.rows, atol=1e-5)
        assert one.whole
        assert one.rows.shape[1] == omni_checkpoint.WIDTH


@pytest.mark.parametrize(
    ("samples", "expected"), [(1, 1), (320, 1), (1600, 2), (16_000, 25), (33 * 16_000, 825)]
)
def test_a_recording_has_25_rows_a_second_and_one_at_least(tower: Tower, samples: int, expected: int) -> None:
    (heard,) = see(tower, sound(1, samples))
    assert heard.kind is MediaKind.AUDIO
    assert len(heard.rows) == expected


@pytest.mark.parametrize("samples", [3_200, 20_001, 30 * 16_000 - 100, 30 * 16_000])
def test_frames_are_those_of_the_models_own_processor(model: Path, samples: int) -> None:
    from transformers import AutoProcessor

    processor = AutoProcessor.from_pretrained(model)  # type: ignore[no-untyped-call]
    recording = sound(6, samples)
    theirs = processor(text="<|AUDIO|>", audio=[recording.samples], return_tensors="pt", truncation=False)
    kept = int(theirs["feature_attention_mask"].sum())
    ears = open_family(model, ALL).ears  # type: ignore[attr-defined]
    ours: NDArray[np.float32] = ears._frames(recording).numpy()
    assert ours.shape[1] == kept
    assert np.allclose(ours, theirs["input_features"][0, :, :kept].numpy(), atol=1e-5)


def test_every_number_of_rows_has_its_frames(tower: Tower) -> None:
    from vllm.model_executor.models.qwen2_5_omni_thinker import (
        Qwen2_5OmniThinkerForConditionalGeneration as Omni,
    )

    for count in range(1, 3000):
        assert Omni._compute_audio_token_count(None, FRAMES_PER_ROW * count) == count  # type: ignore[arg-type]


def test_only_the_towers_that_are_wanted_are_loaded(model: Path) -> None:
    eyes = Tower(open_family(model, VisionArgs(source="tower")))
    with pytest.raises(ConfigError, match="audio"):
        see(eyes, sound(1, 16_000))
    ears = Tower(open_family(model, VisionArgs(source="tower", kinds=frozenset({"audio"}))))
    with pytest.raises(ConfigError, match="image"):
        see(ears, image(1))
    with pytest.raises(ConfigError, match="video"):
        see(ears, video(1, fps=2.0))
    assert len(see(ears, sound(1, 16_000))[0].rows) == 25


def test_the_thinker_alone_is_read_too(model: Path, tower: Tower, tmp_path: Path) -> None:
    alone = Tower(open_family(omni_checkpoint.thinker_alone(model, tmp_path / "thinker"), ALL))
    media = CASES["all three"].media
    for one, other in zip(see(alone, *media), see(tower, *media), strict=True):
        assert np.array_equal(one.rows, other.rows)


@pytest.mark.parametrize("lost", ["thinker.audio_tower.proj.weight", "thinker.visual.merger.ln_q.weight"])
def test_a_checkpoint_without_a_weight_is_refused(model: Path, tmp_path: Path, lost: str) -> None:
    folder = tmp_path / "model"
    shutil.copytree(model, folder)
    weights = load_file(folder / "model.safetensors")
    del weights[lost]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ConfigError, match=r"config\.json"):
        open_family(folder, ALL)
