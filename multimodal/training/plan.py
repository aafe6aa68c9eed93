"""Decides what a batch of training pictures shows: numbers only, drawn from a seed and the step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

import numpy as np

from multimodal.training.captions import Layout, Scene
from multimodal.training.concepts import Concept, Icon
from multimodal.training.scenes import Example
from multimodal.training.shapes import STEADY, VARIANTS

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float32]
    Integers = npt.NDArray[np.int64]

SINGLE_SHARE = 0.8
"""Share of pictures that show one icon; the others come from the table of scenes."""


class Style(IntEnum):
    """How an icon is redrawn, so that the tower learns things and not one drawing style."""

    PLAIN = 0
    HUE = 1
    GREY = 2
    POSTER = 3
    LINES = 4
    LINE_ART = 5
    SILHOUETTE = 6
    TWO_TONE = 7
    INVERTED = 8
    SMOOTHED = 9


_STYLE_SHARES = (0.45, 0.15, 0.05, 0.05, 0.05, 0.05, 0.02, 0.05, 0.02, 0.11)
_GENTLE_STYLE_SHARES = (0.88, 0.05, 0.02, 0.01, 0.01, 0.01, 0.005, 0.01, 0.005, 0.0)
_STYLES_THAT_KEEP_COLOURS = (0.8, 0.0, 0.0, 0.08, 0.0, 0.0, 0.0, 0.0, 0.0, 0.12)


@dataclass(frozen=True, slots=True)
class Slots:
    """All things of a batch, in order of picture."""

    picture: Integers
    """(n,) which picture of the batch it is in."""
    order: Integers
    """(n,) its number within that picture: later ones cover earlier ones."""
    source: Integers
    """(n,) index into the atlas."""
    centre: Floats
    """(n, 2) x, y; the picture spans -1 to 1."""
    half: Floats
    """(n, 2) half of width and height; 1 fills the picture."""
    turn: Floats
    """(n,) radians, counter-clockwise."""
    flip: npt.NDArray[np.bool_]
    """(n,) mirrored left to right."""
    tint: tuple[str | None, ...]
    """n colour words, of shapes."""
    style: Integers
    """(n,) of Style."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A batch: what is drawn, and what it is an example of."""

    slots: Slots
    concept: Integers
    """(batch,) of pictures of one icon, else -1."""
    example: Integers
    """(batch,) row of the table of scenes, else -1."""
    scenes: tuple[Scene | None, ...]
    """The scenes of those rows."""
    recolours: npt.NDArray[np.bool_]
    """(batch,) whether the whole picture may lose or change its colours."""
    gentle: bool
    """Whether pictures are spared: the first part of a run learns faster from plain ones."""


class Planner:
    """Draws plans. The same seed and step give the same plan, so that training can resume anywhere."""

    def __init__(
        self,
        concepts: Sequence[Concept],
        icons: Sequence[Icon],
        examples: Sequence[Example],
        seed: int,
        gentle_until: int = 0,
    ) -> None:
        self._concepts, self._examples, self._seed = concepts, examples, seed
        self._gentle_until = gentle_until
        self._by_concept: dict[int, list[int]] = {}
        for number, icon in enumerate(icons):
            self._by_concept.setdefault(icon.concept, []).append(number)
        self._shapes: dict[str, list[int]] = {}
        for number, (name, _) in enumerate(VARIANTS):
            self._shapes.setdefault(name, []).append(len(icons) + number)
        self._keys = np.array(sorted(self._by_concept))
        # A concept that more sets draw has more to teach, but not in proportion.
        weights = [
            concepts[key].weight * len(self._by_concept[key]) ** 0.5 for key in sorted(self._by_concept)
        ]
        self._weights = np.array(weights) / sum(weights)

    def rng(self, step: int) -> np.random.Generator:
        """The source of chance of one step."""
        return np.random.default_rng([self._seed, step])

    def draw(self, batch: int, step: int) -> Plan:
        """The plan of one step."""
        rng = self.rng(step)
        singles = round(batch * SINGLE_SHARE)
        concept = np.full(batch, -1, np.int64)
        concept[:singles] = rng.choice(self._keys, singles, p=self._weights)
        example = np.full(batch, -1, np.int64)
        example[singles:] = rng.integers(len(self._examples), size=batch - singles)
        gentle = step < self._gentle_until
        builder = _Builder(rng, self._concepts, self._by_concept, self._shapes, gentle)
        scenes: list[Scene | None] = []
        for picture in range(batch):
            if concept[picture] >= 0:
                builder.single(picture, int(concept[picture]))
                scenes.append(None)
            else:
                scenes.append(self._examples[int(example[picture])].scene)
                builder.scene(picture, self._examples[int(example[picture])].scene)
        recolours = np.array(
            [number >= 0 and self._concepts[number].recolours for number in concept.tolist()]
        )
        return Plan(builder.slots(), concept, example, tuple(scenes), recolours, gentle)


@dataclass(slots=True)
class _Slot:
    picture: int
    order: int
    source: int
    x: float
    y: float
    half: float
    turn: float
    flip: bool
    tint: str | None
    style: int


