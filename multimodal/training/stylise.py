"""Redraws icons in other styles, all at once: hue, grey, posterised, line drawings, silhouettes, two tones.

Pictures here are (n, 4, side, side) float32 in 0..1, premultiplied.
"""

from __future__ import annotations

import math

import torch
from torch.nn.functional import max_pool2d

from multimodal.training.plan import Style

LUMA = torch.tensor([0.299, 0.587, 0.114])
"""ITU-R BT.601."""
_TO_YIQ = torch.tensor([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])
_FROM_YIQ = torch.linalg.inv(_TO_YIQ)


def uniform(generator: torch.Generator, low: float, high: float, *shape: int) -> torch.Tensor:
    """Random numbers of a shape, float32."""
    return torch.rand(shape, generator=generator) * (high - low) + low


def stylise(pictures: torch.Tensor, styles: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Each picture in its style (n,), then a little of its own saturation and shading."""
    pictures = _recolour(pictures, styles, generator)
    for style, draw in _DRAWERS.items():
        rows = (styles == style).nonzero().squeeze(1)
        if len(rows):
            pictures[rows] = draw(pictures[rows], generator)
    return _shade(pictures, generator)


def hue_matrices(turns: torch.Tensor, saturations: torch.Tensor) -> torch.Tensor:
    """(n, 3, 3) matrices that turn the hue by radians and scale the saturation, at the same luma."""
    cos, sin = turns.cos() * saturations, turns.sin() * saturations
    chroma = torch.zeros(len(turns), 3, 3)
    chroma[:, 0, 0] = 1
    chroma[:, 1, 1], chroma[:, 1, 2] = cos, -sin
    chroma[:, 2, 1], chroma[:, 2, 2] = sin, cos
    matrices: torch.Tensor = _FROM_YIQ @ chroma @ _TO_YIQ
    return matrices


def _recolour(pictures: torch.Tensor, styles: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    count = len(pictures)
    turns = uniform(generator, -0.06, 0.06, count)
    saturations = uniform(generator, 0.75, 1.25, count)
    wild = uniform(generator, -math.pi, math.pi, count)
    turns = torch.where(styles == Style.HUE, wild, turns)
    saturations = torch.where(styles == Style.GREY, torch.zeros(count), saturations)
    colours, alpha = pictures[:, :3], pictures[:, 3:]
    mixed = torch.bmm(hue_matrices(turns, saturations), colours.flatten(2)).view_as(colours)
    mixed = torch.where((styles == Style.INVERTED).view(-1, 1, 1, 1), alpha - mixed, mixed)
    return torch.cat([mixed.clamp(min=0).minimum(alpha), alpha], 1)


def _posterise(pictures: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    levels = torch.randint(2, 5, (len(pictures), 1, 1, 1), generator=generator)
    colours = (pictures[:, :3] * levels).round() / levels
    return torch.cat([colours.minimum(pictures[:, 3:]), pictures[:, 3:]], 1)


def _edges(pictures: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """(n, 1, side, side): where colour or alpha changes, by morphological gradient."""
    side = 3 if pictures.shape[-1] < 64 or torch.rand((), generator=generator) < 0.5 else 5
    swell = max_pool2d(pictures, side, 1, side // 2) + max_pool2d(-pictures, side, 1, side // 2)
    gain = uniform(generator, 2.0, 5.0, len(pictures), 1, 1, 1)
    return (swell.amax(1, keepdim=True) * gain - 0.35).clamp(0, 1)


def _lines(pictures: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Lines alone, in one colour, dark or light."""
    edges = _edges(pictures, generator)
    colour = uniform(generator, 0.0, 0.3, len(pictures), 3, 1, 1)
    light = torch.rand((len(pictures), 1, 1, 1), generator=generator) < 0.25
    return torch.cat([torch.where(light, 1 - colour, colour) * edges, edges], 1)


def _line_art(pictures: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Dark lines on a filling of one light colour, or on the picture's own colours."""
    edges, alpha = _edges(pictures, generator), pictures[:, 3:]
    filling = alpha * uniform(generator, 0.8, 1.0, len(pictures), 3, 1, 1)
    own = torch.rand((len(pictures), 1, 1, 1), generator=generator) < 0.4
    colours = torch.where(own, pictures[:, :3], filling) * (1 - edges)
    return torch.cat([colours, torch.maximum(alpha, edges)], 1)


def _silhouette(pictures: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    colour = uniform(generator, 0.0, 1.0, len(pictures), 3, 1, 1)
    return torch.cat([pictures[:, 3:] * colour, pictures[:, 3:]], 1)


def _smooth(pictures: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Thin lines taken away, dark ones (closing) or light ones (opening), as in styles without outlines."""
    side = 5 if pictures.shape[-1] >= 64 else 3
    sign = 1 - 2 * (torch.rand((len(pictures), 1, 1, 1), generator=generator) < 0.3).float()
    swollen = max_pool2d(pictures * sign, side, 1, side // 2)
    return -max_pool2d(-swollen, side, 1, side // 2) * sign


def _two_tone(pictures: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Two colours, divided at the picture's own mean luma: dark ink, or ink alone without paper."""
    alpha = pictures[:, 3:]
    luma = (pictures[:, :3] * LUMA.view(1, 3, 1, 1)).sum(1, keepdim=True)
    mean = luma.sum((2, 3), keepdim=True) / alpha.sum((2, 3), keepdim=True).clamp(min=1)
    paper = ((luma - mean * alpha) * 12 + 0.5).clamp(0, 1).minimum(alpha)
    ink = uniform(generator, 0.0, 0.45, len(pictures), 3, 1, 1)
    colours = paper + (alpha - paper) * ink
    bare = torch.rand((len(pictures), 1, 1, 1), generator=generator) < 0.4
    cut = torch.cat([(alpha - paper) * ink, alpha - paper], 1)
    return torch.where(bare, cut, torch.cat([colours, alpha], 1))


def _shade(pictures: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Light from one side on some, as on drawings that imitate solid things; in place."""
    rows = (torch.rand(len(pictures), generator=generator) < 0.35).nonzero().squeeze(1)
    count, side = len(rows), pictures.shape[-1]
    strength = uniform(generator, 0.0, 0.35, count, 1, 1)
    angle = uniform(generator, 0.0, 2 * math.pi, count, 1, 1)
    line = torch.linspace(-1, 1, side)
    ramp = line.view(1, 1, -1) * angle.cos() + line.view(1, -1, 1) * angle.sin()
    chosen = pictures[rows]
    pictures[rows, :3] = (chosen[:, :3] * (1 + strength * ramp).unsqueeze(1)).minimum(chosen[:, 3:])
    return pictures


_DRAWERS = {
    Style.POSTER: _posterise,
    Style.LINES: _lines,
    Style.LINE_ART: _line_art,
    Style.SILHOUETTE: _silhouette,
    Style.TWO_TONE: _two_tone,
    Style.SMOOTHED: _smooth,
}
