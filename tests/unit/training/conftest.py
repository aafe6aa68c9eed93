"""A corpus of a few concepts with made-up pictures and vectors, so that the recipe runs without any data."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest
import torch

from multimodal.training.compose import Composer
from multimodal.training.concepts import Concept, Icon
from multimodal.training.data import Words
from multimodal.training.objective import Objective
from multimodal.training.plan import Planner
from multimodal.training.render import LARGE_PX, SMALL_PX, Atlas
from multimodal.training.scenes import FOILS, Example, make_examples
from multimodal.training.shapes import VARIANTS
from multimodal.training.texts import make_bank

LABELS = ("dog", "cat", "apple", "house", "tree")


def fake_vectors(texts: Sequence[str]) -> npt.NDArray[np.float32]:
    """(n, 384) unit vectors that depend on the text alone."""
    rows = []
    for text in texts:
        seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")
        rows.append(np.random.default_rng(seed).normal(size=384))
    found = np.stack(rows).astype(np.float32)
    lengths = np.linalg.norm(found, axis=1, keepdims=True)
    units: npt.NDArray[np.float32] = found / lengths
    return units


@pytest.fixture(scope="session")
def concepts() -> list[Concept]:
    return [
        Concept(f"c{number}", label, [f"little {label}"], ["thing", label + "ish"], "objects", "tool")
        for number, label in enumerate(LABELS)
    ]


@pytest.fixture(scope="session")
def icons(concepts: list[Concept]) -> list[Icon]:
    """Two drawings of each concept."""
    return [Icon(name, concept.label, n) for name in ("one", "two") for n, concept in enumerate(concepts)]


@pytest.fixture(scope="session")
def examples(concepts: list[Concept]) -> list[Example]:
    return make_examples(concepts, range(len(concepts)), 60, seed=3)


@pytest.fixture(scope="session")
def atlas(icons: list[Icon]) -> Atlas:
    """Icons are random colours in a disc, shapes are white squares."""
    rng = np.random.default_rng(0)
    count = len(icons) + len(VARIANTS)
    large = np.zeros((count, LARGE_PX, LARGE_PX, 4), np.uint8)
    inner = slice(LARGE_PX // 6, -LARGE_PX // 6)
    large[:, inner, inner, 3] = 255
    large[: len(icons), inner, inner, :3] = rng.integers(0, 256, (len(icons), 1, 1, 3))
    large[len(icons) :, inner, inner, :3] = 255
    step = LARGE_PX // SMALL_PX
    return Atlas(large, large[:, ::step, ::step].copy(), len(icons))


@pytest.fixture(scope="session")
def words(concepts: list[Concept], examples: list[Example]) -> Words:
    bank = make_bank(concepts, seed=3)
    foils = np.zeros((len(examples), FOILS, 384), np.float32)
    for number, example in enumerate(examples):
        if example.foils:
            foils[number] = fake_vectors(example.foils)
    return Words(
        bank,
        torch.from_numpy(fake_vectors(bank.texts)),
        torch.from_numpy(fake_vectors([example.caption for example in examples])),
        torch.from_numpy(foils),
    )


@pytest.fixture(scope="session")
def planner(concepts: list[Concept], icons: list[Icon], examples: list[Example]) -> Planner:
    return Planner(concepts, icons, examples, seed=3)


@pytest.fixture(scope="session")
def composer(atlas: Atlas) -> Composer:
    return Composer(atlas, torch.ones(4, 16, 64), seed=3)


@pytest.fixture(scope="session")
def objective(words: Words) -> Objective:
    return Objective(words)
