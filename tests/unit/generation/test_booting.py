"""What the engine encodes itself, and so which towers vLLM loads."""

from __future__ import annotations

import pytest

from multimodal.config import GeneratorArgs
from multimodal.generation.booting import limits, placeholders
from multimodal.types import MediaKind


@pytest.mark.parametrize("video", [None, "<video>"])
def test_an_engine_without_pixels_loads_no_tower_whatever_it_is_shown(video: str | None) -> None:
    args = GeneratorArgs(pixels=False, video_placeholder=video)
    assert limits(args) == {"image": 0, "video": 0, "audio": 0}


def test_an_engine_with_pixels_takes_what_it_has_placeholders_for() -> None:
    args = GeneratorArgs(pixels=True, max_images=5, video_placeholder="<video>")
    assert limits(args) == {"image": 5, "video": 5, "audio": 0}
    assert placeholders(args) == {MediaKind.IMAGE: "<image>", MediaKind.VIDEO: "<video>"}
