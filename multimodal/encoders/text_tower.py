"""Loads text towers and their tokenizers from model folders.

Two kinds of folder are understood: sentence-transformers folders such as all-MiniLM-L6-v2, which open_clip
wraps as a tower with pooling, and open_clip's own model folders, of which the text half is used. Everything
is read from the folder; no name is looked up anywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

from multimodal.encoders.checkpoint import (
    CONFIG_FILE,
    Config,
    load_text_tower,
    read_checkpoint,
    read_json,
    read_object,
    section,
)
from multimodal.errors import ConfigError

if TYPE_CHECKING:
    import torch

POOLERS = {
    "pooling_mode_mean_tokens": "mean_pooler",
    "pooling_mode_cls_token": "cls_last_hidden_state_pooler",
}
"""Poolings of sentence-transformers that open_clip has, under open_clip's names."""
UNDERSTOOD_MODULES = frozenset({"Transformer", "Pooling", "Normalize"})
"""Parts of a sentence-transformers pipeline that are reproduced here."""


class Tokens(Protocol):
    """Text to the token ids of one tower."""

    @property
    def limit(self) -> int:
        """Most tokens that the tower takes, special tokens included."""
        ...

    def count(self, text: str) -> int:
        """Tokens of a text, special tokens included, not truncated."""
        ...

    def ids(self, texts: Sequence[str]) -> torch.Tensor:
        """(n, length) int64, padded to the longest text where the tower allows it."""
        ...


def load_tower(folder: Path) -> tuple[torch.nn.Module, Tokens]:
    """A module from token ids (n, length) to vectors (n, embed_dim), with its tokenizer; or ConfigError."""
    if (folder / CONFIG_FILE).is_file():
        return _load_open_clip(folder)
    return _load_sentence_model(folder)


# --- sentence-transformers folders ---------------------------------------------------------------


def _load_sentence_model(folder: Path) -> tuple[torch.nn.Module, Tokens]:
    config = read_object(folder / "config.json")
    width, pad_id = config.get("hidden_size"), config.get("pad_token_id")
    if not isinstance(width, int) or not isinstance(pad_id, int):
        raise ConfigError("config.json in the model folder describes no text encoder.")
    if not (folder / "model.safetensors").is_file():
        raise ConfigError("The model folder has no model.safetensors. Pickled weights are refused.")
    _check_pipeline(folder / "modules.json")
    pooler = _pooler(folder / "1_Pooling" / "config.json")
    from open_clip.hf_model import HFTextEncoder  # type: ignore[import-untyped]

    with _quiet_transformers():
        tower: torch.nn.Module = HFTextEncoder(
            str(folder), output_dim=width, pooler_type=pooler, proj_type=None
        )
    return tower, SentenceTokens(folder, pad_id, _sentence_limit(folder, config))


@contextmanager
def _quiet_transformers() -> Iterator[None]:
    """No progress bar for a load that takes a moment, no report that BERT's unused pooler was not loaded."""
    from logging import ERROR

    from transformers.utils import logging

    verbosity, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity(ERROR)
    cast("Callable[[], None]", logging.disable_progress_bar)()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bar:
            cast("Callable[[], None]", logging.enable_progress_bar)()


def _check_pipeline(path: Path) -> None:
    """Refuse pipelines with parts that are not reproduced here: wrong vectors look like right ones."""
    if not path.is_file():
        return
    parts = cast("list[dict[str, str]]", read_json(path))
    unknown = {part["type"].rpartition(".")[2] for part in parts} - UNDERSTOOD_MODULES
    if unknown:
        raise ConfigError(f"The model's pipeline has unsupported parts: {', '.join(sorted(unknown))}.")


def _pooler(path: Path) -> str:
    """open_clip's name for the pooling that the folder asks for; the mean where it says nothing."""
    if not path.is_file():
        return "mean_pooler"
    asked = [
        name for name, on in read_object(path).items() if name.startswith("pooling_mode_") and on is True
    ]
    if len(asked) != 1 or asked[0] not in POOLERS:
        raise ConfigError(f"The model's pooling is not supported: {', '.join(asked) or 'none'}.")
    return POOLERS[asked[0]]


