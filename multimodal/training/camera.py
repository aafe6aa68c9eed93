"""What happens to a finished picture: light, blur, noise, compression, text on top, parts covered."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch.nn.functional import avg_pool2d

from multimodal.training.stylise import LUMA, uniform

_BLOCK = 8
_Change = Callable[[torch.Tensor, torch.Generator], torch.Tensor]


def dct_matrix() -> torch.Tensor:
    """(8, 8): the orthonormal DCT-II that JPEG uses."""
    place = torch.arange(_BLOCK)
    matrix = torch.cos(math.pi / _BLOCK * (place.view(1, -1) + 0.5) * place.view(-1, 1)) * math.sqrt(
        2 / _BLOCK
    )
    matrix[0] /= math.sqrt(2)
    return matrix


_DCT = dct_matrix()
# Coarser steps for higher frequencies, as in JPEG's own tables.
_STEPS = (1 + torch.arange(_BLOCK).view(-1, 1) + torch.arange(_BLOCK).view(1, -1)) / 255.0


def photograph(
    pictures: torch.Tensor, recolours: torch.Tensor, generator: torch.Generator, gentle: bool = False
) -> torch.Tensor:
    """(n, 3, size, size) in 0..1; those of `recolours` (n,) may also lose their colours."""
    pictures = _light(pictures, recolours, generator)
    often = 0.3 if gentle else 1.0
    pictures = _some(pictures, 0.15 * often, _blur, generator)
    pictures = _some(pictures, 0.08 * often, _cover, generator)
    pictures = _some(pictures, 0.2 * often, _grain, generator)
    pictures = _some(pictures, 0.12 * often, _compress, generator)
    return pictures.clamp(0, 1)


def _some(pictures: torch.Tensor, share: float, change: _Change, generator: torch.Generator) -> torch.Tensor:
    rows = (torch.rand(len(pictures), generator=generator) < share).nonzero().squeeze(1)
    if len(rows):
        pictures[rows] = change(pictures[rows], generator)
    return pictures


def _light(pictures: torch.Tensor, recolours: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Brightness, contrast, saturation; some pictures faint, some grey."""
    count = len(pictures)
    low = torch.rand(count, generator=generator) < 0.06
    contrast = torch.where(low, uniform(generator, 0.25, 0.6, count), uniform(generator, 0.8, 1.15, count))
    saturation = uniform(generator, 0.8, 1.2, count)
    grey = (torch.rand(count, generator=generator) < 0.06) & recolours
    saturation = torch.where(grey, torch.zeros(count), saturation)
    luma = (pictures * LUMA.view(1, 3, 1, 1)).sum(1, keepdim=True)
    pictures = luma + (pictures - luma) * saturation.view(-1, 1, 1, 1)
    middle = pictures.mean((1, 2, 3), keepdim=True)
    shift = uniform(generator, -0.06, 0.06, count, 1, 1, 1)
    return (middle + (pictures - middle) * contrast.view(-1, 1, 1, 1) + shift).clamp(0, 1)


def _blur(pictures: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    soft = avg_pool2d(pictures, 3, 1, 1, count_include_pad=False)
    softer = avg_pool2d(soft, 3, 1, 1, count_include_pad=False)
    return pictures + (softer - pictures) * uniform(generator, 0.3, 1.0, len(pictures), 1, 1, 1)


def _cover(pictures: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """A rectangle of one colour somewhere, up to a third of each side."""
    count, size = len(pictures), pictures.shape[-1]
    line = torch.linspace(-1, 1, size)
    x, y = uniform(generator, -1, 1, 2, count, 1, 1).unbind()
    width, height = uniform(generator, 0.1, 0.34, 2, count, 1, 1).unbind()
    inside = ((line.view(1, 1, -1) - x).abs() < width) & ((line.view(1, -1, 1) - y).abs() < height)
    return torch.where(inside.unsqueeze(1), uniform(generator, 0, 1, count, 3, 1, 1), pictures)


def _grain(pictures: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    noise = torch.randn(pictures.shape, generator=generator)
    return pictures + noise * uniform(generator, 0.0, 0.06, len(pictures), 1, 1, 1)


def _compress(pictures: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Blocks of 8 x 8 with coarse frequencies, as a strong JPEG has."""
    count, channels, size, _ = pictures.shape
    blocks = size // _BLOCK
    cut = pictures[..., : blocks * _BLOCK, : blocks * _BLOCK]
    tiles = cut.reshape(count, channels, blocks, _BLOCK, blocks, _BLOCK).transpose(3, 4)
    steps = _STEPS * uniform(generator, 3, 14, count, 1, 1, 1, 1, 1)
    waves = ((_DCT @ tiles @ _DCT.T) / steps).round() * steps
    done = (_DCT.T @ waves @ _DCT).transpose(3, 4).reshape(cut.shape)
    pictures = pictures.clone()
    pictures[..., : blocks * _BLOCK, : blocks * _BLOCK] = done
    return pictures
