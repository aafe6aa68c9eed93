"""Image towers of tiny open_clip checkpoints against open_clip's own way of running them."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import open_clip  # type: ignore[import-untyped]
import PIL.Image
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file

from multimodal.encoders.image import OpenClipImageEncoder
from multimodal.errors import ConfigError
from multimodal.types import Image
from tests.integration.encoders.checkpoints import (
    EMBED_DIM,
    NARROW,
    PREPROCESS,
    RESNET,
    TIMM,
    VIT,
    Config,
    build,
)

WEIGHTS = "open_clip_model.safetensors"


def pictures() -> list[Image]:
    """Noise and gradients of several shapes and sizes."""
    rng = np.random.default_rng(3)
    noise = [
        rng.integers(0, 256, (height, width, 3), np.uint8) for height, width in ((40, 90), (32, 32), (7, 5))
    ]
    ramp = np.linspace(0, 255, 120 * 80 * 3).reshape(120, 80, 3).astype(np.uint8)
    return [
        Image(sha256=str(i), pixels=pixels, width=pixels.shape[1], height=pixels.shape[0], format="png")
        for i, pixels in enumerate([*noise, ramp])
    ]


def reference(folder: Path, image: Image) -> NDArray[np.float32]:
    """What open_clip makes of a picture, all by itself."""
    model, preprocess = open_clip.create_model_from_pretrained(f"local-dir:{folder}")
    with torch.inference_mode():
        pixels: torch.Tensor = preprocess(PIL.Image.fromarray(image.pixels))
        vector: torch.Tensor = model.eval().encode_image(pixels[None], normalize=True)
    return vector[0].numpy()


def vectors(encoder: OpenClipImageEncoder, images: list[Image]) -> NDArray[np.float32]:
    found = [features.vector for features in encoder.encode(images)]
    return np.stack([vector for vector in found if vector is not None])


@pytest.mark.parametrize(
    ("vision", "options"),
    [
        (VIT, {}),
        (VIT, {"custom_text": False}),
        (VIT, {"quick_gelu": True}),
        (RESNET, {}),
        (TIMM, {}),
        (VIT, {"preprocess": {**PREPROCESS, "interpolation": "bicubic", "resize_mode": "shortest"}}),
        (VIT, {"preprocess": {**PREPROCESS, "resize_mode": "longest", "fill_color": 128}}),
        (VIT, {"preprocess": {}}),
    ],
    ids=["vit", "clip class", "quick gelu", "resnet", "timm", "cropped", "padded", "default preprocessing"],
)
def test_vectors_are_those_of_open_clip(
    tmp_path: Path, no_network: None, vision: Config, options: dict[str, bool]
) -> None:
    folder = build(tmp_path, vision, **options)  # type: ignore[arg-type]
    images = pictures()
    found = vectors(OpenClipImageEncoder(folder), images)
    expected = np.stack([reference(folder, image) for image in images])
    assert found.dtype == np.float32
    assert found.shape == (len(images), EMBED_DIM)
    assert (found * expected).sum(axis=1) == pytest.approx(1, abs=1e-5)


def test_vectors_have_unit_length_and_tell_pictures_apart(tmp_path: Path) -> None:
    found = vectors(OpenClipImageEncoder(build(tmp_path)), pictures())
    assert np.linalg.norm(found, axis=1) == pytest.approx(1, abs=1e-5)
    similar = found @ found.T - np.eye(len(found))
    assert similar.max() < 0.9999


def test_a_batch_gives_what_each_picture_gives_alone(tmp_path: Path) -> None:
    encoder, images = OpenClipImageEncoder(build(tmp_path)), pictures()
    alone = np.concatenate([vectors(encoder, [image]) for image in images])
    assert vectors(encoder, images) == pytest.approx(alone, abs=1e-5)


def test_size_and_colours_come_with_the_vector(tmp_path: Path) -> None:
    red = Image(
        sha256="r", pixels=np.full((9, 9, 3), (200, 0, 0), np.uint8), width=90, height=90, format="png"
    )
    (features,) = OpenClipImageEncoder(build(tmp_path)).encode([red])
    assert (features.sha256, features.width, features.colours[0].name) == ("r", 90, "red")


def test_a_text_tower_that_cannot_be_built_does_not_matter(tmp_path: Path, no_network: None) -> None:
    folder = build(tmp_path, saved_text={"hf_model_name": "someone/some-text-model", "context_length": 9})
    assert vectors(OpenClipImageEncoder(folder), pictures()).shape == (4, EMBED_DIM)


def test_weights_of_the_image_tower_alone_are_enough(tmp_path: Path) -> None:
    folder = build(tmp_path)
    before = vectors(OpenClipImageEncoder(folder), pictures())
    edit_weights(folder, lambda tensors: {k: v for k, v in tensors.items() if k.startswith("visual.")})
    assert np.array_equal(vectors(OpenClipImageEncoder(folder), pictures()), before)


@pytest.mark.parametrize("dropped", ["visual.", "visual.conv1.weight"])
def test_missing_weights_are_an_error(tmp_path: Path, dropped: str) -> None:
    folder = build(tmp_path)
    edit_weights(folder, lambda tensors: {k: v for k, v in tensors.items() if not k.startswith(dropped)})
    with pytest.raises(ConfigError, match="does not fit"):
        OpenClipImageEncoder(folder)


def test_weights_of_another_shape_are_an_error(tmp_path: Path) -> None:
    folder = build(tmp_path)
    config = json.loads((folder / "open_clip_config.json").read_text())
    config["model_cfg"]["vision_cfg"]["width"] = 48
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    with pytest.raises(ConfigError, match="does not fit"):
        OpenClipImageEncoder(folder)


def test_damaged_weights_are_an_error(tmp_path: Path) -> None:
    folder = build(tmp_path)
    (folder / WEIGHTS).write_bytes(b"not a safetensors file")
    with pytest.raises(ConfigError, match="does not fit"):
        OpenClipImageEncoder(folder)


def test_an_option_that_open_clip_does_not_know_is_an_error(tmp_path: Path) -> None:
    folder = build(tmp_path)
    config = json.loads((folder / "open_clip_config.json").read_text())
    config["model_cfg"]["vision_cfg"]["no_such_option"] = 1
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    with pytest.raises(ConfigError, match="option"):
        OpenClipImageEncoder(folder)


def test_no_pictures_need_no_forward_pass(tmp_path: Path) -> None:
    assert OpenClipImageEncoder(build(tmp_path, text=NARROW)).encode([]) == []


def edit_weights(folder: Path, edit: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]) -> None:
    save_file(edit(load_file(folder / WEIGHTS)), folder / WEIGHTS)