def _sentence_limit(folder: Path, config: Config) -> int:
    """The smaller of the positions that the tower has and the length that its tokenizer names."""
    path = folder / "tokenizer_config.json"
    named = read_object(path).get("model_max_length") if path.is_file() else None
    lengths = [value for value in (config.get("max_position_embeddings"), named) if isinstance(value, int)]
    if not lengths:
        raise ConfigError("The model folder does not say how many tokens the model takes.")
    return min(lengths)


class SentenceTokens:
    """The folder's `tokenizer.json`, padded to the longest text of the batch: the tower masks the padding."""

    def __init__(self, folder: Path, pad_id: int, limit: int) -> None:
        from tokenizers import Tokenizer

        path = folder / "tokenizer.json"
        if not path.is_file():
            raise ConfigError("The model folder has no tokenizer.json.")
        self._tokenizer = Tokenizer.from_file(str(path))
        # Such files often come with a truncation of their own, which would hide that a text is too long.
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._pad_id = pad_id
        self.limit = limit

    def count(self, text: str) -> int:
        """Tokens of a text, special tokens included, not truncated."""
        return len(self._tokenizer.encode(text).ids)

    def ids(self, texts: Sequence[str]) -> torch.Tensor:
        """(n, longest) int64."""
        import torch

        rows = [torch.tensor(encoding.ids) for encoding in self._tokenizer.encode_batch(list(texts))]
        return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=self._pad_id)


# --- open_clip folders ---------------------------------------------------------------------------


def _load_open_clip(folder: Path) -> tuple[torch.nn.Module, Tokens]:
    checkpoint = read_checkpoint(folder)
    return load_text_tower(checkpoint), OpenClipTokens(folder, section(checkpoint.model, "text_cfg"))


class OpenClipTokens:
    """The tokenizer that open_clip makes for a folder, without the padding that the tower does not need."""

    def __init__(self, folder: Path, text_config: Config) -> None:
        import open_clip  # type: ignore[import-untyped]

        try:
            tokenizer: object = open_clip.get_tokenizer(f"local-dir:{folder}")
        except (OSError, ValueError) as error:
            raise ConfigError("The model folder has no tokenizer that fits its text model.") from error
        self._tokenize = cast("Callable[[list[str]], torch.Tensor]", tokenizer)
        self._count = _counter(tokenizer)
        self._trims = _masks_padding(text_config)
        self.limit = cast("_Tokenizer", tokenizer).context_length

    def count(self, text: str) -> int:
        """Tokens of a text, special tokens included, not truncated."""
        return self._count(text)

    def ids(self, texts: Sequence[str]) -> torch.Tensor:
        """(n, context length or longest) int64."""
        ids = self._tokenize(list(texts))
        return ids[:, : max(map(self._count, texts))] if self._trims else ids


class _Tokenizer(Protocol):
    """What open_clip's tokenizers have in common."""

    context_length: int


class _SimpleTokenizer(Protocol):
    """open_clip.SimpleTokenizer: CLIP's own byte pairs."""

    def encode(self, text: str) -> list[int]: ...


class _HfTokenizer(Protocol):
    """open_clip.tokenizer.HFTokenizer."""

    tokenizer_mode: str
    clean_fn: Callable[[str], str]
    tokenizer: Callable[[str], dict[str, list[int]]]


def _counter(tokenizer: object) -> Callable[[str], int]:
    """Counts without truncating, which the tokenizers themselves always do."""
    if hasattr(tokenizer, "clean_fn") and hasattr(tokenizer, "tokenizer"):
        wrapped = cast("_HfTokenizer", tokenizer)
        # This mode puts a start, an end and a class token where the tokenizer would put two.
        extra = 1 if wrapped.tokenizer_mode == "clips" else 0
        return lambda text: len(wrapped.tokenizer(wrapped.clean_fn(text))["input_ids"]) + extra
    simple = cast("_SimpleTokenizer", tokenizer)
    return lambda text: len(simple.encode(text)) + 2


def _masks_padding(text_config: Config) -> bool:
    """Whether the tower masks padding and takes any length: Hugging Face's do, open_clip's own do neither."""
    return bool(text_config.get("hf_model_name")) and text_config.get("tokenizer_mode") != "clips"
