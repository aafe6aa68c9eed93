"""The tower of Qwen2.5-VL: pictures in their own proportions, videos on a clock.

Rows are what vLLM takes as `image_embeds` and `video_embeds`, with the grid of patches beside them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeAlias, cast

from multimodal.config import VisionArgs
from multimodal.encoders.towers import clock
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

Grid: TypeAlias = tuple[int, int, int]

WEIGHTS = part(("model.visual.", ""), ("visual.", ""))
"""Names since transformers 4.52, and those of Qwen's own checkpoints, without the level `model.`."""


class VisionOutput(Protocol):
    """What Qwen's towers of transformers give."""

    pooler_output: torch.Tensor
    """(tokens, hidden_size), patches merged."""
    deepstack_features: Sequence[torch.Tensor]
    """Qwen3-VL only: (tokens, hidden_size) each."""


class Processor(Protocol):
    """What is used of transformers' processors."""

    image_processor: Callable[..., Mapping[str, torch.Tensor]]
    video_processor: VideoProcessor


class VideoProcessor(Protocol):
    """Frames to patches."""

    temporal_patch_size: int

    def __call__(self, **options: object) -> Mapping[str, torch.Tensor]:
        """`pixel_values_videos` (patches, values) and `video_grid_thw` (videos, 3)."""
        ...


Join: TypeAlias = Callable[[VisionOutput], "torch.Tensor"]
"""The rows that vLLM takes, of what the tower gives."""
Timed: TypeAlias = Callable[[GeneratorEmbedding, Video, int], GeneratorEmbedding]
"""Adds when the steps of a video are; also given the frames in a step."""


class QwenTower:
    """A tower of Qwen's, of any version: they differ in what is joined to a row, and how time is told."""

    def __init__(
        self, visual: torch.nn.Module, merge: int, processor: Processor, join: Join, timed: Timed
    ) -> None:
        """`merge`: patches that become one row, in each direction."""
        self._visual, self._merge, self._processor = visual, merge, processor
        self._join, self._timed = join, timed

    def pictures(self, images: Sequence[Image]) -> list[GeneratorEmbedding]:
        """All in one forward pass; attention ends at the borders of a picture."""
        made = self._processor.image_processor(
            images=[picture(image) for image in images], return_tensors="pt"
        )
        rows = self._rows(made["pixel_values"], made["image_grid_thw"])
        return [
            GeneratorEmbedding(rows=float_rows(one), kind=MediaKind.IMAGE, whole=True, grid=grid)
            for one, grid in zip(rows, _grids(made["image_grid_thw"]), strict=True)
        ]

    def videos(self, videos: Sequence[Video]) -> list[GeneratorEmbedding]:
        """One after the other: their sizes differ widely."""
        return [self._video(video) for video in videos]

    def recordings(self, recordings: Sequence[Audio]) -> list[GeneratorEmbedding]:
        """There are no ears."""
        raise cannot_see("audio")

    def _video(self, video: Video) -> GeneratorEmbedding:
        from transformers.video_utils import VideoMetadata

        told = {name: value for name, value in clock.metadata(video).items() if name != "do_sample_frames"}
        processor = self._processor.video_processor
        made = processor(
            videos=[video.frames],
            video_metadata=[VideoMetadata(**told)],  # type: ignore[arg-type]
            do_sample_frames=False,
            return_tensors="pt",
        )
        (rows,) = self._rows(made["pixel_values_videos"], made["video_grid_thw"])
        (grid,) = _grids(made["video_grid_thw"])
        seen = GeneratorEmbedding(rows=float_rows(rows), kind=MediaKind.VIDEO, whole=True, grid=grid)
        return self._timed(seen, video, processor.temporal_patch_size)

    def _rows(self, patches: torch.Tensor, grids: torch.Tensor) -> tuple[torch.Tensor, ...]:
        import torch

        weight = next(self._visual.parameters())
        output = self._visual(patches.to(weight), grid_thw=grids.to(weight.device))
        rows = self._join(cast(VisionOutput, output))
        return torch.split(rows, [t * h * w // self._merge**2 for t, h, w in _grids(grids)])


def _grids(grids: torch.Tensor) -> list[Grid]:
    return [(int(t), int(h), int(w)) for t, h, w in grids.tolist()]


def merged(output: VisionOutput) -> torch.Tensor:
    """Qwen2.5: the merged patches alone."""
    return output.pooler_output


def with_seconds(seen: GeneratorEmbedding, video: Video, frames_per_step: int) -> GeneratorEmbedding:
    """Qwen2.5: positions in time follow from how far steps lie apart."""
    return replace(seen, seconds_per_step=clock.seconds_per_step(video.times_s, frames_per_step))


def open_family(folder: Path, args: VisionArgs) -> Family:
    """Raises ConfigError where the folder holds no Qwen2.5-VL."""
    from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VisionTransformerPretrainedModel

    vision = read_config(folder).vision_config
    visual = build(lambda: Qwen2_5_VisionTransformerPretrainedModel(vision))
    fill(visual, folder, WEIGHTS, dtype_of(folder, args.dtype), args.device)
    processor = cast(Processor, read_processor(folder))
    return QwenTower(visual, vision.spatial_merge_size, processor, merged, with_seconds)
