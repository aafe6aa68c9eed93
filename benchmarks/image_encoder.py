"""Pictures per second and memory of the image encoder, against open_clip's own way on the same weights."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ParamSpec, TypedDict, TypeVar, cast

import numpy as np
import PIL.Image
import psutil
import typer

from benchmarks import limits, open_clip_way, processes
from benchmarks.common import median, run
from benchmarks.findings import MIN_PAIRS, QUICK_PAIRS, Finding, Target, check, console, medians, publish
from benchmarks.image_memory import Held, hold_open_clip, hold_ours, show_memory
from benchmarks.limits import Limits
from multimodal.config import ImageArgs, home
from multimodal.errors import ConfigError
from multimodal.models.refs import resolve
from multimodal.types import Image

if TYPE_CHECKING:
    from multimodal.encoders.image import OpenClipImageEncoder

SIDES_PX = (128, 640, 2048)
"""Longer sides of the pictures: an icon, a frame of a video, and the largest that MediaLoader hands on."""

SAME_COSINE = 0.999
"""Vectors of both sides agree at least so well, or they did not do the same work."""

FASTER = Target(at_least=3)

INT8 = "vectors in int8"
"""A side, where the tower can be run so."""
ACCURACY_PICTURES, ACCURACY_SEED = 256, 99
"""On which int8 is compared with float32: made up as those that it was calibrated with, but others."""

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What is run."""

    folder: Path
    batch_items: int
    threads: int
    seconds: float
    """For each size of pictures, at least."""
    pairs: int = QUICK_PAIRS
    """For each size of pictures, at least."""
    quick: bool = False


class Turns(TypedDict):
    """All turns of one side, item i next to those of the others, on the same pictures."""

    seconds: list[float]
    cpu_s: list[float]


class Speed(TypedDict):
    """All turns with pictures of one size."""

    side_px: int
    smallest_cosine: float
    other_cores: float
    """Kept busy by other programs, on average."""
    turns: dict[str, Turns]
    """By side: `vectors`, `encode`, `open_clip`, and `INT8` where there is that."""


class Accuracy(TypedDict):
    """What int8 keeps of the vectors in float32, both ours."""

    lowest_cosine: float
    mean_cosine: float
    same_nearest: float
    """Share of pictures to which the same other one is nearest."""


class Measured(TypedDict):
    """What the process that holds both sides found."""

    speeds: list[Speed]
    int8: Accuracy | None
    limits: Limits
    flops: int
    """Of the tower, for one picture."""


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


def measure_all(options: Options) -> Measured:
    """All sizes, one after the other."""
    import torch

    from multimodal.encoders.checkpoint import load_vision_tower, read_checkpoint

    torch.set_num_threads(options.threads)
    checkpoint = read_checkpoint(options.folder)
    tower, (image,) = load_vision_tower(checkpoint), pictures(SIDES_PX[0], 1)
    return Measured(
        speeds=[measure(options, side_px) for side_px in SIDES_PX],
        int8=accuracy(options),
        limits=limits.measure(quick=options.quick),
        flops=limits.flops(lambda: open_clip_way.encode_one_by_one(tower, checkpoint, [image])),
    )


def in_int8(folder: Path) -> OpenClipImageEncoder | None:
    """None where the tower is none for that."""
    from multimodal.encoders.image import OpenClipImageEncoder

    try:
        return OpenClipImageEncoder(folder, compute_type="int8")
    except ConfigError as error:
        console.print(f"Not measured: {error}")
        return None


def accuracy(options: Options) -> Accuracy | None:
    """Of int8, where the tower can be run so."""
    import torch

    from multimodal.encoders import calibration
    from multimodal.encoders.image import OpenClipImageEncoder

    encoder = in_int8(options.folder)
    if encoder is None:
        return None
    images = calibration.pictures(ACCURACY_PICTURES, ACCURACY_SEED)
    batches = [images[at : at + options.batch_items] for at in range(0, len(images), options.batch_items)]
    exact, near = (
        torch.cat([one.vectors(batch) for batch in batches])
        for one in (OpenClipImageEncoder(options.folder), encoder)
    )
    cosines = (exact * near).sum(dim=1)
    nearest = [(one @ one.T).fill_diagonal_(-1).argmax(dim=1) for one in (exact, near)]
    return Accuracy(
        lowest_cosine=float(cosines.min()),
        mean_cosine=float(cosines.mean()),
        same_nearest=float((nearest[0] == nearest[1]).float().mean()),
    )


def measure(options: Options, side_px: int) -> Speed:
    """Turns of ours and of open_clip on the same pictures. RuntimeError where the vectors differ."""
    from multimodal.encoders.checkpoint import load_vision_tower, read_checkpoint
    from multimodal.encoders.image import OpenClipImageEncoder

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
    if (bytewise := in_int8(options.folder)) is not None:
        sides[INT8] = lambda: bytewise.vectors(images)
    everything, own = processes.CpuMeter(None), processes.CpuMeter([psutil.Process()])
    turns = take_turns(sides, options.seconds, options.pairs)
    other_cores = max(0.0, everything.cores() - own.cores())
    return Speed(side_px=side_px, smallest_cosine=cosine, other_cores=other_cores, turns=turns)


