"""ImageEncoder's backends: size and colours of a picture, and its retrieval vector where there is a model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

from multimodal.encoders.checkpoint import Checkpoint, load_vision_tower, read_checkpoint
from multimodal.encoders.colours import dominant_colours
from multimodal.types import Image, ImageFeatures

if TYPE_CHECKING:
    import PIL.Image
    import torch

    Preprocess = Callable[[PIL.Image.Image], torch.Tensor]


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


class OpenClipImageEncoder:
    """The image tower of an open_clip model folder, with the preprocessing that the folder asks for.

    Raises ConfigError where the folder is not an open_clip model or the weights do not fit it.
    """

    def __init__(self, folder: Path, device: str = "cpu") -> None:
        checkpoint = read_checkpoint(folder)
        self._device = device
        self._tower = load_vision_tower(checkpoint).to(device)
        self._preprocess = _preprocess(checkpoint, self._tower)
        self._colours = ColourEncoder()

    def encode(self, images: Sequence[Image]) -> list[ImageFeatures]:
        """Size, colours and unit vectors (embed_dim,), in order, by one forward pass."""
        if not images:
            return []
        described = self._colours.encode(images)
        vectors = self._vectors(images).cpu().numpy()
        return [replace(one, vector=vector) for one, vector in zip(described, vectors, strict=True)]

    def _vectors(self, images: Sequence[Image]) -> torch.Tensor:
        """(n, embed_dim) float32 on the device."""
        import PIL.Image
        import torch

        with torch.inference_mode():
            batch = torch.stack([self._preprocess(PIL.Image.fromarray(image.pixels)) for image in images])
            output = self._tower(batch.to(self._device))
            # CoCa's towers also return their tokens.
            vectors = cast("torch.Tensor", output[0] if isinstance(output, tuple) else output)
            return torch.nn.functional.normalize(vectors.float(), dim=-1)


def _preprocess(checkpoint: Checkpoint, tower: torch.nn.Module) -> Preprocess:
    """The folder's own resizing and normalisation, at the size that its tower takes."""
    from open_clip.transform import (  # type: ignore[import-untyped]
        PreprocessCfg,
        image_transform_v2,
        merge_preprocess_dict,
    )

    config = merge_preprocess_dict(PreprocessCfg(), dict(checkpoint.preprocess))
    # A tower knows its size best: open_clip itself lets it overrule the configuration.
    config["size"] = getattr(tower, "image_size", config["size"])
    return cast("Preprocess", image_transform_v2(PreprocessCfg(**config), is_train=False))