class _Builder:
    """Collects the things of a batch."""

    def __init__(
        self,
        rng: np.random.Generator,
        concepts: Sequence[Concept],
        by_concept: dict[int, list[int]],
        shapes: dict[str, list[int]],
        gentle: bool,
    ) -> None:
        self._rng, self._concepts, self._gentle = rng, concepts, gentle
        self._by_concept, self._shapes = by_concept, shapes
        self._slots: list[_Slot] = []

    def single(self, picture: int, concept: int) -> None:
        """One icon of any size, mostly large."""
        small = self._rng.random() < (0.1 if self._gentle else 0.2)
        half = self._between(0.6 if self._gentle else 0.42, 0.75) if small else self._between(0.74, 1.0)
        room = max(1 - half, 0.0) + 0.04
        self._icon(picture, 0, concept, self._between(-room, room), self._between(-room, room), half)

    def scene(self, picture: int, scene: Scene) -> None:
        """All things of a composed scene."""
        if scene.layout is Layout.EMPTY:
            return
        things = scene.things * scene.count
        places, half = self._places(scene.layout, len(things))
        sources = [self._shape_source(thing.name) for thing in scene.things if thing.concept is None]
        for order, (thing, (x, y)) in enumerate(zip(things, places, strict=True)):
            if thing.concept is not None:
                self._icon(picture, order, thing.concept, x, y, half * self._between(0.9, 1.1))
                continue
            source = sources[0] if scene.layout is Layout.MANY else self._shape_source(thing.name)
            limit = 0.15 if thing.name in STEADY else 3.1
            self._add(
                picture, order, source, x, y, half * self._between(0.85, 1.1), limit, False, thing.colour
            )

    def _places(self, layout: Layout, count: int) -> tuple[list[tuple[float, float]], float]:
        """Centres and a half size at which things do not cover each other much."""
        if layout is Layout.ONE:
            half = self._between(0.35, 0.92)
            room = max(1 - half, 0.0)
            return [(self._between(-room, room), self._between(-room, room))], half
        if layout is Layout.MANY or count > 2:
            return self._grid(count)
        half = self._between(0.26, 0.44)
        apart = self._between(half + 0.04, min(0.98 - half, half + 0.25))
        across = self._between(-0.2, 0.2)
        if layout is Layout.ANY:
            angle = self._between(0, 2 * np.pi)
            first = apart * np.cos(angle), apart * np.sin(angle)
            return [first, (-first[0], -first[1])], half
        sign = -1.0 if layout in (Layout.LEFT, Layout.ABOVE) else 1.0
        along = [(sign * apart, across), (-sign * apart, self._between(-0.2, 0.2))]
        return (along if layout in (Layout.LEFT, Layout.RIGHT) else [(b, a) for a, b in along]), half

    def _grid(self, count: int) -> tuple[list[tuple[float, float]], float]:
        """Things in random cells of a grid that is just large enough, or in a row."""
        columns = count if count <= 4 and self._rng.random() < 0.35 else int(np.ceil(np.sqrt(count)))
        columns = max(columns, 2)
        rows = int(np.ceil(count / columns)) if self._rng.random() < 0.6 else columns
        cell = 2 / max(columns, rows)
        half = cell / 2 * self._between(0.6, 0.92)
        jitter = (cell / 2 - half) * 0.9
        cells = self._rng.permutation(columns * rows)[:count]
        turned = self._rng.random() < 0.5
        places = []
        for one in cells:
            x = (one % columns - (columns - 1) / 2) * cell + self._between(-jitter, jitter)
            y = (one // columns - (rows - 1) / 2) * cell + self._between(-jitter, jitter)
            places.append((y, x) if turned else (x, y))
        return places, half

    def _icon(self, picture: int, order: int, number: int, x: float, y: float, half: float) -> None:
        concept = self._concepts[number]
        source = int(self._rng.choice(self._by_concept[number]))
        limit = 0.6 if self._rng.random() < 0.15 else 0.22
        if self._rng.random() < 0.3:
            limit = 0.0
        free = _GENTLE_STYLE_SHARES if self._gentle else _STYLE_SHARES
        shares = free if concept.recolours else _STYLES_THAT_KEEP_COLOURS
        style = int(self._rng.choice(len(shares), p=shares))
        flip = concept.flips and self._rng.random() < 0.5
        self._add(picture, order, source, x, y, half, limit, flip, None, style)

    def _shape_source(self, name: str) -> int:
        return int(self._rng.choice(self._shapes[name]))

    def _add(
        self,
        picture: int,
        order: int,
        source: int,
        x: float,
        y: float,
        half: float,
        turn_limit: float,
        flip: bool,
        tint: str | None,
        style: int = Style.PLAIN,
    ) -> None:
        turn = self._between(-turn_limit, turn_limit)
        self._slots.append(_Slot(picture, order, source, x, y, half, turn, flip, tint, style))

    def slots(self) -> Slots:
        """Everything that was added; sizes get a little stretch of their own."""
        slots = self._slots
        stretch = np.exp(self._rng.normal(0, 0.06, (len(slots), 2)))
        half = np.array([[one.half] * 2 for one in slots]).reshape(-1, 2) * np.clip(stretch, 0.86, 1.16)
        return Slots(
            picture=np.array([one.picture for one in slots], np.int64),
            order=np.array([one.order for one in slots], np.int64),
            source=np.array([one.source for one in slots], np.int64),
            centre=np.array([(one.x, one.y) for one in slots], np.float32).reshape(-1, 2),
            half=half.astype(np.float32),
            turn=np.array([one.turn for one in slots], np.float32),
            flip=np.array([one.flip for one in slots], np.bool_),
            tint=tuple(one.tint for one in slots),
            style=np.array([one.style for one in slots], np.int64),
        )

    def _between(self, low: float, high: float) -> float:
        return float(self._rng.uniform(low, high))
