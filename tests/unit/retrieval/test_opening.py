"""Which index the configuration opens, and for vectors of which sizes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from multimodal.config import AppArgs
from multimodal.errors import ConfigError, StageUnavailable
from multimodal.retrieval.opening import INDEX_FOLDER, make_store, vector_sizes
from multimodal.retrieval.store import SegmentStore
from multimodal.retrieval.types import VectorName


@pytest.fixture
def text_model(tmp_path: Path) -> Path:
    """A sentence model, as far as its configuration goes."""
    return model(tmp_path / "text", "config.json", {"hidden_size": 6})


@pytest.fixture
def image_model(tmp_path: Path) -> Path:
    """An open_clip model, likewise."""
    return model(tmp_path / "image", "open_clip_config.json", {"model_cfg": {"embed_dim": 8}})


def model(folder: Path, name: str, config: object) -> Path:
    folder.mkdir()
    (folder / name).write_text(json.dumps(config))
    return folder


def configured(text: Path, image: Path | None, **retriever: object) -> AppArgs:
    return AppArgs.model_validate(
        {
            "text": {"model": f"file:{text}"},
            "image": {"model": image and f"file:{image}"},
            "vision": None,
            "retriever": {"lock_timeout_s": 0, **retriever},
        }
    )


def opened(args: AppArgs, folder: Path) -> SegmentStore:
    return make_store(args, folder, vector_sizes(args, folder))


def test_sizes_are_read_from_the_models(text_model: Path, image_model: Path, tmp_path: Path) -> None:
    both = configured(text_model, image_model)
    assert vector_sizes(both, tmp_path) == {VectorName.WORDS: 6, VectorName.PICTURE: 8}
    assert vector_sizes(configured(text_model, None), tmp_path) == {VectorName.WORDS: 6}
    clip = configured(image_model, image_model)
    assert vector_sizes(clip, tmp_path) == {VectorName.WORDS: 8, VectorName.PICTURE: 8}


@pytest.mark.parametrize("config", [{}, {"hidden_size": "6"}, {"hidden_size": 0}])
def test_a_model_that_does_not_say_is_refused(tmp_path: Path, config: object) -> None:
    silent = configured(model(tmp_path / "silent", "config.json", config), None)
    with pytest.raises(ConfigError, match="how large its vectors are"):
        vector_sizes(silent, tmp_path)


def test_the_index_lies_in_the_state_folder_and_has_one_owner(text_model: Path, tmp_path: Path) -> None:
    args = configured(text_model, None)
    store = opened(args, tmp_path)
    assert (tmp_path / INDEX_FOLDER / "index.json").is_file()
    with pytest.raises(StageUnavailable, match="Another process"):
        opened(args, tmp_path)
    store.close()
    opened(args, tmp_path).close()


def test_another_model_of_the_same_size_is_noticed(text_model: Path, tmp_path: Path) -> None:
    opened(configured(text_model, None), tmp_path).close()
    other = model(tmp_path / "other", "config.json", {"hidden_size": 6})
    with pytest.raises(ConfigError, match="another model"):
        opened(configured(other, None), tmp_path)


def test_with_a_url_a_server_is_asked(
    text_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QDRANT_API_KEY", "secret")
    with pytest.raises(StageUnavailable, match="cannot be reached"):
        opened(configured(text_model, None, qdrant_url="https://127.0.0.1:9"), tmp_path)
    assert not (tmp_path / INDEX_FOLDER).exists()
