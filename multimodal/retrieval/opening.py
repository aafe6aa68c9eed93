"""Opens the index that the configuration asks for."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from multimodal.config import AppArgs
from multimodal.encoders.checkpoint import CONFIG_FILE, read_object, section
from multimodal.errors import ConfigError
from multimodal.models.refs import resolve
from multimodal.retrieval.store import SegmentStore
from multimodal.retrieval.types import VectorName

INDEX_FOLDER = Path("library", "index")
"""In MULTIMODAL_STATE."""


def make_store(
    args: AppArgs, state: Path, sizes: Mapping[VectorName, int], owner: str | None = None
) -> SegmentStore:
    """The index.

    Args:
        args: of the app.
        state: the folder MULTIMODAL_STATE.
        sizes: dimensions of the vectors.
        owner: id of the library whose segments these are; see `server.QdrantStore`.

    Raises:
        ConfigError: the index was made for other models or another library; the server refuses the key.
        StageUnavailable: another process has the index, or the server cannot be reached.
    """
    retriever = args.retriever
    models = {name: model for name, model in _models(args).items() if name in sizes}
    if retriever.qdrant_url is None:
        from multimodal.retrieval.edge import EdgeStore

        return EdgeStore(state / INDEX_FOLDER, retriever, sizes, models)
    from multimodal.retrieval.server import QdrantStore, make_client

    api_key = os.environ.get(retriever.qdrant_api_key_env)
    client = make_client(retriever.qdrant_url, api_key, retriever.timeout_s)
    return QdrantStore(client, retriever, sizes, models, owner)


def vector_sizes(args: AppArgs, home: Path) -> dict[VectorName, int]:
    """Dimensions of the vectors that the configured models make; reads their configuration, no weights.

    Raises ConfigError where a model is not there or does not say.
    """
    return {name: _dimensions(resolve(model, home)) for name, model in _models(args).items()}


def _models(args: AppArgs) -> dict[VectorName, str]:
    models = {VectorName.WORDS: args.text.model}
    if args.image.model is not None:
        models[VectorName.PICTURE] = args.image.model
    return models


def _dimensions(folder: Path) -> int:
    """Of an open_clip model folder, or of a sentence-transformers folder."""
    if (folder / CONFIG_FILE).is_file():
        size = section(read_object(folder / CONFIG_FILE), "model_cfg").get("embed_dim")
    else:
        size = read_object(folder / "config.json").get("hidden_size")
    if not isinstance(size, int) or size <= 0:
        raise ConfigError("The configuration in a model folder does not say how large its vectors are.")
    return size
