"""Pictures per second and memory of the image encoder, against open_clip's own way on the same weights."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, ParamSpec, TypedDict, TypeVar, cast

import numpy as np
import PIL.Image
import psutil
import typer
from rich.console import Console
from rich.table import Table

from benchmarks import memory, open_clip_way, processes
from benchmarks.common import Ratio, median, ratio_of_medians, run, write_results
from benchmarks.compare import BUSY_CORES
from multimodal.config import ImageArgs, home
from multimodal.models.refs import resolve
from multimodal.types import Image

P = ParamSpec("P")
R = TypeVar("R")

SIDES_PX = (128, 640, 2048)
"""Longer sides of the pictures: an icon, a frame of a video, and the largest that MediaLoader hands on."""

SAME_COSINE = 0.999
"""Vectors of both sides agree at least so well, or they did not do the same work."""

console = Console()


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What is run."""

    folder: Path
    batch_items: int
    threads: int
    seconds: float
    """For each size of pictures."""


class Turns(TypedDict):
    """Pictures per second and core, item i of each list measured next to each other on the same pictures."""

    vectors: list[float]
    """Our vectors, a batch at a time."""
    encode: list[float]
    """All that a replica does for a batch: vectors and the names of colours, which open_clip has not."""
    open_clip: list[float]
    """Its preprocessing and its tower, float32, one picture at a time."""


class Speed(TypedDict):
    """All turns with pictures of one size."""

    side_px: int
    ratios: dict[str, dict[str, float]]
    """Ours / open_clip with its confidence interval."""
    pictures_per_s_per_core: dict[str, float]
    """Medians over turns."""
    smallest_cosine: float
    other_cores: float
    """Kept busy by other programs, on average."""
    turns: Turns


class Held(TypedDict):
    """A process that holds a model and has used it."""

    imported_bytes: int
    """RSS when its libraries were imported."""
    process: dict[str, object]


