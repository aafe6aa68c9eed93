"""The tower of LLaVA-OneVision: a picture as a whole and in tiles, a video frame by frame, pooled."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

from multimodal.config import VisionArgs
from multimodal.encoders.towers.base import (
    Family,
    cannot_see,
    float_rows,
    picture,
    read_config,
    read_processor,
)
from multimodal.encoders.towers.weights import build, dtype_of, fill, part
from multimodal.types import Audio, GeneratorEmbedding, Image, MediaKind, Video

if TYPE_CHECKING:
    import torch
    from transformers import LlavaOnevisionConfig, LlavaOnevisionModel, PretrainedConfig

WEIGHTS = part(
    ("model.vision_tower.vision_model.", "vision_tower."),
    ("vision_tower.vision_model.", "vision_tower."),
    ("model.vision_tower.", "vision_tower."),
    ("vision_tower.", "vision_tower."),
    ("model.multi_modal_projector.", "multi_modal_projector."),
    ("multi_modal_projector.", "multi_modal_projector."),
    ("model.image_newline", "image_newline"),
    ("image_newline", "image_newline"),
)
"""Names in files: with and without the outer `model.`; the level `vision_model.` went with transformers 5."""


class Output(Protocol):
    """What is used of transformers' answers."""

    pooler_output: Sequence[torch.Tensor]
    """(tokens, hidden_size) for each picture or video."""


class Processor(Protocol):
    """What is used of transformers' processors."""

    image_processor: Callable[..., Mapping[str, torch.Tensor]]
    video_processor: Callable[..., Mapping[str, torch.Tensor]]


class OneVisionTower:
    """One item after the other: numbers of tiles differ, and a picture with its tiles is a batch already."""

    def __init__(self, model: LlavaOnevisionModel, processor: Processor) -> None:
        """`model` holds no language model."""
        self._model, self._processor = model, processor

    def pictures(self, images: Sequence[Image]) -> list[GeneratorEmbedding]:
        """The picture as a whole, then its tiles without what pads them, each line of patches with an end."""
        return [self._picture(image) for image in images]

    def videos(self, videos: Sequence[Video]) -> list[GeneratorEmbedding]:
        """Frames with two by two patches pooled, and an end. vLLM takes no embeddings of videos of this
        family, so they are shown as a picture: what stands in a row is the same."""
        return [self._video(video) for video in videos]

    def recordings(self, recordings: Sequence[Audio]) -> list[GeneratorEmbedding]:
        """There are no ears."""
        raise cannot_see("audio")

    def _picture(self, image: Image) -> GeneratorEmbedding:
        made = self._processor.image_processor(images=[picture(image)], return_tensors="pt")
        output = self._model.get_image_features(
            pixel_values=self._like_weights(made["pixel_values"]), image_sizes=made["image_sizes"]
        )
        return _seen(output)

    def _video(self, video: Video) -> GeneratorEmbedding:
        made = self._processor.video_processor(videos=[video.frames], return_tensors="pt")
        frames = self._like_weights(made["pixel_values_videos"])
        return _seen(self._model.get_video_features(pixel_values_videos=frames))

    def _like_weights(self, pixels: torch.Tensor) -> torch.Tensor:
        return pixels.to(self._model.image_newline)


def _seen(output: object) -> GeneratorEmbedding:
    (rows,) = cast(Output, output).pooler_output
    return GeneratorEmbedding(rows=float_rows(rows), kind=MediaKind.IMAGE, whole=True)


def open_family(folder: Path, args: VisionArgs) -> Family:
    """Raises ConfigError where the folder holds no LLaVA-OneVision."""
    config = cast("LlavaOnevisionConfig", read_config(folder))
    model = build(lambda: _blind_to_words(config))
    fill(model, folder, WEIGHTS, dtype_of(folder, args.dtype), args.device)
    return OneVisionTower(model, cast(Processor, read_processor(folder)))


def _blind_to_words(config: LlavaOnevisionConfig) -> LlavaOnevisionModel:
    """transformers builds a language model with it: one without layers and words, which is then dropped."""
    from transformers import LlavaOnevisionModel

    config = copy.deepcopy(config)
    cast("PretrainedConfig", config.text_config).update({"num_hidden_layers": 0, "vocab_size": 1})
    model = LlavaOnevisionModel(config)  # type: ignore[no-untyped-call]
    del model.language_model
    return model
