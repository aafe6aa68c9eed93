"""The table of composed scenes: made once from a seed, each with its caption and foils."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from multimodal.training.captions import (
    COUNTABLE,
    NUMBERS,
    RELATIONS,
    Layout,
    Scene,
    Thing,
    caption,
    foils,
    phrase,
)
from multimodal.training.concepts import Concept
from multimodal.training.shapes import COLOUR_NAMES, SHAPE_NAMES

FOILS = 4

EMPTY_SCENES = (
    *(f"a plain {colour} background" for colour in COLOUR_NAMES),
    "random noise",
    "an abstract texture",
    "a colour gradient",
    "a pattern",
    "nothing, an empty picture",
)
"""Captions of pictures without a thing in them; `backgrounds` knows how to paint each."""


@dataclass(frozen=True, slots=True)
class Example:
    """A row of the table."""

    scene: Scene
    caption: str
    foils: tuple[str, ...]
    """Captions that are wrong; FOILS of them, or none for empty scenes."""


class SceneMaker:
    """Draws scenes at random. Icons are limited to concepts whose label makes a plain noun phrase."""

    def __init__(self, concepts: Sequence[Concept], usable: Sequence[int]) -> None:
        nouns = [
            (number, concepts[number])
            for number in usable
            if concepts[number].group in _NOUN_GROUPS
            and concepts[number].weight == 1
            and len(concepts[number].label) < _LONGEST_LABEL
        ]
        self.icons = [Thing(concept.label, concept=number) for number, concept in nouns]
        self.countable = [
            Thing(concept.label, concept=number)
            for number, concept in nouns
            if concept.group in ("animals-nature", "food-drink", "travel-places", "objects")
            and COUNTABLE.fullmatch(concept.label)
            and not concept.label.endswith("s")
        ]
        self._kinds: tuple[tuple[float, Callable[[random.Random], Scene]], ...] = (
            (0.18, self._shape),
            (0.05, self._shape_on_colour),
            (0.13, self._shapes_related),
            (0.07, self._shapes_together),
            (0.13, self._counted_shapes),
            (0.04, self._counted_icons),
            (0.15, self._icons_together),
            (0.08, self._icons_related),
            (0.05, self._icon_and_shape),
            (0.07, self._icon_on_colour),
            (0.05, self._empty),
        )

    def draw(self, rng: random.Random) -> Scene:
        """One scene, of a random kind."""
        weights = [weight for weight, _ in self._kinds]
        return rng.choices(self._kinds, weights)[0][1](rng)

    def _coloured(self, rng: random.Random) -> Thing:
        return Thing(rng.choice(SHAPE_NAMES), colour=rng.choice(COLOUR_NAMES))

    def _shape(self, rng: random.Random) -> Scene:
        return Scene((self._coloured(rng),))

    def _shape_on_colour(self, rng: random.Random) -> Scene:
        thing = self._coloured(rng)
        return Scene((thing,), background=rng.choice([name for name in COLOUR_NAMES if name != thing.colour]))

    def _shapes_related(self, rng: random.Random) -> Scene:
        return Scene(self._pair(rng), Layout(rng.choice(list(RELATIONS))))

    def _pair(self, rng: random.Random) -> tuple[Thing, ...]:
        first, second = self._coloured(rng), self._coloured(rng)
        return (first, second) if first != second else self._pair(rng)

    def _shapes_together(self, rng: random.Random) -> Scene:
        things = self._pair(rng)
        return Scene((*things, self._coloured(rng)) if rng.random() < 0.3 else things, Layout.ANY)

    def _counted_shapes(self, rng: random.Random) -> Scene:
        return Scene((self._coloured(rng),), Layout.MANY, rng.randint(2, len(NUMBERS) - 1))

    def _counted_icons(self, rng: random.Random) -> Scene:
        return Scene((rng.choice(self.countable),), Layout.MANY, rng.randint(2, len(NUMBERS) - 1))

    def _icons_together(self, rng: random.Random) -> Scene:
        return Scene(tuple(rng.sample(self.icons, 3 if rng.random() < 0.3 else 2)), Layout.ANY)

    def _icons_related(self, rng: random.Random) -> Scene:
        return Scene(tuple(rng.sample(self.icons, 2)), Layout(rng.choice(list(RELATIONS))))

    def _icon_and_shape(self, rng: random.Random) -> Scene:
        return Scene((rng.choice(self.icons), self._coloured(rng)), Layout.ANY)

    def _icon_on_colour(self, rng: random.Random) -> Scene:
        return Scene((rng.choice(self.icons),), background=rng.choice(COLOUR_NAMES))

    def _empty(self, rng: random.Random) -> Scene:
        return Scene((Thing(rng.choice(EMPTY_SCENES)),), Layout.EMPTY)


_LONGEST_LABEL = 28
_NOUN_GROUPS = frozenset(
    {
        "animals-nature",
        "food-drink",
        "travel-places",
        "activities",
        "objects",
        "people-body",
        "smileys-emotion",
    }
)


def make_examples(concepts: Sequence[Concept], usable: Sequence[int], count: int, seed: int) -> list[Example]:
    """`count` rows, the same for the same arguments."""
    rng = random.Random(seed)
    maker = SceneMaker(concepts, usable)
    examples: list[Example] = []
    while len(examples) < count:
        scene = maker.draw(rng)
        wrong = tuple(phrase(foil) for foil in foils(scene, rng, FOILS, maker.icons))
        if len(wrong) == FOILS or scene.layout is Layout.EMPTY:
            examples.append(Example(scene, caption(scene, rng), wrong if len(wrong) == FOILS else ()))
    return examples
