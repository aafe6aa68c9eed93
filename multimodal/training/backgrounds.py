"""Paints backgrounds: white, plain, gradients, patterns, and noise whose spectrum is that of photographs."""

from __future__ import annotations

import colorsys
import math
from collections.abc import Sequence

import numpy as np
import torch

from multimodal.training.captions import Layout, Scene
from multimodal.training.shapes import COLOURS
from multimodal.training.stylise import uniform

WHITE, PLAIN, GRADIENT, PATTERN, NOISE, STATIC = range(6)
_SHARES = (0.38, 0.24, 0.12, 0.06, 0.18, 0.02)
_FIELDS, _FIELD_PX = 128, 160
CANDIDATES = 4


def word_colour(word: str, rng: np.random.Generator) -> tuple[float, float, float]:
    """A colour that goes by this word, red, green, blue in 0..1."""
    hue, saturation, value = (rng.uniform(low, high) for low, high in COLOURS[word])
    return colorsys.hsv_to_rgb(hue % 1.0, saturation, value)


def noise_fields(seed: int) -> torch.Tensor:
    """(128, 160, 160) float32 in 0..1 with spectra 1/f^a, a from 0.8 to 1.8: like those of photographs."""
    rng = np.random.default_rng(seed)
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(_FIELD_PX), np.fft.fftfreq(_FIELD_PX)))
    frequency[0, 0] = 1.0
    fields = []
    for _ in range(_FIELDS):
        spectrum = np.fft.fft2(rng.normal(size=frequency.shape)) / frequency ** rng.uniform(0.8, 1.8)
        spectrum[0, 0] = 0
        field = np.fft.ifft2(spectrum).real
        fields.append(0.5 + field / (4 * field.std()))
    return torch.from_numpy(np.stack(fields).astype(np.float32).clip(0, 1))


class Backgrounds:
    """Paints a batch of backgrounds at a time."""

    def __init__(self, seed: int) -> None:
        self._fields = noise_fields(seed)

    def paint(
        self,
        scenes: Sequence[Scene | None],
        things: torch.Tensor,
        size_px: int,
        rng: np.random.Generator,
        generator: torch.Generator,
    ) -> torch.Tensor:
        """(batch, 3, size, size) in 0..1. `things` (batch, k, 3) are mean colours, NaN where there is none.

        Colours are chosen so that things stand out, unless the scene names a colour.
        """
        count = len(scenes)
        kinds = torch.from_numpy(rng.choice(len(_SHARES), count, p=_SHARES))
        first, second = _colours(kinds, things, generator)
        for number, scene in enumerate(scenes):
            asked = _asked(scene)
            if asked is not None:
                kinds[number] = asked[0]
                if asked[1] is not None:
                    first[number] = torch.tensor(word_colour(asked[1], rng))
        mix = self._mix(kinds, size_px, rng, generator)
        painted = first.view(-1, 3, 1, 1) * (1 - mix) + second.view(-1, 3, 1, 1) * mix
        static = (kinds == STATIC).nonzero().squeeze(1)
        painted[static] = torch.rand((len(static), 3, size_px, size_px), generator=generator)
        return painted

    def _mix(
        self, kinds: torch.Tensor, size_px: int, rng: np.random.Generator, generator: torch.Generator
    ) -> torch.Tensor:
        """(batch, 3, size, size): how much of the second colour there is."""
        count = len(kinds)
        mix = torch.zeros(count, 3, size_px, size_px)
        angle, phase = uniform(generator, 0, 2 * math.pi, 2, count, 1, 1).unbind()
        line = torch.linspace(-1, 1, size_px)
        x, y = line.view(1, 1, -1), line.view(1, -1, 1)
        along, across = x * angle.cos() + y * angle.sin(), y * angle.cos() - x * angle.sin()
        gradient = (kinds == GRADIENT).nonzero().squeeze(1)
        mix[gradient] = (0.5 + 0.5 * along[gradient]).clamp(0, 1).unsqueeze(1)
        pattern = (kinds == PATTERN).nonzero().squeeze(1)
        pitch = uniform(generator, 4, 16, count, 1, 1)
        stripes, rows = torch.sin(along * pitch + phase), torch.sin(across * pitch)
        checks = torch.where(uniform(generator, 0, 1, count, 1, 1) < 0.5, stripes, stripes * rows)
        mix[pattern] = (checks[pattern] * 4).clamp(0, 1).unsqueeze(1)
        for number in (kinds == NOISE).nonzero().squeeze(1).tolist():
            mix[number] = self._noise(size_px, rng)
        return mix

    def _noise(self, size_px: int, rng: np.random.Generator) -> torch.Tensor:
        """(3, size, size): one field, and a little of another in each channel."""
        top, left = rng.integers(_FIELD_PX - size_px + 1, size=2)
        window = self._fields[:, top : top + size_px, left : left + size_px]
        base = window[int(rng.integers(_FIELDS))]
        own = window[torch.from_numpy(rng.integers(_FIELDS, size=3))]
        share = float(rng.uniform(0, 0.5))
        contrast = float(rng.uniform(0.5, 2.0))
        mixed = base * (1 - share) + own * share
        return ((mixed - 0.5) * contrast + 0.5).clamp(0, 1)


def _asked(scene: Scene | None) -> tuple[int, str | None] | None:
    """Kind and colour of the background that a scene's caption speaks of."""
    if scene is None:
        return None
    if scene.background:
        return PLAIN, scene.background
    if scene.layout is not Layout.EMPTY:
        return None
    said = scene.things[0].name
    if said.startswith("a plain "):
        return PLAIN, said.split()[2]
    kinds = {
        "random noise": STATIC,
        "an abstract texture": NOISE,
        "a colour gradient": GRADIENT,
        "a pattern": PATTERN,
    }
    return kinds.get(said, WHITE), None


def _colours(
    kinds: torch.Tensor, things: torch.Tensor, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Two colours (batch, 3) for each picture: of several pairs, the first that is far from the things."""
    count = len(kinds)
    drawn = torch.rand((count, CANDIDATES, 2, 3), generator=generator)
    pale = 0.6 + 0.4 * drawn
    drawn = torch.where(torch.rand((count, CANDIDATES, 1, 1), generator=generator) < 0.4, pale, drawn)
    white = (kinds == WHITE).view(-1, 1, 1, 1)
    drawn = torch.where(white, 1 - 0.04 * drawn, drawn)
    drawn[:, -1] = torch.where(white[:, 0], 0.12 * drawn[:, -1], drawn[:, -1])  # dark, for white things
    distance = (drawn.unsqueeze(2) - things[:, None, :, None]).abs().sum(-1).amin(-1)
    nearest = distance.nan_to_num(nan=3.0).amin(-1)
    good = (nearest > 0.5).float() * 10 - torch.arange(CANDIDATES) * (nearest > 0.5) + nearest.clamp(max=0.5)
    chosen = drawn[torch.arange(count), good.argmax(1)]
    return chosen[:, 0].clone(), chosen[:, 1].clone()
