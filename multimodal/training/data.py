"""Everything that training reads, prepared once below a work folder: pictures, words, vectors."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from multimodal.training import fetch, lettering, render, texts
from multimodal.training.compose import Composer
from multimodal.training.concepts import Concept, Icon, load
from multimodal.training.plan import Planner
from multimodal.training.scenes import FOILS, Example, make_examples
from multimodal.training.shapes import COLOUR_NAMES, SHAPE_NAMES
from multimodal.training.sources import ICON_SETS

SCENES = 12_000
_HELD_OUT = frozenset(one.short for one in ICON_SETS if one.held_out)


@dataclass(frozen=True, slots=True)
class Words:
    """Vectors of all texts, unit length."""

    bank: texts.Bank
    bank_vectors: torch.Tensor
    """(texts, 384)."""
    captions: torch.Tensor
    """(examples, 384)."""
    foils: torch.Tensor
    """(examples, FOILS, 384); zero for examples without foils."""


@dataclass(frozen=True, slots=True)
class Corpus:
    """Concepts with their pictures; those of held-out sets apart."""

    concepts: list[Concept]
    training: list[Icon]
    held_out: dict[str, list[Icon]]
    """By name of the set."""

    @property
    def trained(self) -> list[int]:
        """Concepts that have a picture in training, sorted."""
        return sorted({icon.concept for icon in self.training})


def load_corpus(work: Path) -> Corpus:
    """Of the fetched packages."""
    concepts, icons = load(work / "packages")
    held_out = {name: [icon for icon in icons if icon.set_name == name] for name in sorted(_HELD_OUT)}
    return Corpus(concepts, [icon for icon in icons if icon.set_name not in _HELD_OUT], held_out)


def bank_names(corpus: Corpus) -> list[str]:
    """What a picture can be named: every trained concept, and shapes in every colour."""
    labels = {corpus.concepts[number].label for number in corpus.trained}
    return sorted(labels | {f"{colour} {shape}" for colour in COLOUR_NAMES for shape in SHAPE_NAMES})


def prepare(work: Path, text_model: Path, seed: int) -> tuple[Corpus, list[Example], Words, render.Atlas]:
    """Fetch, render and encode whatever is not there yet."""
    fetch.fetch_all(work / "packages")
    corpus = load_corpus(work)
    atlas = render.render_training(work / "packages", work / "renders", corpus.training)
    examples = make_examples(corpus.concepts, corpus.trained, SCENES, seed)
    return corpus, examples, encode_words(corpus, examples, work, text_model, seed), atlas


def encode_words(corpus: Corpus, examples: list[Example], work: Path, text_model: Path, seed: int) -> Words:
    """Vectors of the bank, captions and foils."""
    bank = texts.make_bank(corpus.concepts, seed)
    said = sorted({text for one in examples for text in (one.caption, *one.foils)})
    encode = texts.encoder(text_model)
    bank_vectors = torch.from_numpy(texts.encode_cached(bank.texts, work / "texts", encode)).float()
    vectors = torch.from_numpy(texts.encode_cached(said, work / "texts", encode)).float()
    index = {text: number for number, text in enumerate(said)}
    captions = vectors[[index[one.caption] for one in examples]]
    foils = torch.zeros(len(examples), FOILS, vectors.shape[1])
    for number, one in enumerate(examples):
        if one.foils:
            foils[number] = vectors[[index[text] for text in one.foils]]
    return Words(bank, bank_vectors, captions, foils)


def drawing(
    corpus: Corpus, examples: list[Example], atlas: render.Atlas, seed: int, gentle_until: int
) -> tuple[Planner, Composer]:
    """What turns a step's number into pictures."""
    ink = lettering.strips([corpus.concepts[number].label for number in corpus.trained], seed)
    planner = Planner(corpus.concepts, corpus.training, examples, seed, gentle_until)
    return planner, Composer(atlas, ink, seed)