def pictures(side_px: int, count: int) -> list[Image]:
    """Smooth noise, 4:3, decoded."""
    rng = np.random.default_rng(0)
    width, height = side_px, side_px * 3 // 4
    found = []
    for i in range(count):
        coarse = PIL.Image.fromarray(rng.integers(0, 256, (height // 8, width // 8, 3), np.uint8))
        pixels = np.asarray(coarse.resize((width, height), PIL.Image.Resampling.BICUBIC))
        found.append(Image(sha256=str(i), pixels=pixels, width=width, height=height, format="png"))
    return found


def measure_all(options: Options) -> list[Speed]:
    """All sizes, one after the other."""
    return [measure(options, side_px) for side_px in SIDES_PX]


def measure(options: Options, side_px: int) -> Speed:
    """Turns of ours and of open_clip on the same pictures. RuntimeError where the vectors differ."""
    import torch

    from multimodal.encoders.checkpoint import load_vision_tower, read_checkpoint
    from multimodal.encoders.image import OpenClipImageEncoder

    torch.set_num_threads(options.threads)
    encoder, checkpoint = OpenClipImageEncoder(options.folder), read_checkpoint(options.folder)
    tower, images = load_vision_tower(checkpoint), pictures(side_px, options.batch_items)
    ours, theirs = encoder.vectors(images), open_clip_way.encode_one_by_one(tower, checkpoint, images)
    cosine = float((ours * theirs).sum(dim=1).min())
    if cosine < SAME_COSINE:
        raise RuntimeError(f"The vectors are not those of open_clip: their cosine is {cosine:.4f}.")
    sides: dict[str, Callable[[], object]] = {
        "vectors": lambda: encoder.vectors(images),
        "encode": lambda: encoder.encode(images),
        "open_clip": lambda: open_clip_way.encode_one_by_one(tower, checkpoint, images),
    }
    everything, own = processes.CpuMeter(None), processes.CpuMeter([psutil.Process()])
    turns = take_turns(sides, options.seconds)
    other_cores = max(0.0, everything.cores() - own.cores())
    pictures_a_core = options.batch_items / options.threads
    speeds = {name: [pictures_a_core / one_s for one_s in times_s] for name, times_s in turns.items()}
    return summarise(side_px, cast("Turns", speeds), cosine, other_cores)


def take_turns(sides: dict[str, Callable[[], object]], seconds: float) -> dict[str, list[float]]:
    """Seconds of each turn. One of each side, then the same in reverse, until the time is over."""
    order = list(sides)
    for name in order:
        sides[name]()
    turns: dict[str, list[float]] = {name: [] for name in sides}
    end_s = time.perf_counter() + seconds
    while not turns[order[0]] or time.perf_counter() < end_s:
        for name in order:
            started_s = time.perf_counter()
            sides[name]()
            turns[name].append(time.perf_counter() - started_s)
        order.reverse()
    return turns


def summarise(side_px: int, turns: Turns, cosine: float, other_cores: float) -> Speed:
    """Ratios of medians first, absolute medians second."""
    ours = {"vectors": turns["vectors"], "encode": turns["encode"]}
    theirs = turns["open_clip"]
    return Speed(
        side_px=side_px,
        ratios={name: asdict(ratio_of_medians(speeds, theirs)) for name, speeds in ours.items()},
        pictures_per_s_per_core={
            name: median(speeds) for name, speeds in {**ours, "open_clip": theirs}.items()
        },
        smallest_cosine=cosine,
        other_cores=other_cores,
        turns=turns,
    )


def hold_ours(options: Options) -> Held:
    """Load the encoder, encode a batch, tell the memory of this process."""
    import torch

    from multimodal.encoders.image import OpenClipImageEncoder

    torch.set_num_threads(options.threads)
    imported_bytes = _import_open_clip()
    encoder = OpenClipImageEncoder(options.folder)
    encoder.encode(pictures(SIDES_PX[0], options.batch_items))
    return Held(imported_bytes=imported_bytes, process=_own_memory())


def hold_open_clip(options: Options) -> Held:
    """Load open_clip's whole model, encode as many pictures and a text, tell the memory of this process."""
    import torch
    from transformers.utils import logging

    from multimodal.encoders.checkpoint import read_checkpoint

    torch.set_num_threads(options.threads)
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    imported_bytes = _import_open_clip()
    checkpoint = read_checkpoint(options.folder)
    model = open_clip_way.whole_model(checkpoint)
    images = pictures(SIDES_PX[0], options.batch_items)
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


def in_child(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Run it in a process of its own: libraries then see the cores that this one may use."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *args, **kwargs).result()


def show_speeds(speeds: Sequence[Speed]) -> None:
    """Two rows for each size, and what to know before believing them."""
    table = Table(title="Pictures per second and core", title_justify="left")
    for heading in ("side px", "", "ours / open_clip [95 %]", "ours", "open_clip"):
        table.add_column(heading, justify="right")
    for speed in speeds:
        medians = speed["pictures_per_s_per_core"]
        for name, ratio in speed["ratios"].items():
            numbers = f"{medians[name]:.0f}", f"{medians['open_clip']:.0f}"
            table.add_row(str(speed["side_px"]), name, str(Ratio(**ratio)), *numbers)
    console.print(table)
    console.print(f"Smallest cosine of both sides: {min(one['smallest_cosine'] for one in speeds):.6f}.")
    if (others := max(one["other_cores"] for one in speeds)) > BUSY_CORES:
        console.print(f"Other programs used {others:.2f} cores: run it again on an idle machine.")


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


def main(
    model: Annotated[
        str, typer.Option(help="An open_clip model, as a configuration names it.")
    ] = "embedded:image-tower",
    seconds: Annotated[float, typer.Option(min=0, help="Of measuring, all sizes together.")] = 30.0,
    threads: Annotated[int, typer.Option(min=1, help="Cores to use.")] = 1,
    with_memory: Annotated[bool, typer.Option("--memory/--no-memory", help="Measure memory, too.")] = True,
) -> None:
    """Compare the image encoder with open_clip's own fp32 eager path, on the same weights and pictures."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    options = Options(
        folder=resolve(model, home()),
        batch_items=ImageArgs().batch_items,
        threads=threads,
        seconds=seconds / len(SIDES_PX),
    )
    speeds = in_child(measure_all, options)
    show_speeds(speeds)
    held: dict[str, Held] = {}
    if with_memory:
        held["encoder"] = in_child(hold_ours, options)
        held["open_clip, both towers"] = in_child(hold_open_clip, options)
        show_memory(held)
    results = {"options": {**asdict(options), "folder": model}, "speeds": speeds, "memory": held}
    console.print(f"Results: {write_results('image-encoder', results)}")


if __name__ == "__main__":
    run(main)
