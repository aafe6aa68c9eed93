"""What a generator looks at, as vLLM takes it: rows from VisionTower, or pixels.

    picture            pixels     {"image": [picture, ...]}
    video              pixels     {"video": [(frames, when they are), ...]}, or its frames as pictures
    rows with a grid   embedding  {"image": {"image_embeds": ..., "image_grid_thw": ...}}, "video" likewise
    rows of a sound    embedding  {"audio": {"audio_embeds": [...]}}
    other rows         embedding  {"image": [rows, ...]}, one item, or one for each row

vLLM takes one form for all items of a modality in a prompt. Where an embedding has a key, that is its hash
there (`multi_modal_uuids`), so that nothing is hashed twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, TypeAlias, cast

import numpy as np

from multimodal.encoders.towers import clock
from multimodal.generation.omni_audio import audio_items
from multimodal.generation.prompt import VisualSize
from multimodal.types import GeneratorEmbedding, Image, MediaKind, Video, Visual

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray
    from PIL.Image import Image as Picture

PIXELS_PER_TOKEN = 28 * 28
"""Qwen2.5-VL: 14-pixel patches, merged two by two. Only an estimate of what a picture will take."""
STAMP_TOKENS = 16
"""Of what Qwen3-VL writes before each step of a video ("<1234.5 seconds>" and two markers), at most."""

Items: TypeAlias = "list[torch.Tensor] | list[Picture] | list[tuple[NDArray[np.uint8], dict[str, object]]]"
Fields: TypeAlias = "dict[str, torch.Tensor | list[torch.Tensor] | list[list[float]]]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """What stands beside the token ids of vLLM's prompt."""

    data: dict[str, Items | Fields]
    """`multi_modal_data`."""
    uuids: dict[str, list[str | None]]
    """`multi_modal_uuids`: of modalities where an item has a key; None: vLLM hashes that item's content."""


def inputs(visuals: Sequence[Visual], *, videos_whole: bool) -> Inputs:
    """Of the visuals of a prompt, in order. `videos_whole`: a video is one item, not its frames.

    Raises ValueError for pixels and embeddings, or embeddings of two forms, of one modality.
    """
    groups: dict[str, list[Visual]] = {}
    for visual in visuals:
        groups.setdefault(_modality(visual, videos_whole), []).append(visual)
    data = {modality: _data(modality, group) for modality, group in groups.items()}
    uuids = {modality: list(chain.from_iterable(map(_uuids, group))) for modality, group in groups.items()}
    return Inputs(data=data, uuids={modality: ids for modality, ids in uuids.items() if any(ids)})


def size(visual: Visual, *, videos_whole: bool = False) -> VisualSize:
    """How much of the context it takes: exactly for rows, about for pixels and the times of videos."""
    kind = MediaKind(_modality(visual, videos_whole))
    if isinstance(visual, GeneratorEmbedding):
        count = len(visual.rows)
        stamps = STAMP_TOKENS * len(visual.timestamps_s)
        return VisualSize(items=1 if visual.whole else count, tokens=count + stamps, kind=kind)
    frames = visual.pixels[None] if isinstance(visual, Image) else visual.frames
    count, height, width, _ = frames.shape
    tokens = count * max(1, height * width // PIXELS_PER_TOKEN)
    return VisualSize(items=1 if kind is MediaKind.VIDEO else count, tokens=tokens, kind=kind)


def _modality(visual: Visual, videos_whole: bool) -> str:
    """vLLM's word for it."""
    if isinstance(visual, GeneratorEmbedding):
        return visual.kind.value
    return MediaKind.VIDEO.value if videos_whole and isinstance(visual, Video) else MediaKind.IMAGE.value


def _data(modality: str, visuals: Sequence[Visual]) -> Items | Fields:
    seen = [visual for visual in visuals if isinstance(visual, GeneratorEmbedding)]
    if not seen:
        return _pixels(modality, cast("Sequence[Image | Video]", visuals))
    gridded = sum(one.grid is not None for one in seen)
    if len(seen) < len(visuals) or gridded not in (0, len(seen)):
        raise ValueError(f"vLLM takes items of one modality in one form, and this prompt mixes {modality}s")
    if modality == MediaKind.AUDIO.value:
        return cast(Fields, audio_items([one.rows for one in seen]))
    if gridded:
        return _gridded(modality, seen)
    return [item for one in seen for item in _rows(one)]


def _pixels(modality: str, visuals: Sequence[Image | Video]) -> Items:
    from PIL import Image as Pillow

    if modality == MediaKind.VIDEO.value:
        videos = [clock.filled(one) for one in visuals if isinstance(one, Video)]
        return [(video.frames, clock.metadata(video)) for video in videos]
    frames = (frame for one in visuals for frame in ([one.pixels] if isinstance(one, Image) else one.frames))
    return [Pillow.fromarray(frame) for frame in frames]


def _gridded(modality: str, seen: Sequence[GeneratorEmbedding]) -> Fields:
    """As Qwen's models take them."""
    import torch

    fields: Fields = {
        f"{modality}_embeds": torch.cat([_tensor(one) for one in seen]),
        f"{modality}_grid_thw": torch.tensor([one.grid for one in seen]),
    }
    seconds = [one.seconds_per_step for one in seen if one.seconds_per_step is not None]
    if len(seconds) == len(seen):
        fields["second_per_grid_ts"] = torch.tensor(seconds)
    if all(one.timestamps_s for one in seen):
        fields["timestamps"] = [list(one.timestamps_s) for one in seen]
    return fields


def _rows(seen: GeneratorEmbedding) -> list[torch.Tensor]:
    """(rows, hidden_size) float32, as one item or one for each row."""
    import torch

    return [_tensor(seen)] if seen.whole else list(torch.split(_tensor(seen), 1))


def _tensor(seen: GeneratorEmbedding) -> torch.Tensor:
    """A copy: arrays from the object store are read-only, and tensors cannot be."""
    import torch

    return torch.from_numpy(np.array(seen.rows, dtype=np.float32))


def _uuids(visual: Visual) -> list[str | None]:
    """One for each item of an embedding; pixels have none."""
    if not isinstance(visual, GeneratorEmbedding):
        return []
    if visual.whole:
        return [visual.key or None]
    return [f"{visual.key}-{row}" if visual.key else None for row in range(len(visual.rows))]
