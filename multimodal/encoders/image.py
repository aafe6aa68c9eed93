"""ImageEncoder's backends: size and colours of a picture, and its retrieval vector where there is a model."""

from __future__ import annotations

import ctypes
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

import numpy as np

from multimodal.encoders.checkpoint import (
    CONFIG_FILE,
    Checkpoint,
    load_vision_tower,
    read_checkpoint,
    read_logit_scale,
)
from multimodal.encoders.colours import dominant_colours
from multimodal.errors import ConfigError
from multimodal.types import Image, ImageFeatures

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    Size = tuple[int, int]
    """Height and width, pixels."""


class ColourEncoder:
    """Size and colours. Needs no model, so it is what a profile without an image tower runs."""

    def encode(self, images: Sequence[Image]) -> list[ImageFeatures]:
        """Features without a vector, in order."""
        return [
            ImageFeatures(
                sha256=image.sha256,
                width=image.width,
                height=image.height,
                colours=dominant_colours(image.pixels),
                vector=None,
            )
            for image in images
        ]


RESIZE_MODES = ("shortest", "longest", "squash")
INTERPOLATIONS = ("bicubic", "bilinear", "random")

LEAST_COSINE = 0.95
"""Of vectors in int8 with those in float32, of the pictures in `calibration`."""
BATCH = 16
"""Of these."""

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""glibc's names and numbers, from malloc.h."""
TRIM_THRESHOLD_BYTES = 256 << 20
MMAP_THRESHOLD_BYTES = 32 << 20
"""The highest that glibc takes (half of its HEAP_MAX_SIZE)."""


class OpenClipImageEncoder:
    """The image tower of an open_clip model folder, with the preprocessing that the folder asks for.

    Same vectors as open_clip's own, up to rounding, several times faster: see `Preprocess` and
    `fold_batch_norms`; benchmarks/image_encoder.py measures it. In int8 it is faster again, by half, and its
    vectors are near those: see `int8`. Raises ConfigError where the folder is not an open_clip model, the
    weights do not fit it, or it is no tower for int8.
    """

    def __init__(
        self, folder: Path, device: str = "cpu", compute_type: Literal["float32", "int8"] = "float32"
    ) -> None:
        import torch

        checkpoint = read_checkpoint(folder)
        tower = load_vision_tower(checkpoint)
        self._preprocess = Preprocess(checkpoint, tower, device)
        fold_batch_norms(tower)
        for weight in tower.parameters():
            if weight.ndim == 4:  # convolutions are faster where the channels of a pixel lie together
                weight.data = weight.data.contiguous(memory_format=torch.channels_last)
        self._tower = tower.to(device)
        if device == "cpu":
            keep_freed_memory()
        self._logit_scale = read_logit_scale(checkpoint)
        self._colours = ColourEncoder()
        if compute_type == "int8":
            self._use_int8()

    def encode(self, images: Sequence[Image]) -> list[ImageFeatures]:
        """Size, colours and unit vectors (embed_dim,), in order, by one forward pass."""
        if not images:
            return []
        described = self._colours.encode(images)
        vectors = self.vectors(images).cpu().numpy()
        return [
            replace(one, vector=vector, logit_scale=self._logit_scale)
            for one, vector in zip(described, vectors, strict=True)
        ]

    def vectors(self, images: Sequence[Image]) -> torch.Tensor:
        """(n, embed_dim) float32 on the device, unit length, of at least one picture."""
        import torch

        with torch.inference_mode():
            output = self._tower(self._preprocess(images))
            # CoCa's towers also return their tokens.
            vectors = cast("torch.Tensor", output[0] if isinstance(output, tuple) else output)
            return torch.nn.functional.normalize(vectors.float(), dim=-1)

    def _use_int8(self) -> None:
        import torch

        from multimodal.encoders import calibration, int8

        pictures = calibration.pictures()
        batches = [pictures[start : start + BATCH] for start in range(0, len(pictures), BATCH)]
        exact = torch.cat([self.vectors(batch) for batch in batches])
        int8.quantize(self._tower, [self._preprocess(batch) for batch in batches])
        cosines = (exact * torch.cat([self.vectors(batch) for batch in batches])).sum(dim=-1)
        if not cosines.min() >= LEAST_COSINE:  # nor where they are no numbers
            raise ConfigError(
                "In int8 this image tower sees something else: cosines with its vectors in float32 go down "
                f"to {float(cosines.min()):.2f}. Set image.compute_type to float32."
            )