def take_turns(sides: dict[str, Callable[[], object]], seconds: float, pairs: int) -> dict[str, Turns]:
    """One turn of each side, then the same in reverse: at least so many, and until the time is over."""
    order = list(sides)
    for name in order:
        sides[name]()
    turns = {name: Turns(seconds=[], cpu_s=[]) for name in sides}
    end_s = time.perf_counter() + seconds
    while len(turns[order[0]]["seconds"]) < pairs or time.perf_counter() < end_s:
        for name in order:
            started_s, cpu_s = time.perf_counter(), time.process_time()
            sides[name]()
            turns[name]["seconds"].append(time.perf_counter() - started_s)
            turns[name]["cpu_s"].append(time.process_time() - cpu_s)
        order.reverse()
    return turns


def findings(speeds: Sequence[Speed], batch_items: int) -> list[Finding]:
    """What a picture costs, and how many are done; `encode` also names colours, which open_clip does not."""
    found = []
    for speed in speeds:
        cpu_ms = {
            name: [1e3 * one / batch_items for one in turns["cpu_s"]]
            for name, turns in speed["turns"].items()
        }
        per_s = {
            name: [batch_items / one for one in turns["seconds"]] for name, turns in speed["turns"].items()
        }
        size = f"{speed['side_px']} px"
        ours = [name for name in ("vectors", "encode", INT8) if name in cpu_ms]
        for name in ours:
            sides = f"ours, {name} / open_clip"
            found.append(
                medians(f"CPU for each picture, {size}", sides, cpu_ms[name], cpu_ms["open_clip"], "ms")
            )
        for name in ours:
            sides, target = f"ours, {name} / open_clip", FASTER if name == "vectors" else None
            found.append(medians(f"pictures, {size}", sides, per_s[name], per_s["open_clip"], "1/s", target))
        if INT8 in ours:
            sides = "ours, int8 / float32"
            found.append(medians(f"pictures, {size}", sides, per_s[INT8], per_s["vectors"], "1/s"))
    return found


def facts(measured: Measured, batch_items: int) -> dict[str, float]:
    """How far the physical limit is, of the smallest pictures: resizing larger ones is no product."""
    turns, found = measured["speeds"][0]["turns"], measured["limits"]
    work = measured["flops"] * batch_items
    shares = {
        f"{name}, of GEMM peak in float32": round(
            found.share(work, median(turns[name]["seconds"]), "float32"), 3
        )
        for name in ("vectors", "open_clip")
    }
    kept = {
        f"int8 against float32: {name.replace('_', ' ')}": round(cast("float", value), 4)
        for name, value in (measured["int8"] or {}).items()
    }
    return {"one picture, MFLOP": round(measured["flops"] / 1e6, 1), **kept, **shares, **found.facts()}


def in_child(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Run it in a process of its own: libraries then see the cores that this one may use."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *args, **kwargs).result()


def main(
    model: Annotated[
        str, typer.Option(help="An open_clip model, as a configuration names it.")
    ] = "embedded:image-tower",
    seconds: Annotated[float, typer.Option(min=0, help="Of measuring, all sizes together, at least.")] = 30.0,
    threads: Annotated[int, typer.Option(min=1, help="Cores to use.")] = 1,
    with_memory: Annotated[bool, typer.Option("--memory/--no-memory", help="Measure memory, too.")] = True,
    quick: Annotated[bool, typer.Option("--quick", help="One pair, no memory: does it run?")] = False,
) -> None:
    """Compare the image encoder with open_clip's own fp32 eager path, on the same weights and pictures."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    options = Options(
        folder=resolve(model, home()),
        batch_items=ImageArgs().batch_items,
        threads=threads,
        seconds=0 if quick else seconds / len(SIDES_PX),
        pairs=QUICK_PAIRS if quick else MIN_PAIRS,
        quick=quick,
    )
    measured = in_child(measure_all, options)
    held: dict[str, Held] = {}
    if with_memory and not quick:
        given = options.folder, pictures(SIDES_PX[0], options.batch_items), threads
        held["encoder"] = in_child(hold_ours, *given)
        held["open_clip, both towers"] = in_child(hold_open_clip, *given)
        show_memory(held)
    speeds, shown = measured["speeds"], facts(measured, options.batch_items)
    cosine = min(one["smallest_cosine"] for one in speeds)
    details: dict[str, object] = {
        "options": {**asdict(options), "folder": model},
        "checks": [check("cosine with open_clip's vectors, lowest", cosine, Target(at_least=SAME_COSINE))],
        "facts": shown,
        "speeds": speeds,
        "int8": measured["int8"],
        "limits": measured["limits"].as_json(),
        "memory": held,
    }
    console.print(f"Smallest cosine of both sides: {cosine:.6f}.")
    console.print(shown)
    others_cores = max(one["other_cores"] for one in speeds)
    publish("image-encoder", findings(speeds, options.batch_items), details, others_cores)


if __name__ == "__main__":
    run(main)
