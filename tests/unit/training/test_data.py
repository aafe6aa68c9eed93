"""What pictures can be named."""

from __future__ import annotations

from multimodal.training.concepts import Concept, Icon
from multimodal.training.data import Corpus, bank_names
from multimodal.training.shapes import COLOUR_NAMES, SHAPE_NAMES


def corpus(trained: list[str], held_out: list[str]) -> Corpus:
    """Concepts with a picture in training, and others with one in a held-out set only."""
    concepts = [Concept(f"c{number}", label) for number, label in enumerate([*trained, *held_out])]
    icons = [Icon("set", concept.label, number) for number, concept in enumerate(concepts)]
    return Corpus(concepts, icons[: len(trained)] * 2, {"other": icons[len(trained) :]})


def test_names_are_those_of_trained_concepts_and_of_shapes_in_every_colour() -> None:
    names = bank_names(corpus(["zebra", "dog"], ["unicorn"]))
    shapes = {f"{colour} {shape}" for colour in COLOUR_NAMES for shape in SHAPE_NAMES}
    assert set(names) == {"zebra", "dog"} | shapes
    assert "red circle" in names


def test_each_name_is_there_once_and_their_order_is_always_the_same() -> None:
    names = bank_names(corpus(["dog", "red heart", "dog"], []))
    assert len(set(names)) == len(names)
    assert names == bank_names(corpus(["red heart", "dog"], [])) == sorted(names)
