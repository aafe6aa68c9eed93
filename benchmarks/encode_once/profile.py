"""Configurations that are the embedded profile but for some arguments of the graph."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeAlias, cast

from benchmarks.encode_once import checkpoint
from multimodal import serve_config
from multimodal.config import AppArgs
from multimodal.errors import ConfigError

Changes: TypeAlias = Mapping[str, object]
"""Arguments of the graph; mappings are merged into those that stand there, anything else replaces them."""

MODEL_NAME = "vision-language"
"""Of the checkpoint, at both servers."""

NO_CACHE: Changes = {"cache": {"memory_bytes": 0, "stored_bytes": 0, "redis_url": None}}
"""Nothing that was made of a medium is kept, in memory or beside files."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """A configuration that can be served."""

    path: Path
    args: AppArgs


@contextmanager
def derived(config: Path, changes: Changes) -> Iterator[Profile]:
    """`config` with these changes, for as long as the block lasts. Raises ConfigError."""
    base = serve_config.read(config)
    document = deepcopy(dict(base.document))
    applications = cast("list[dict[str, object]]", document["applications"])
    for application in applications:
        if application["import_path"] == serve_config.GRAPH:
            application["args"] = merged(cast("Changes", application.get("args", {})), changes)
    with TemporaryDirectory(prefix="mm-profile-") as folder:
        path = Path(folder) / "serve_config.yaml"
        replace(base, document=document).write(path)
        args = serve_config.read(path).args
        if args is None:
            raise ConfigError(f"{config} does not configure this graph.")
        yield Profile(path=path, args=args)


def merged(known: Changes, changes: Changes) -> dict[str, object]:
    """Both, the changes first."""
    result = dict(known)
    for name, value in changes.items():
        before = result.get(name)
        both = isinstance(value, Mapping) and isinstance(before, Mapping)
        result[name] = merged(cast("Changes", before), cast("Changes", value)) if both else value
    return result


@contextmanager
def vision_language(config: Path, *, engine_tower: bool = False) -> Iterator[tuple[Profile, Path]]:
    """A profile whose generator is a vision-language model, and the folder of that model, which is built:
    10 s, 470 MB of disk until the block is left.

    Its tower is in VisionTower; with `engine_tower` in the engine, too, and `vision.bypass` decides.
    """
    with TemporaryDirectory(prefix="mm-model-") as name:
        folder = Path(name)
        checkpoint.build(folder)
        generator = {
            "model": f"file:{folder}",
            "served_name": MODEL_NAME,
            "image_placeholder": checkpoint.IMAGE_PLACEHOLDER,
            "media_prompt": "{media}\n\n{question}",
            "pixels": engine_tower,
        }
        with derived(config, {"vision": {"source": "tower"}, "generator": generator}) as profile:
            yield profile, folder
