"""The exported folder is an open_clip model that the product's encoder loads."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from multimodal.encoders.checkpoint import load_vision_tower, read_checkpoint, read_logit_scale
from multimodal.encoders.image import OpenClipImageEncoder
from multimodal.errors import ConfigError
from multimodal.training import export
from multimodal.training.tower import TowerSpec, build, normalise
from multimodal.types import Image

SPEC = TowerSpec("test_resnet", 32)
LOG_SCALE = math.log(23)


@pytest.fixture(scope="module")
def tower() -> torch.nn.Module:
    torch.manual_seed(0)
    return build(SPEC).eval()


def test_the_folder_loads_as_an_open_clip_model(tmp_path: Path, tower: torch.nn.Module) -> None:
    folder = export.export(tower.state_dict(), SPEC, LOG_SCALE, tmp_path / "model")
    loaded = load_vision_tower(read_checkpoint(folder))
    picture = normalise(torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(1)))
    with torch.inference_mode():
        # Weights travel as float16: three decimal digits.
        assert torch.allclose(loaded(picture), tower(picture), atol=2e-2, rtol=1e-2)


def test_the_product_sees_with_it(tmp_path: Path, tower: torch.nn.Module) -> None:
    folder = export.export(tower.state_dict(), SPEC, LOG_SCALE, tmp_path / "model")
    pixels = np.full((40, 60, 3), 200, np.uint8)
    image = Image(sha256="", pixels=pixels, width=60, height=40, format="png")
    features = OpenClipImageEncoder(folder).encode([image])[0]
    assert features.vector is not None
    assert features.vector.shape == (384,)
    assert np.linalg.norm(features.vector) == pytest.approx(1, abs=1e-4)
    assert features.logit_scale == pytest.approx(23)


def test_the_temperature_travels_with_the_weights(tmp_path: Path, tower: torch.nn.Module) -> None:
    folder = export.export(tower.state_dict(), SPEC, LOG_SCALE, tmp_path / "model")
    # Kept in float32, unlike the weights.
    assert read_logit_scale(read_checkpoint(folder)) == pytest.approx(23, rel=1e-6)


def test_checksums_are_those_of_the_files(tmp_path: Path, tower: torch.nn.Module) -> None:
    folder = export.export(tower.state_dict(), SPEC, LOG_SCALE, tmp_path / "model")
    lines = (folder / export.CHECKSUMS).read_text(encoding="utf-8").splitlines()
    assert len(lines) == 2
    for line in lines:
        digest, name = line.split("  ")
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest


def test_weights_that_are_too_large_are_refused(
    tmp_path: Path, tower: torch.nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "MOST_BYTES", 1000)
    with pytest.raises(ConfigError, match="at most 1000"):
        export.export(tower.state_dict(), SPEC, LOG_SCALE, tmp_path / "model")
    assert not (tmp_path / "model" / "open_clip_model.safetensors").exists()
