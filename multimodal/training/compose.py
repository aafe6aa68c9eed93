"""Draws planned pictures, a batch at a time: things are placed by grid sampling and laid over backgrounds."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn.functional import affine_grid, grid_sample, interpolate

from multimodal.training.backgrounds import Backgrounds, word_colour
from multimodal.training.camera import photograph
from multimodal.training.lettering import overlay
from multimodal.training.plan import Plan, Slots
from multimodal.training.render import Atlas
from multimodal.training.stylise import stylise, uniform

if TYPE_CHECKING:
    import numpy.typing as npt

_LARGE_FROM_PX = 52
"""Things wider than this are sampled from the large renders."""
TEXT_SHARE = 0.05
BENT_SHARE = 0.3


class Composer:
    """Draws plans into pictures. The same plan, step and size give the same pictures."""

    def __init__(self, atlas: Atlas, ink: torch.Tensor, seed: int) -> None:
        self._atlas, self._ink, self._seed = atlas, ink, seed
        self._backgrounds = Backgrounds(seed)

    def draw(self, plan: Plan, step: int, size_px: int) -> torch.Tensor:
        """(batch, 3, size, size) float32 in 0..1."""
        rng = np.random.default_rng([self._seed, step, 1])
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        layers, means = self._layers(plan.slots, size_px, rng, generator)
        things = _by_picture(plan.slots, means, len(plan.scenes))
        canvas = self._backgrounds.paint(plan.scenes, things, size_px, rng, generator)
        _lay_over(canvas, layers, plan.slots)
        canvas = overlay(canvas, self._ink, TEXT_SHARE, rng)
        return photograph(canvas, torch.from_numpy(plan.recolours), generator, plan.gentle)

    def _layers(
        self, slots: Slots, size_px: int, rng: np.random.Generator, generator: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Things in place (n, 4, size, size), premultiplied, and their mean colours (n, 3)."""
        count = len(slots.picture)
        layers, means = torch.zeros(count, 4, size_px, size_px), torch.zeros(count, 3)
        grid = _grid(slots, size_px, generator)
        wide = slots.half.max(1) * size_px > _LARGE_FROM_PX if count else np.zeros(0, np.bool_)
        for renders, chosen in ((self._atlas.large, wide), (self._atlas.small, ~wide)):
            rows = np.flatnonzero(chosen)
            if not len(rows):
                continue
            sources = self._sources(renders, slots, rows, rng, generator)
            layers[rows] = grid_sample(sources, grid[rows], align_corners=False)
            amount = sources.sum((2, 3))
            means[rows] = amount[:, :3] / amount[:, 3:].clamp(min=1e-3)
        return layers, means

    def _sources(
        self,
        renders: npt.NDArray[np.uint8],
        slots: Slots,
        rows: npt.NDArray[np.intp],
        rng: np.random.Generator,
        generator: torch.Generator,
    ) -> torch.Tensor:
        """Icons in their styles and shapes in their colours, (n, 4, side, side) premultiplied."""
        pixels = torch.from_numpy(renders[slots.source[rows]])
        pictures = pixels.permute(0, 3, 1, 2).float().div_(255)
        words = [slots.tint[row] for row in rows]
        icons = torch.tensor([number for number, word in enumerate(words) if word is None], dtype=torch.long)
        if len(icons):
            styles = torch.from_numpy(slots.style[rows])[icons]
            pictures[icons] = stylise(pictures[icons], styles, generator)
        for number, word in enumerate(words):
            if word is not None:
                pictures[number, :3] *= torch.tensor(word_colour(word, rng)).view(3, 1, 1)
        return pictures


def _grid(slots: Slots, size_px: int, generator: torch.Generator) -> torch.Tensor:
    """(n, size, size, 2): where each pixel of a thing comes from in its source. Some icons are bent."""
    count = len(slots.picture)
    turn, half = torch.from_numpy(slots.turn), torch.from_numpy(slots.half)
    centre = torch.from_numpy(slots.centre)
    icon = torch.tensor([word is None for word in slots.tint])
    shear = uniform(generator, -0.12, 0.12, count) * icon
    mirror = 1 - 2 * torch.from_numpy(slots.flip).float()
    cos, sin = turn.cos(), turn.sin()
    into = torch.stack(
        [
            torch.stack([(cos + shear * sin) / half[:, 0], (sin - shear * cos) / half[:, 0]], 1),
            torch.stack([-sin / half[:, 1], cos / half[:, 1]], 1),
        ],
        1,
    )
    into[:, 0] *= mirror.view(-1, 1)
    shift = -(into @ centre.unsqueeze(-1))
    grid = affine_grid(torch.cat([into, shift], 2), [count, 4, size_px, size_px], align_corners=False)
    bends = icon & (torch.rand(count, generator=generator) < BENT_SHARE)
    field = uniform(generator, -0.14, 0.14, count, 2, 4, 4) * bends.view(-1, 1, 1, 1)
    with warnings.catch_warnings():
        bent = interpolate(field, size=(size_px, size_px), mode="bicubic", align_corners=False)
    return grid + bent.permute(0, 2, 3, 1)


def _by_picture(slots: Slots, means: torch.Tensor, batch: int) -> torch.Tensor:
    """Mean colours of the things of each picture, (batch, most, 3), NaN where there are fewer."""
    most = int(slots.order.max(initial=0)) + 1
    found = torch.full((batch, most, 3), float("nan"))
    found[torch.from_numpy(slots.picture), torch.from_numpy(slots.order)] = means
    return found


def _lay_over(canvas: torch.Tensor, layers: torch.Tensor, slots: Slots) -> None:
    """Things over backgrounds, in order, in place."""
    for order in range(int(slots.order.max(initial=-1)) + 1):
        rows = np.flatnonzero(slots.order == order)
        where = torch.from_numpy(slots.picture[rows])
        canvas[where] = canvas[where] * (1 - layers[rows, 3:]) + layers[rows, :3]
