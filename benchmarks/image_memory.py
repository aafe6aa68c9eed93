"""Memory of a process with the image encoder, and of one with the whole model of open_clip."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TypedDict, cast

import psutil
from rich.table import Table

from benchmarks import memory, open_clip_way
from benchmarks.findings import console
from multimodal.types import Image


class Held(TypedDict):
    """A process that holds a model and has used it."""

    imported_bytes: int
    """RSS when its libraries were imported."""
    process: dict[str, object]


def hold_ours(folder: Path, images: Sequence[Image], threads: int) -> Held:
    """Load the encoder, encode a batch, tell the memory of this process."""
    import torch

    from multimodal.encoders.image import OpenClipImageEncoder

    torch.set_num_threads(threads)
    imported_bytes = _import_open_clip()
    encoder = OpenClipImageEncoder(folder)
    encoder.encode(images)
    return Held(imported_bytes=imported_bytes, process=_own_memory())


def hold_open_clip(folder: Path, images: Sequence[Image], threads: int) -> Held:
    """Load open_clip's whole model, encode as many pictures and a text, tell the memory of this process."""
    import torch
    from transformers.utils import logging

    from multimodal.encoders.checkpoint import read_checkpoint

    torch.set_num_threads(threads)
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    imported_bytes = _import_open_clip()
    checkpoint = read_checkpoint(folder)
    model = open_clip_way.whole_model(checkpoint)
    open_clip_way.encode_one_by_one(model.get_submodule("visual"), checkpoint, images)
    with torch.inference_mode():
        model.get_submodule("text")(torch.ones((1, 8), dtype=torch.long))
    return Held(imported_bytes=imported_bytes, process=_own_memory())


def _import_open_clip() -> int:
    import open_clip  # type: ignore[import-untyped]  # noqa: F401

    return int(psutil.Process().memory_info().rss)


def _own_memory() -> dict[str, object]:
    found = memory.read(psutil.Process())
    if found is None:
        raise RuntimeError("This process cannot read its own memory.")
    return asdict(found)


def show_memory(held: dict[str, Held]) -> None:
    """Resident memory of both processes."""
    table = Table(title="Memory of a process, RSS", title_justify="left")
    for heading in ("", "MiB", "of it libraries"):
        table.add_column(heading, justify="right")
    for name, one in held.items():
        total, libraries = rss_bytes(one), one["imported_bytes"]
        table.add_row(name, f"{total / memory.MIB:.0f}", f"{libraries / memory.MIB:.0f}")
    console.print(table)
    ours, theirs = held["encoder"], held["open_clip, both towers"]
    console.print(f"Ratio: {rss_bytes(ours) / rss_bytes(theirs):.3f}")


def rss_bytes(held: Held) -> int:
    """Resident memory of a process."""
    return cast("int", held["process"]["rss_bytes"])
