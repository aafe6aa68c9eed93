"""What the generator is told of a picture, and the rows that stand for the words."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from safetensors.torch import save_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing

from multimodal.encoders.concepts import Candidate, ConceptBank
from multimodal.encoders.connector import (
    MOST_NAMES,
    SURE_FROM,
    TABLE,
    WORTH_SAYING,
    ConceptConnector,
    SafetensorsWords,
    moment_line,
    picture_line,
    scene_at,
    video_line,
)
from multimodal.errors import ConfigError
from multimodal.stages import VisionBackend
from multimodal.types import ImageFeatures, Scene, VideoFeatures
from tests.fakes import scene, seen

NAMES = ("dog", "cat", "apple")
DOG, CAT, _ = np.eye(3, dtype=np.float32)
STRANGE = -np.ones(3, np.float32) / np.float32(np.sqrt(3))
"""Far from every name."""


class NotedWords:
    """Remembers what was looked up. As many rows as the text has letters."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def rows(self, text: str) -> NDArray[np.float32]:
        self.texts.append(text)
        return np.full((len(text), 2), len(self.texts), np.float32)


def connect(words: NotedWords, names: tuple[str, ...] = NAMES) -> ConceptConnector:
    return ConceptConnector(ConceptBank(names, np.eye(len(names), dtype=np.float32), 0.3), words)


def sharp(vector: NDArray[np.float32]) -> ImageFeatures:
    """A picture whose nearest name leaves no doubt."""
    return replace(seen(vector), logit_scale=100.0)


def told(features: ImageFeatures | VideoFeatures, moments_s: Sequence[float] = ()) -> str:
    words = NotedWords()
    connect(words).connect(features, moments_s)
    (text,) = words.texts
    return text


def clip(*scenes: Scene) -> VideoFeatures:
    return VideoFeatures(sha256="", duration_s=9.0, width=6, height=4, scenes=scenes, transcript=None)


# --- phrases -------------------------------------------------------------------------------------

SPELT = ("alpha", "bravo", "charlie", "delta", "echo", "foxtrot")


def candidates(*shares: float) -> list[Candidate]:
    """Names of SPELT with these probabilities."""
    return [Candidate(name=name, probability=share) for name, share in zip(SPELT, shares, strict=False)]


def names_in(line: str) -> list[str]:
    """The names of SPELT that a line tells, in its order."""
    return re.findall("|".join(SPELT), line)


def test_what_is_known_for_sure_stands_alone() -> None:
    line = picture_line(candidates(SURE_FROM, SURE_FROM * 0.99))
    assert names_in(line) == ["alpha"]
    assert " or " not in line


def test_where_there_is_doubt_the_other_likely_names_are_told_too() -> None:
    first = SURE_FROM * 0.9
    worth = WORTH_SAYING * first
    assert "alpha or bravo or charlie" in picture_line(candidates(first, first, worth))
    assert names_in(picture_line(candidates(first, worth, worth * 0.9))) == ["alpha", "bravo"]
    assert names_in(picture_line(candidates(first, worth * 0.9))) == ["alpha"]


def test_nothing_known_is_said_as_such() -> None:
    known = candidates(1.0)
    for line in (picture_line([]), video_line([]), video_line([[], []]), moment_line(1.5, [])):
        assert "not" in line.split()
    for line in (picture_line(known), video_line([[], known]), moment_line(1.5, known)):
        assert "not" not in line.split()


@given(st.lists(st.floats(1e-6, 1.0), min_size=1, max_size=len(SPELT)))
def test_names_are_told_likeliest_first_and_without_gaps(shares: list[float]) -> None:
    shown = candidates(*sorted(shares, reverse=True))
    names = names_in(picture_line(shown))
    assert names == [one.name for one in shown[: len(names)]]
    assert len(names) == 1 or shown[0].probability < SURE_FROM
    assert names_in(moment_line(2.5, shown)) == names_in(video_line([shown])) == names


@given(st.lists(st.sampled_from([None, *SPELT]), max_size=12))
def test_of_a_video_every_change_is_told_in_turn(shown: list[str | None]) -> None:
    scenes = [[Candidate(name=name, probability=1.0)] if name else [] for name in shown]
    known = [name for name in shown if name]
    assert names_in(video_line(scenes)) == [name for name, _ in groupby(known)]


@pytest.mark.parametrize(
    ("moment_s", "start_s"), [(0.0, 1.0), (1.0, 1.0), (2.9, 1.0), (3.0, 3.0), (4.5, 3.0), (99.0, 5.0)]
)
def test_the_scene_of_a_moment_is_the_last_that_has_begun_or_the_first(
    moment_s: float, start_s: float
) -> None:
    scenes = [scene(None, 1, start_s=start) for start in (1.0, 3.0, 5.0)]
    assert scene_at(scenes, moment_s).start_s == start_s


# --- pictures and videos -------------------------------------------------------------------------


def test_the_connector_is_a_vision_backend() -> None:
    words = NotedWords()
    backend: VisionBackend = connect(words)
    # The rows are those of the words, unchanged.
    (embedding,) = backend.see([(sharp(CAT), ())])
    rows = embedding.rows
    assert np.array_equal(rows, np.ones((len(words.texts[0]), 2), np.float32))


@pytest.mark.parametrize("name", NAMES)
def test_a_picture_is_named(name: str) -> None:
    vector = np.eye(len(NAMES), dtype=np.float32)[NAMES.index(name)]
    assert told(sharp(vector)) == picture_line([Candidate(name=name, probability=1.0)])


def test_a_picture_that_is_far_from_every_name_is_not_named() -> None:
    assert told(sharp(STRANGE)) == picture_line([])