def keep_freed_memory() -> None:
    """Let this process keep the memory that a batch frees for the next one, where the C library is glibc.

    By default glibc, depending on how the heap happens to lie, gives it back to the kernel after each batch,
    and every page of it must be faulted in again: a third of the time of a small tower (16 pictures of 96 px,
    8,700 faults). The price is what one batch takes, about 40 MB.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_TRIM_THRESHOLD, TRIM_THRESHOLD_BYTES)
        mallopt(M_MMAP_THRESHOLD, MMAP_THRESHOLD_BYTES)


class Preprocess:
    """The folder's own resizing and normalisation, at the size that its tower takes.

    What open_clip's `image_transform_v2` makes, but on bytes and in batches: torch resizes bytes many times
    faster than Pillow does, and no byte differs by more than one. Raises ConfigError for a way of resizing
    that open_clip does not have.
    """

    def __init__(self, checkpoint: Checkpoint, tower: torch.nn.Module, device: str) -> None:
        import torch
        from open_clip.transform import (  # type: ignore[import-untyped]
            PreprocessCfg,
            merge_preprocess_dict,
        )

        config = PreprocessCfg(**merge_preprocess_dict(PreprocessCfg(), dict(checkpoint.preprocess)))
        if config.resize_mode not in RESIZE_MODES or config.interpolation not in INTERPOLATIONS:
            raise ConfigError(
                f"preprocess_cfg in {CONFIG_FILE} has an unknown resize_mode or interpolation: "
                f"use one of {', '.join(RESIZE_MODES)}, and {' or '.join(INTERPOLATIONS)}."
            )
        # A tower knows its size best: open_clip itself lets it overrule the configuration.
        size = getattr(tower, "image_size", config.size)
        self._size: Size = (size, size) if isinstance(size, int) else tuple(size)
        self._mode: str = config.resize_mode
        # "random" is for training: open_clip, too, then takes bicubic.
        self._interpolation = "bilinear" if config.interpolation == "bilinear" else "bicubic"
        self._fill: int = config.fill_color
        self._device = device
        self._mean, self._std = (
            torch.tensor(value, dtype=torch.float32, device=device).reshape(-1, 1, 1)
            for value in (config.mean, config.std)
        )

    def __call__(self, images: Sequence[Image]) -> torch.Tensor:
        """(n, 3, height, width) float32 on the device, in channels_last order."""
        import torch

        fitted = torch.stack([self._fit(image.pixels) for image in images]).to(self._device)
        values = fitted.contiguous(memory_format=torch.channels_last).float().div_(255)
        return values.sub_(self._mean).div_(self._std)

    def _fit(self, pixels: NDArray[np.uint8]) -> torch.Tensor:
        """(3, height, width) bytes of the tower's size."""
        import torch
        from open_clip.transform import center_crop_or_pad

        # No copy, and no warning, although pixels from the object store are read-only. torch aborts the
        # process at negative strides, which ascontiguousarray removes.
        whole = torch.from_dlpack(np.ascontiguousarray(pixels)).permute(2, 0, 1)  # type: ignore[attr-defined]
        resized = torch.nn.functional.interpolate(
            whole[None],
            resized_size(cast("Size", tuple(whole.shape[1:])), self._size, self._mode),
            mode=self._interpolation,
            antialias=True,
        )
        return cast("torch.Tensor", center_crop_or_pad(resized[0], list(self._size), fill=self._fill))


def resized_size(picture: Size, target: Size, mode: str) -> Size:
    """What a picture is resized to before it is cropped or padded to `target`: rounded as open_clip does."""
    if mode == "squash":
        return target
    (height, width), (target_height, target_width) = picture, target
    if mode == "shortest" and target_height == target_width:  # torchvision's Resize, which rounds down
        shortest = min(picture)
        return target_height * height // shortest, target_height * width // shortest
    ratios = height / target_height, width / target_width
    ratio = max(ratios) if mode == "longest" else min(ratios)
    # At least a pixel: open_clip fails at a line that is longer than wide by more than the target's size.
    return max(1, round(height / ratio)), max(1, round(width / ratio))


def fold_batch_norms(tower: torch.nn.Module) -> None:
    """Fold each batch normalisation into the convolution before it: in evaluation both are linear.

    Changes the tower, which must be in evaluation mode. What cannot be folded stays as it is.
    """
    import torch
    from timm.layers.norm_act import BatchNormAct2d
    from torch.nn.utils.fusion import fuse_conv_bn_eval

    for conv_name, norm_name in _foldable(tower):
        conv = cast("torch.nn.Conv2d", tower.get_submodule(conv_name))
        norm = cast("torch.nn.BatchNorm2d", tower.get_submodule(norm_name))
        rest = [norm.drop, norm.act] if isinstance(norm, BatchNormAct2d) else []
        tower.set_submodule(conv_name, fuse_conv_bn_eval(conv, norm))
        tower.set_submodule(norm_name, torch.nn.Sequential(*rest))


def _foldable(tower: torch.nn.Module) -> list[tuple[str, str]]:
    """Names of convolutions and of the batch normalisations that alone read their outputs."""
    import torch
    from timm.layers.conv2d_same import Conv2dSame
    from timm.layers.norm_act import BatchNormAct2d

    from multimodal.encoders.tracing import called_modules

    # Not their subclasses: some standardise their weights in use.
    convs, norms = {torch.nn.Conv2d, Conv2dSame}, {torch.nn.BatchNorm2d, BatchNormAct2d}

    def is_leaf(m: torch.nn.Module) -> bool:
        return type(m) in convs | norms or not any(type(part) in norms for part in m.modules())

    called = called_modules(tower, is_leaf)
    calls = Counter(called.values())
    pairs = [
        (node, after)
        for node, conv in called.items()
        for after in node.users
        if type(conv) in convs and type(called.get(after)) in norms and len(node.users) == 1
    ]
    return [(str(a.target), str(b.target)) for a, b in pairs if calls[called[a]] == calls[called[b]] == 1]
