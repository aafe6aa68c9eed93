import json
from pathlib import Path

import pytest

from multimodal.encoders.checkpoint import CONFIG_FILE, read_checkpoint, read_object
from multimodal.errors import ConfigError


def model_folder(folder: Path, config: object, *weights: str) -> Path:
    (folder / CONFIG_FILE).write_text(json.dumps(config), encoding="utf-8")
    for name in weights:
        (folder / name).write_bytes(b"")
    return folder


MODEL = {"model_cfg": {"embed_dim": 8, "vision_cfg": {}}, "preprocess_cfg": {"mean": [0, 0, 0]}}


def test_configuration_and_weights_are_found(tmp_path: Path) -> None:
    checkpoint = read_checkpoint(model_folder(tmp_path, MODEL, "open_clip_model.safetensors"))
    assert checkpoint.model["embed_dim"] == 8
    assert checkpoint.preprocess["mean"] == [0, 0, 0]
    assert checkpoint.weights.name == "open_clip_model.safetensors"


def test_open_clips_own_name_wins_where_there_are_several_weights(tmp_path: Path) -> None:
    folder = model_folder(tmp_path, MODEL, "model.safetensors", "open_clip_model.safetensors")
    assert read_checkpoint(folder).weights.name == "open_clip_model.safetensors"


@pytest.mark.parametrize("weights", [[], ["open_clip_pytorch_model.bin"], ["model.pth"]])
def test_pickled_weights_are_refused(tmp_path: Path, weights: list[str]) -> None:
    with pytest.raises(ConfigError, match="safetensors"):
        read_checkpoint(model_folder(tmp_path, MODEL, *weights))


@pytest.mark.parametrize(
    "config", [{}, {"model_cfg": {}}, {"model_cfg": 3}, {"model_cfg": {"embed_dim": "8"}}]
)
def test_a_folder_of_something_else_is_refused(tmp_path: Path, config: object) -> None:
    with pytest.raises(ConfigError, match="open_clip"):
        read_checkpoint(model_folder(tmp_path, config, "model.safetensors"))


@pytest.mark.parametrize("content", ["", "{", "[]", "3"])
def test_a_broken_configuration_is_named_without_its_path(tmp_path: Path, content: str) -> None:
    (tmp_path / "config.json").write_text(content, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"config\.json") as caught:
        read_object(tmp_path / "config.json")
    assert str(tmp_path) not in caught.value.message


def test_a_missing_configuration_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=CONFIG_FILE):
        read_checkpoint(tmp_path)