def test_the_models_own_scale_decides_how_sure_a_name_is() -> None:
    between = np.array([0.8, 0.6, 0.0], np.float32)
    sure, unsure = (told(replace(seen(between), logit_scale=scale)) for scale in (100.0, 0.1))
    assert ("dog" in sure, "cat" in sure) == (True, False)
    assert "dog or cat or apple" in unsure


def test_a_picture_is_never_given_more_than_a_few_names() -> None:
    words, names = NotedWords(), tuple(f"name{number}" for number in range(MOST_NAMES + 2))
    alike = np.full(len(names), 1 / np.sqrt(len(names)), np.float32)
    connect(words, names).connect(sharp(alike), ())
    assert re.findall(r"name\d", words.texts[0]) == list(names[:MOST_NAMES])


def sharp_clip(*vectors: NDArray[np.float32]) -> VideoFeatures:
    """A scene of two seconds for each vector."""
    scenes = (scene(vector, 2, start_s=2.0 * at) for at, vector in enumerate(vectors))
    return clip(*(replace(one, image=sharp(vector)) for one, vector in zip(scenes, vectors, strict=True)))


def test_what_a_video_shows_is_told_in_its_order_and_only_what_is_known_and_new() -> None:
    dog, cat = ([Candidate(name=name, probability=1.0)] for name in ("dog", "cat"))
    text = told(sharp_clip(DOG, DOG, STRANGE, CAT, DOG))
    assert text == video_line([dog, dog, [], cat, dog])
    assert re.findall("dog|cat|apple", text) == ["dog", "cat", "dog"]


def test_of_a_video_the_moments_that_are_asked_about_are_told_with_their_times() -> None:
    text = told(sharp_clip(DOG, STRANGE, CAT), (5.0, 2.5, 0.0))
    lines = [
        moment_line(5, [Candidate(name="cat", probability=1.0)]),
        moment_line(2.5, []),
        moment_line(0, [Candidate(name="dog", probability=1.0)]),
    ]
    assert text == " ".join(lines)
    assert re.findall(r"\d[\d.]*|dog|cat|apple", text) == ["5", "cat", "2.5", "0", "dog"]


def test_moments_do_not_matter_for_a_picture() -> None:
    assert told(sharp(DOG), (1.0,)) == told(sharp(DOG))


@pytest.mark.parametrize("moments_s", [(), (3.0,)])
@pytest.mark.parametrize(
    "features",
    [seen(None), clip(scene(DOG, 2), scene(None, 2, start_s=2.0)), replace(seen(DOG), logit_scale=None)],
    ids=["picture", "one scene of a video", "no scale"],
)
def test_without_an_image_tower_there_is_nothing_to_name(
    features: ImageFeatures | VideoFeatures, moments_s: tuple[float, ...]
) -> None:
    with pytest.raises(ConfigError, match=r"set image\.model"):
        connect(NotedWords()).connect(features, moments_s)


# --- the table of words --------------------------------------------------------------------------

VOCABULARY = ["[UNK]", "[BOS]", "a", "red", "or", "blue", "circle"]
ROWS = torch.randn(len(VOCABULARY), 8, generator=torch.Generator().manual_seed(1)).bfloat16()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A generator's model folder: one word, one token; the tokenizer begins texts with [BOS] if it may."""
    tokenizer = Tokenizer(WordLevel({word: at for at, word in enumerate(VOCABULARY)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.post_processor = TemplateProcessing(single="[BOS] $A", special_tokens=[("[BOS]", 1)])
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    return write(tmp_path, {f"model.{TABLE}": ROWS, "model.norm.weight": torch.ones(8)})


def write(folder: Path, tensors: dict[str, torch.Tensor]) -> Path:
    save_file(tensors, folder / "model.safetensors")
    return folder


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25, deadline=None)
@given(st.lists(st.sampled_from(VOCABULARY[2:]), min_size=1, max_size=12))
def test_rows_are_those_of_the_table_and_no_special_token_is_among_them(
    folder: Path, words: list[str]
) -> None:
    rows = SafetensorsWords(folder).rows(" ".join(words))
    assert rows.dtype == np.float32
    assert np.array_equal(rows, ROWS[[VOCABULARY.index(word) for word in words]].float().numpy())


def test_a_picture_becomes_rows_of_the_table_in_which_those_of_its_name_are(folder: Path) -> None:
    bank = ConceptBank(["red circle", "blue circle"], np.eye(2, dtype=np.float32), 0.3)
    connector = ConceptConnector(bank, SafetensorsWords(folder))
    rows = connector.connect(sharp(np.array([0, 1], np.float32)), ()).rows
    table = ROWS.float().numpy()
    ids = [int(np.flatnonzero((table == row).all(1))[0]) for row in rows]
    assert [one for one in ids if VOCABULARY[one] in ("red", "blue", "circle")] == [5, 6]


@pytest.mark.parametrize("missing", ["model.safetensors", "tokenizer.json"])
def test_a_folder_without_weights_or_tokenizer_is_an_error(folder: Path, missing: str) -> None:
    (folder / missing).unlink()
    with pytest.raises(ConfigError, match=missing) as error:
        SafetensorsWords(folder)
    assert str(folder) not in error.value.message


@pytest.mark.parametrize(
    "names", [("lm_head.weight",), (f"text.{TABLE}", f"vision.{TABLE}")], ids=["none", "two"]
)
def test_weights_without_one_table_of_words_are_an_error(folder: Path, names: tuple[str, ...]) -> None:
    write(folder, {name: ROWS.clone() for name in names})
    with pytest.raises(ConfigError, match=TABLE):
        SafetensorsWords(folder)
