"""vLLM's Qwen2.5-Omni, which takes embeddings of recordings, too. Only vLLM imports it: see `omni_audio`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from vllm.model_executor.models.qwen2_5_omni_thinker import (
    Qwen2_5OmniThinkerDummyInputsBuilder,
    Qwen2_5OmniThinkerForConditionalGeneration,
    Qwen2_5OmniThinkerMultiModalDataParser,
    Qwen2_5OmniThinkerMultiModalProcessor,
    Qwen2_5OmniThinkerProcessingInfo,
)
from vllm.multimodal import MULTIMODAL_REGISTRY
from vllm.multimodal.inputs import MultiModalFieldConfig
from vllm.multimodal.parse import DictEmbeddingItems

from multimodal.generation.omni_audio import AUDIO_ROWS, FRAMES_PER_ROW

if TYPE_CHECKING:
    from transformers.feature_extraction_utils import BatchFeature
    from vllm.model_executor.models.interfaces import MultiModalEmbeddings
    from vllm.model_executor.models.qwen2_5_vl import Qwen2_5_VLImageInputs, Qwen2_5_VLVideoInputs
    from vllm.multimodal.parse import ModalityDataItems, MultiModalDataParser

FRAMES = "audio_feature_lengths"
"""vLLM's name for the mel frames of each recording: it counts placeholders and positions from them."""


def _fields(_: Mapping[str, object]) -> dict[str, MultiModalFieldConfig]:
    return {
        AUDIO_ROWS: MultiModalFieldConfig.batched("audio"),
        FRAMES: MultiModalFieldConfig.batched("audio", keep_on_cpu=True),
    }


class Parser(Qwen2_5OmniThinkerMultiModalDataParser):
    """Reads `{"audio_embeds": [(rows, width), ...]}` where a recording is expected."""

    def _parse_audio_data(self, data: Any) -> ModalityDataItems[Any, Any] | None:
        if not (isinstance(data, dict) and AUDIO_ROWS in data):
            return super()._parse_audio_data(data)
        rows = self._checked(data[AUDIO_ROWS])
        items: dict[str, Any] = {
            AUDIO_ROWS: rows,
            FRAMES: torch.tensor([FRAMES_PER_ROW * len(one) for one in rows]),
        }
        return DictEmbeddingItems(
            items, modality="audio", required_fields=items.keys(), fields_factory=_fields
        )

    def _checked(self, items: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Raises ValueError for rows that would end the engine, which checks nothing."""
        for rows in items:
            if rows.ndim != 2 or not len(rows) or rows.shape[1] != self.expected_hidden_size:
                raise ValueError(
                    f"{AUDIO_ROWS} must be (rows, {self.expected_hidden_size}), not {tuple(rows.shape)}"
                )
        return list(items)


class ProcessingInfo(Qwen2_5OmniThinkerProcessingInfo):
    """vLLM's, with our parser."""

    def get_data_parser(self) -> MultiModalDataParser:
        """Set up as vLLM's own."""
        return Parser(
            spatial_merge_size=self.get_hf_config().vision_config.spatial_merge_size,  # type: ignore[no-untyped-call]
            target_sr=self.get_feature_extractor().sampling_rate,
            target_channels=self.get_target_channels(),
            expected_hidden_size=self._get_expected_hidden_size(),
            allow_missing_mm_embeddings=self.allow_missing_mm_embeddings,
        )

    def get_mm_max_tokens_per_item(
        self, seq_len: int, mm_counts: Mapping[str, int] | None = None
    ) -> Mapping[str, int]:
        """Where no tower works on it, a recording may fill the context (`seq_len`). vLLM makes room for 30 s,
        and refuses longer ones."""
        most = dict(super().get_mm_max_tokens_per_item(seq_len, mm_counts))
        if (
            "audio" in most
            and self.ctx.model_config.get_multimodal_config().get_limit_per_prompt("audio") == 0
        ):
            most["audio"] = seq_len
        return most


class Processor(Qwen2_5OmniThinkerMultiModalProcessor[ProcessingInfo]):
    """vLLM's, which lets the rows through."""

    def _get_mm_fields_config(
        self, hf_inputs: BatchFeature, hf_processor_mm_kwargs: Mapping[str, object]
    ) -> Mapping[str, MultiModalFieldConfig]:
        theirs = super()._get_mm_fields_config(hf_inputs, hf_processor_mm_kwargs)
        return {**theirs, AUDIO_ROWS: _fields({})[AUDIO_ROWS]}


@MULTIMODAL_REGISTRY.register_processor(
    Processor, info=ProcessingInfo, dummy_inputs=Qwen2_5OmniThinkerDummyInputsBuilder
)
class OmniThinker(Qwen2_5OmniThinkerForConditionalGeneration):
    """vLLM's thinker, whose towers need not run, nor be there."""

    def embed_multimodal(self, **kwargs: object) -> MultiModalEmbeddings:
        """Rows of each item; vLLM calls it with items of one modality and one form."""
        rows = kwargs.get(AUDIO_ROWS)
        if rows is None:
            return super().embed_multimodal(**kwargs)
        assert isinstance(rows, torch.Tensor | list)  # stacked where all have the same length
        return list(rows)

    def _process_image_input(self, image_input: Qwen2_5_VLImageInputs) -> tuple[torch.Tensor, ...]:
        return self._by_item(super()._process_image_input(image_input), image_input["image_grid_thw"])

    def _process_video_input(self, video_input: Qwen2_5_VLVideoInputs) -> Any:
        return self._by_item(super()._process_video_input(video_input), video_input["video_grid_thw"])

    def _by_item(
        self, rows: torch.Tensor | tuple[torch.Tensor, ...], grids: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        """vLLM 0.32 splits what its tower makes by item, but forgets to split embeddings: each row would then
        count as an item, which ends the engine."""
        if not isinstance(rows, torch.Tensor):
            return rows
        merged = self.config.vision_config.spatial_merge_size**2  # type: ignore[union-attr]
        return torch.split(rows, (grids.prod(-1) // merged).tolist())
