"""What all towers have in common: batches sorted by what they hold, and pixels as processors take them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar, cast

import numpy as np

from multimodal.config import VisionArgs
from multimodal.encoders.towers import clock
from multimodal.errors import ConfigError
from multimodal.stages import Seen
from multimodal.types import Audio, GeneratorEmbedding, Image, Video

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray
    from PIL.Image import Image as Picture
    from transformers import PretrainedConfig

    Pixels = NDArray[np.uint8]

M = TypeVar("M")


class Family(Protocol):
    """The tower of one family of models. Called in torch's inference mode; results in order, keys empty.

    A family that has no tower for a kind of media raises `cannot_see(kind)`.
    """

    def pictures(self, images: Sequence[Image]) -> list[GeneratorEmbedding]:
        """One forward pass for all of them."""
        ...

    def videos(self, videos: Sequence[Video]) -> list[GeneratorEmbedding]:
        """All frames of each."""
        ...

    def recordings(self, recordings: Sequence[Audio]) -> list[GeneratorEmbedding]:
        """All of each."""
        ...


class Tower:
    """A family's tower as VisionTower's backend. Implements `VisionBackend`."""

    def __init__(self, family: Family, max_pixels: int | None = None) -> None:
        """Pictures and frames of more than `max_pixels` are scaled down before the family's processor."""
        self._family = family
        self._max_pixels = max_pixels

    def see(self, batch: Sequence[tuple[Seen, Sequence[float]]]) -> list[GeneratorEmbedding]:
        """Rows for the generator, in order. A video is looked at as a whole, whatever moments are asked
        about: the model knows when each of its frames is.

        Raises ConfigError for what this family cannot see.
        """
        import torch

        seen = [self._fitted(medium) for medium, _ in batch]
        rows: dict[int, GeneratorEmbedding] = {}
        with torch.inference_mode():
            self._encode(seen, Image, self._family.pictures, rows)
            self._encode(seen, Video, self._family.videos, rows)
            self._encode(seen, Audio, self._family.recordings, rows)
        if len(rows) < len(seen):
            raise cannot_see(next(type(one).__name__ for place, one in enumerate(seen) if place not in rows))
        return [rows[place] for place in range(len(seen))]

    def _encode(
        self,
        seen: Sequence[Seen],
        kind: type[M],
        encode: Callable[[Sequence[M]], list[GeneratorEmbedding]],
        rows: dict[int, GeneratorEmbedding],
    ) -> None:
        """Those of one kind together."""
        mine = {place: one for place, one in enumerate(seen) if isinstance(one, kind)}
        if mine:
            rows.update(zip(mine, encode(list(mine.values())), strict=True))

    def _fitted(self, medium: Seen) -> Seen:
        if isinstance(medium, Image) and self._max_pixels:
            return replace(medium, pixels=scaled(medium.pixels, self._max_pixels))
        if isinstance(medium, Video) and self._max_pixels:
            frames = np.stack([scaled(frame, self._max_pixels) for frame in medium.frames])
            return clock.filled(replace(medium, frames=frames))
        return clock.filled(medium) if isinstance(medium, Video) else medium


def cannot_see(what: str) -> ConfigError:
    """What this family has no tower for."""
    return ConfigError(f"The vision tower of the generator's model cannot encode this kind of media: {what}.")


def scaled(pixels: Pixels, max_pixels: int) -> Pixels:
    """(height, width, 3), of `max_pixels` at most, in the same shape."""
    from PIL import Image as Pillow

    height, width = pixels.shape[:2]
    factor = math.sqrt(max_pixels / (height * width))
    if factor >= 1:
        return pixels
    size = max(1, int(width * factor)), max(1, int(height * factor))
    return np.array(Pillow.fromarray(pixels).resize(size, Pillow.Resampling.BICUBIC))


def picture(image: Image) -> Picture:
    """As processors take it: what they get in vLLM, too."""
    from PIL import Image as Pillow

    return Pillow.fromarray(image.pixels)


def float_rows(rows: torch.Tensor) -> NDArray[np.float32]:
    """(tokens, hidden_size), whatever the tower computes in."""
    found: NDArray[np.float32] = rows.float().cpu().contiguous().numpy()
    return found


def read_config(folder: Path) -> PretrainedConfig:
    """transformers' configuration of the checkpoint, from the folder alone; ConfigError where it has none."""
    from transformers import AutoConfig

    try:
        found = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        return cast("PretrainedConfig", found)
    except (OSError, ValueError) as error:
        raise ConfigError("transformers cannot read config.json in the model folder.") from error


def read_processor(folder: Path) -> object:
    """The checkpoint's processor, as vLLM loads it; ConfigError where it has none."""
    from transformers import AutoProcessor

    try:
        processor: object = AutoProcessor.from_pretrained(  # type: ignore[no-untyped-call]
            folder, local_files_only=True, trust_remote_code=False
        )
    except (OSError, ValueError) as error:
        raise ConfigError("The model folder has no processor that transformers can read.") from error
    return processor


Open = Callable[[Path, VisionArgs], Family]
"""How a family's tower is loaded."""
