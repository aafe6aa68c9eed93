"""Reads a part of a checkpoint: the tensors of a tower and its projector, none of the language model's."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from multimodal.encoders.checkpoint import read_object, section
from multimodal.errors import ConfigError

if TYPE_CHECKING:
    import torch

M = TypeVar("M")

Rename: TypeAlias = Callable[[str], str | None]
"""A tensor's name in the checkpoint to that in the module; None: not wanted, so not read."""

CONFIG_FILE = "config.json"
INDEX_FILE = "model.safetensors.index.json"
SINGLE_FILE = "model.safetensors"

DTYPES = ("float16", "bfloat16", "float32")


def part(*renamed: tuple[str, str]) -> Rename:
    """Keeps what begins with one of some prefixes, and puts another in its place; the first that fits counts.

    Checkpoints from before transformers 4.52 lack the outer `model.`: give both.
    """

    def rename(name: str) -> str | None:
        for old, new in renamed:
            if name.startswith(old):
                return new + name.removeprefix(old)
        return None

    return rename


def build(make: Callable[[], M]) -> M:
    """A module on the CPU whose weights are yet to be filled: they are neither drawn nor written."""
    from transformers.initialization import no_init_weights

    with no_init_weights():
        return make()


def fill(module: torch.nn.Module, folder: Path, rename: Rename, dtype: torch.dtype, device: str) -> None:
    """Load a module's tensors, and make it ready to be asked.

    Raises ConfigError where one is missing or does not fit: the answers would be noise. Surplus ones are left
    out only where `rename` says so.
    """
    tensors = read_weights(folder, rename, dtype)
    try:
        module.load_state_dict(tensors, assign=True)
    except RuntimeError as error:
        raise ConfigError(f"The weights in the model folder do not fit its {CONFIG_FILE}.") from error
    module.eval().requires_grad_(False).to(device)


def read_weights(folder: Path, rename: Rename, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """The tensors that are wanted, by their names in the module. Nothing else is read from the disk.

    Raises ConfigError for a folder without readable safetensors.
    """
    from safetensors import SafetensorError, safe_open

    tensors: dict[str, torch.Tensor] = {}
    try:
        for file_name, names in _wanted(folder, rename).items():
            with safe_open(folder / file_name, framework="pt") as file:
                for old in names or file.keys():
                    if (new := rename(old)) is not None:
                        tensors[new] = file.get_tensor(old).to(dtype)
    except (OSError, SafetensorError) as error:
        raise ConfigError("The model folder has no readable safetensors.") from error
    return tensors


def _wanted(folder: Path, rename: Rename) -> Mapping[str, Iterable[str]]:
    """Names of tensors by file; no names: the file has to be asked. Files without any are left out."""
    if not (folder / INDEX_FILE).is_file():
        return {SINGLE_FILE: ()}
    files: dict[str, list[str]] = {}
    for name, file_name in section(read_object(folder / INDEX_FILE), "weight_map").items():
        if rename(name) is not None:
            files.setdefault(Path(str(file_name)).name, []).append(name)
    return files


def dtype_of(folder: Path, wanted: str) -> torch.dtype:
    """What the weights are computed in; "auto": what the checkpoint's configuration says, else float32."""
    import torch

    if wanted != "auto":
        return getattr(torch, wanted)  # type: ignore[no-any-return]
    config = read_object(folder / CONFIG_FILE)
    text = section(config, "text_config")
    said = (config.get(key) for config in (config, text) for key in ("dtype", "torch_dtype"))
    named = next((str(name) for name in said if name in DTYPES), "float32")
    return getattr(torch, named)  # type: ignore[no-any-return]
