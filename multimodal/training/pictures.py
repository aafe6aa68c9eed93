"""Pictures for the evaluation: held-out icons on backgrounds, drawn questions, and things that are no icon.

Nothing here shares code with the composer of the training pictures, but colours of words and backgrounds.
All pictures are (side, side, 3) uint8.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from multimodal.errors import ConfigError
from multimodal.training.backgrounds import Backgrounds, word_colour
from multimodal.training.captions import NUMBERS, plural, with_article
from multimodal.training.render import EVALUATION_PX, Rasterise
from multimodal.training.shapes import COLOUR_NAMES, SHAPE_NAMES, SHAPES

if TYPE_CHECKING:
    import numpy.typing as npt

    Picture = npt.NDArray[np.uint8]

SIDE_PX = EVALUATION_PX
PHOTOGRAPHS = (
    "astronaut.png",
    "brick.png",
    "camera.png",
    "cell.png",
    "chelsea.png",
    "coffee.png",
    "coins.png",
    "grass.png",
    "gravel.png",
    "hubble_deep_field.jpg",
    "ihc.png",
    "moon.png",
    "motorcycle_left.png",
    "page.png",
    "retina.jpg",
    "rocket.jpg",
    "text.png",
)
"""Files that come with scikit-image 0.26."""
CROPS = 6


@dataclass(frozen=True, slots=True)
class Choice:
    """A picture and captions, of which the first is right."""

    kind: str
    picture: Picture
    captions: tuple[str, ...]


def on_white(icons: Picture) -> list[Picture]:
    """Icons (n, side, side, 4), premultiplied, on white."""
    return [_over(icon, np.full((*icon.shape[:2], 3), 255.0)) for icon in icons]


def on_backgrounds(icons: Picture, seed: int) -> list[Picture]:
    """Each icon once, 0.5 to 0.95 of the side, turned up to 12 degrees, on a background as in training."""
    import PIL.Image

    rng = np.random.default_rng(seed)
    generator = torch.Generator().manual_seed(seed)
    # The largest noise window is 160 pixels; it is scaled up like a soft photograph.
    side = 160
    painter = Backgrounds(seed)
    found = []
    for icon in icons:
        mean = icon[..., :3].sum((0, 1)) / max(1.0, float(icon[..., 3].sum()))
        things = torch.from_numpy(mean.astype(np.float32)).view(1, 1, 3)
        ground = painter.paint([None], things, side, rng, generator)[0].permute(1, 2, 0).numpy() * 255
        canvas = PIL.Image.fromarray(ground.astype(np.uint8)).resize((SIDE_PX, SIDE_PX))
        share = rng.uniform(0.5, 0.95)
        small = PIL.Image.fromarray(_straight(icon)).rotate(
            rng.uniform(-12, 12), PIL.Image.Resampling.BICUBIC
        )
        wide = round(SIDE_PX * share)
        small = small.resize((wide, wide), PIL.Image.Resampling.LANCZOS)
        left, top = (int(value) for value in rng.integers(0, SIDE_PX - wide + 1, 2))
        canvas.paste(small, (left, top), small)
        found.append(np.asarray(canvas))
    return found


def _over(icon: Picture, ground: npt.NDArray[np.float64]) -> Picture:
    alpha = icon[..., 3:] / 255.0
    return (icon[..., :3] + ground * (1 - alpha)).round().clip(0, 255).astype(np.uint8)


def _straight(icon: Picture) -> Picture:
    """Not premultiplied."""
    alpha = np.maximum(icon[..., 3:].astype(np.float32), 1)
    colours = (icon[..., :3] * 255.0 / alpha).clip(0, 255).astype(np.uint8)
    return np.concatenate([colours, icon[..., 3:]], -1)


# --- colours and shapes ------------------------------------------------------------------------


def colour_and_shape_questions(per_kind: int, seed: int, rasterise: Rasterise) -> list[Choice]:
    """`per_kind` questions of each kind, drawn as vector graphics and rendered."""
    rng = np.random.default_rng(seed)
    makers = (_which_colour, _which_shape, _which_of_all, _which_side, _which_binding, _how_many)
    return [maker(rng, rasterise) for maker in makers for _ in range(per_kind)]


def _which_colour(rng: np.random.Generator, rasterise: Rasterise) -> Choice:
    colour, shape = _pick(rng, COLOUR_NAMES), _pick(rng, SHAPE_NAMES)
    others = [name for name in COLOUR_NAMES if name != colour]
    captions = [with_article(f"{name} {shape}") for name in (colour, *others)]
    return Choice("colour", _one(colour, shape, rng, rasterise), tuple(captions))


def _which_shape(rng: np.random.Generator, rasterise: Rasterise) -> Choice:
    colour, shape = _pick(rng, COLOUR_NAMES), _pick(rng, SHAPE_NAMES)
    others = [name for name in SHAPE_NAMES if name != shape]
    captions = [with_article(f"{colour} {name}") for name in (shape, *others)]
    return Choice("shape", _one(colour, shape, rng, rasterise), tuple(captions))


def _which_of_all(rng: np.random.Generator, rasterise: Rasterise) -> Choice:
    right = _pick(rng, COLOUR_NAMES), _pick(rng, SHAPE_NAMES)
    others = [(c, s) for c in COLOUR_NAMES for s in SHAPE_NAMES if (c, s) != right]
    captions = [with_article(f"{colour} {shape}") for colour, shape in (right, *others)]
    return Choice("colour and shape of 168", _one(*right, rng, rasterise), tuple(captions))


def _which_side(rng: np.random.Generator, rasterise: Rasterise) -> Choice:
    first, second = _two(rng)
    relation = _pick(rng, ("left of", "right of", "above", "below"))
    words = [with_article(" ".join(one)) for one in (first, second)]
    relations = [relation, *(one for one in ("left of", "right of", "above", "below") if one != relation)]
    sign = -1 if relation in ("left of", "above") else 1
    offset = sign * rng.uniform(22, 26), rng.uniform(-8, 8)
    x, y = offset if relation in ("left of", "right of") else offset[::-1]
    drawn = _draw(
        [(first, 50 + x, 50 + y), (second, 50 - x, 50 - y)], rng.uniform(0.32, 0.42), rng, rasterise
    )
    return Choice("relation of 4", drawn, tuple(f"{words[0]} {one} {words[1]}" for one in relations))


def _which_binding(rng: np.random.Generator, rasterise: Rasterise) -> Choice:
    first, second = _two(rng)
    while first[0] == second[0] or first[1] == second[1]:
        first, second = _two(rng)
    x = rng.uniform(22, 26) * (1 if rng.random() < 0.5 else -1)
    drawn = _draw([(first, 50 + x, 50), (second, 50 - x, 50)], rng.uniform(0.32, 0.42), rng, rasterise)
    right = f"{with_article(' '.join(first))} and {with_article(' '.join(second))}"
    crossed = (first[0], second[1]), (second[0], first[1])
    wrong = f"{with_article(' '.join(crossed[0]))} and {with_article(' '.join(crossed[1]))}"
    return Choice("colours of two shapes", drawn, (right, wrong))


def _how_many(rng: np.random.Generator, rasterise: Rasterise) -> Choice:
    thing = _pick(rng, COLOUR_NAMES), _pick(rng, SHAPE_NAMES)
    count = int(rng.integers(2, 6))
    cells = rng.permutation(9)[:count]
    things = [(thing, 18.0 + 32 * (cell % 3), 18.0 + 32 * (cell // 3)) for cell in cells]
    counts = [count, *(one for one in range(2, 6) if one != count)]
    name = plural(" ".join(thing))
    return Choice(
        "count of 2 to 5",
        _draw(things, 0.25, rng, rasterise),
        tuple(f"{NUMBERS[one]} {name}" for one in counts),
    )


def _pick(rng: np.random.Generator, names: Sequence[str]) -> str:
    return names[int(rng.integers(len(names)))]


def _two(rng: np.random.Generator) -> tuple[tuple[str, str], tuple[str, str]]:
    one = _pick(rng, COLOUR_NAMES), _pick(rng, SHAPE_NAMES)
    other = _pick(rng, COLOUR_NAMES), _pick(rng, SHAPE_NAMES)
    return (one, other) if one != other else _two(rng)


def _one(colour: str, shape: str, rng: np.random.Generator, rasterise: Rasterise) -> Picture:
    scale = rng.uniform(0.4, 0.85)
    room = 50 * (1 - scale)
    x, y = 50 + rng.uniform(-room, room, 2)
    return _draw([((colour, shape), float(x), float(y))], scale, rng, rasterise)


def _draw(
    things: Sequence[tuple[tuple[str, str], float, float]],
    scale: float,
    rng: np.random.Generator,
    rasterise: Rasterise,
) -> Picture:
    """Shapes by (colour, shape), centre in percent, on a plain background far from all their colours."""
    colours = [np.array(word_colour(colour, rng)) for (colour, _), _, _ in things]
    ground = np.ones(3)
    while min(float(np.abs(ground - one).sum()) for one in colours) < 0.6:
        ground = rng.uniform(0, 1, 3)
    parts = [f'<rect width="100" height="100" fill="{_css(ground)}"/>']
    for ((_, shape), x, y), paint in zip(things, colours, strict=True):
        body = SHAPES[shape][0].replace("#fff", _css(paint))
        turn = rng.uniform(-8, 8)
        place = f"translate({x:.2f} {y:.2f}) rotate({turn:.1f}) scale({scale:.3f}) translate(-50 -50)"
        parts.append(f'<g fill="{_css(paint)}" transform="{place}">{body}</g>')
    head = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 100 100">'
    return rasterise(f"{head}{''.join(parts)}</svg>", SIDE_PX)[..., :3]


def _css(colour: npt.NDArray[np.float64]) -> str:
    return "#" + "".join(f"{round(value * 255):02x}" for value in colour)


# --- things that are no icon ---------------------------------------------------------------------


def unrelated(seed: int) -> dict[str, list[Picture]]:
    """Noise, plain colours, gradients, patterns; no photographs."""
    rng = np.random.default_rng(seed)
    shape = (SIDE_PX, SIDE_PX, 3)
    line = np.linspace(0, 1, SIDE_PX)[:, None, None]

    def gradient() -> Picture:
        first, second = rng.uniform(0, 255, (2, 3))
        mixed = np.broadcast_to(first * (1 - line) + second * line, shape)
        turned: Picture = np.rot90(mixed, int(rng.integers(4))).astype(np.uint8)
        return turned

    def waves() -> Picture:
        turn = np.exp(1j * rng.uniform(0, 2 * math.pi))
        place = line[..., 0] * turn.real + line[..., 0].T * turn.imag
        share = (np.sin(place * rng.uniform(20, 90)) > 0)[..., None]
        first, second = rng.uniform(0, 255, (2, 3))
        return np.where(share, first, second).astype(np.uint8)

    return {
        "noise": [rng.integers(0, 256, shape, np.uint8) for _ in range(50)],
        "plain colours": [np.full(shape, rng.integers(0, 256, 3), np.uint8) for _ in range(50)],
        "gradients": [gradient() for _ in range(50)],
        "stripes": [waves() for _ in range(50)],
    }


def photographs(seed: int) -> list[Picture]:
    """Whole photographs of scikit-image and random crops of them. ConfigError where it is missing."""
    import PIL.Image

    found = importlib.util.find_spec("skimage")
    if found is None or found.origin is None:
        raise ConfigError(
            'Photographs for the evaluation come with scikit-image: install the extra "training".'
        )
    rng = np.random.default_rng(seed)
    pictures = []
    for name in PHOTOGRAPHS:
        with PIL.Image.open(Path(found.origin).parent / "data" / name) as image:
            photograph = image.convert("RGB")
        pictures.append(np.asarray(photograph))
        side = min(photograph.size) // 2
        for _ in range(CROPS):
            left = int(rng.integers(photograph.width - side + 1))
            top = int(rng.integers(photograph.height - side + 1))
            pictures.append(np.asarray(photograph.crop((left, top, left + side, top + side))))
    return pictures
