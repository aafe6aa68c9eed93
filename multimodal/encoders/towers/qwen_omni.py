"""The towers of Qwen2.5-Omni's thinker: eyes like those of Qwen2.5-VL, and ears.

The ears: a mel spectrogram of 100 frames a second, cut into pieces of 2 s that do not see each other, four
frames to a row. So a recording has 25 rows a second, however long it is. How vLLM is given them: see
`multimodal.generation.omni_audio`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

from multimodal.config import VisionArgs
from multimodal.encoders.towers.base import Family, cannot_see, float_rows, read_config, read_processor
from multimodal.encoders.towers.qwen_vl import Processor, QwenTower, merged, with_seconds
from multimodal.encoders.towers.weights import build, dtype_of, fill, part
from multimodal.types import SAMPLE_RATE_HZ, Audio, GeneratorEmbedding, Image, MediaKind, Video

if TYPE_CHECKING:
    import torch
    from transformers.models.qwen2_5_omni.configuration_qwen2_5_omni import (
        Qwen2_5OmniAudioEncoderConfig,
        Qwen2_5OmniVisionEncoderConfig,
    )

VISION = part(("thinker.visual.", ""), ("visual.", ""))
AUDIO = part(("thinker.audio_tower.", ""), ("audio_tower.", ""))
"""In a checkpoint of the whole model, and in one of the thinker alone."""

LEAST_FRAMES = 3
"""Fewer make no row."""


class FeatureExtractor(Protocol):
    """What is used of transformers' WhisperFeatureExtractor."""

    n_fft: int
    """Samples that one mel frame looks at."""
    hop_length: int
    """Samples from one mel frame to the next."""
    n_samples: int
    """What the model's own processor fills recordings up to."""

    def __call__(self, raw_speech: object, **options: object) -> Mapping[str, torch.Tensor]:
        """`input_features` (1, mel bins, frames) and `attention_mask` (1, frames)."""
        ...


class OmniProcessor(Processor, Protocol):
    """What is used of transformers' Qwen2_5OmniProcessor."""

    feature_extractor: FeatureExtractor


class Sized(Protocol):
    """Its part that takes videos."""

    size: Mapping[str, int]
    """Pixels of all frames together, least and most."""


class Hearing(Protocol):
    """What the audio tower gives."""

    last_hidden_state: torch.Tensor
    """(rows, hidden_size)."""


class Ears:
    """The audio tower, its projector included."""

    def __init__(self, tower: torch.nn.Module, extractor: FeatureExtractor) -> None:
        self._tower, self._extractor = tower, extractor

    def hear(self, recording: Audio) -> GeneratorEmbedding:
        """25 rows a second. A recording too short for a row is heard with silence after it."""
        import torch

        frames = self._frames(recording).to(next(self._tower.parameters()))
        lengths = torch.tensor([frames.shape[1]], device=frames.device)
        heard = cast(Hearing, self._tower(frames, feature_lens=lengths, aftercnn_lens=(lengths - 1) // 2 + 1))
        return GeneratorEmbedding(rows=float_rows(heard.last_hidden_state), kind=MediaKind.AUDIO, whole=True)

    def _frames(self, recording: Audio) -> torch.Tensor:
        """(mel bins, frames): those that the model's processor makes, which fills every recording up with
        minutes of silence first. As much of it as the last frame looks at gives the same."""
        import numpy as np

        extractor = self._extractor
        missing = (LEAST_FRAMES - 1) * extractor.hop_length + 1 - len(recording.samples)
        samples = np.pad(recording.samples, (0, max(0, missing)))
        filled = max(len(samples), min(len(samples) + extractor.n_fft, extractor.n_samples))
        made = extractor(
            samples,
            sampling_rate=SAMPLE_RATE_HZ,
            padding="max_length",
            max_length=filled,
            truncation=False,
            return_attention_mask=True,
            return_tensors="pt",
        )
        return made["input_features"][0, :, : int(made["attention_mask"].sum())]


@dataclass(frozen=True, slots=True)
class OmniTower:
    """Eyes and ears, or only those that are wanted. Implements `Family`."""

    eyes: QwenTower | None
    ears: Ears | None

    def pictures(self, images: Sequence[Image]) -> list[GeneratorEmbedding]:
        """As Qwen2.5-VL."""
        return self._seeing("image").pictures(images)

    def videos(self, videos: Sequence[Video]) -> list[GeneratorEmbedding]:
        """As Qwen2.5-VL: the frames alone. Their sound is a recording of its own."""
        return self._seeing("video").videos(videos)

    def recordings(self, recordings: Sequence[Audio]) -> list[GeneratorEmbedding]:
        """One after the other: half an hour of sound fills the memory that a batch would need."""
        if self.ears is None:
            raise cannot_see("audio")
        return [self.ears.hear(recording) for recording in recordings]

    def _seeing(self, kind: str) -> QwenTower:
        if self.eyes is None:
            raise cannot_see(kind)
        return self.eyes


def open_family(folder: Path, args: VisionArgs) -> Family:
    """Only the towers that `args.kinds` needs are loaded.

    Raises ConfigError where the folder holds no Qwen2.5-Omni.
    """
    config = read_config(folder)
    thinker = getattr(config, "thinker_config", config)
    processor = cast(OmniProcessor, read_processor(folder))
    eyes = _eyes(folder, args, thinker.vision_config, processor) if args.kinds & {"image", "video"} else None
    ears = _ears(folder, args, thinker.audio_config, processor) if "audio" in args.kinds else None
    return OmniTower(eyes, ears)


def _eyes(
    folder: Path, args: VisionArgs, config: Qwen2_5OmniVisionEncoderConfig, processor: OmniProcessor
) -> QwenTower:
    from transformers.models.qwen2_5_omni.modeling_qwen2_5_omni import Qwen2_5OmniVisionEncoder
    from transformers.models.qwen2_5_omni.processing_qwen2_5_omni import Qwen2_5OmniProcessorKwargs

    # Omni's processor has a size of its own for videos, whatever the checkpoint says. QwenTower calls
    # only the part that takes videos, which does not know.
    defaults = vars(Qwen2_5OmniProcessorKwargs)["_defaults"]
    cast(Sized, processor.video_processor).size = defaults["videos_kwargs"]["size"]
    visual = build(lambda: Qwen2_5OmniVisionEncoder(config))
    fill(visual, folder, VISION, dtype_of(folder, args.dtype), args.device)
    return QwenTower(visual, config.spatial_merge_size, processor, merged, with_seconds)


def _ears(
    folder: Path, args: VisionArgs, config: Qwen2_5OmniAudioEncoderConfig, processor: OmniProcessor
) -> Ears:
    from transformers.models.qwen2_5_omni.modeling_qwen2_5_omni import Qwen2_5OmniAudioEncoder

    tower = build(lambda: Qwen2_5OmniAudioEncoder(config))
    fill(tower, folder, AUDIO, dtype_of(folder, args.dtype), args.device)
    return Ears(tower, processor.feature_extractor)
