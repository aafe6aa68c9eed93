"""Where pictures are encoded sooner, in VisionTower or in the engine; what to put into `vision.bypass`."""

from __future__ import annotations

import asyncio
import itertools
import tempfile
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, TypedDict

import psutil
import typer
from rich.console import Console
from rich.table import Table

from benchmarks import bypass_checkpoint, processes
from benchmarks.bypass_sides import Others, Pictures, Sides, Turn
from benchmarks.common import Ratio, median, ratio_of_medians, run, write_results
from benchmarks.compare import BUSY_CORES
from benchmarks.encode_once.checkpoint import IMAGE_PLACEHOLDER, LAYERS
from benchmarks.generator_tax.counts import parse_counts
from multimodal import serve_config
from multimodal.config import GeneratorArgs, VisionArgs, home
from multimodal.generation.bypass import Route, image_tokens
from multimodal.models.refs import resolve

SIDES_PX = "112,224,448,672,896"
"""Of square pictures, which are 16 to 1,024 tokens."""

console = Console()


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What is run."""

    sides_px: tuple[int, ...]
    others: tuple[int, ...]
    """Numbers of text requests under way."""
    pairs: int
    tolerated: float
    """By which factor the engine's way may hold up the others longer than the tower's."""
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Two pictures of one size, one each way, next to each other."""

    engine: Turn
    tower: Turn


class Cell(TypedDict):
    """All pairs with pictures of one size and one number of text requests under way."""

    others: int
    side_px: int
    tokens: int
    """As `image_tokens` has it, which is what the policy sees."""
    ttft: dict[str, float]
    """Ratio engine / tower: below 1, the engine is faster."""
    stall: dict[str, float] | None
    """Ratio engine / tower of the longest wait of the others: above 1, the engine holds them up longer."""
    medians_ms: dict[str, float]
    pairs: list[dict[str, object]]
    """Each a `Pair`."""


@dataclass(frozen=True, slots=True)
class Advice:
    """What to write under `vision.bypass`."""

    engine_tokens: int
    engine_queue: int


async def measure(sides: Sides, options: Options, max_pixels: int | None) -> list[Cell]:
    """Every size beside every number of text requests."""
    pictures, cells = Pictures(options.seed), []
    for count in options.others:
        async with sides.text_under_way(count, options.seed + count) as others:
            for side_px in options.sides_px:
                turn = partial(one_turn, sides, others, pictures, side_px)
                await take_pairs(turn, 1)  # the first of a size is slow
                pairs = await take_pairs(turn, options.pairs)
                tokens = image_tokens(side_px, side_px, max_pixels)
                cells.append(summarise(pairs, others=count, side_px=side_px, tokens=tokens))
                console.print(f"  {count} others, {side_px} px: {Ratio(**cells[-1]['ttft'])}")
    return cells


async def one_turn(sides: Sides, others: Others, pictures: Pictures, side_px: int, route: Route) -> Turn:
    """A picture that nobody has seen, one way."""
    return await sides.turn(route, pictures.next(side_px), others)


async def take_pairs(turn: Callable[[Route], Awaitable[Turn]], count: int) -> list[Pair]:
    """So many, in an order that reverses each time."""
    order, found = [Route.ENGINE, Route.TOWER], []
    for _ in range(count):
        turns = {route: await turn(route) for route in order}
        found.append(Pair(engine=turns[Route.ENGINE], tower=turns[Route.TOWER]))
        order.reverse()
    return found


def summarise(pairs: Sequence[Pair], *, others: int, side_px: int, tokens: int) -> Cell:
    """Ratios of medians first, absolute medians second."""
    engine, tower = [pair.engine for pair in pairs], [pair.tower for pair in pairs]
    stalls = [[one.stall_s for one in turns if one.stall_s is not None] for turns in (engine, tower)]
    first = [one.ttft_s for one in engine], [one.ttft_s for one in tower]
    medians_s = dict(zip(("engine_ttft", "tower_ttft"), map(median, first), strict=True))
    if others:
        medians_s |= dict(zip(("engine_stall", "tower_stall"), map(median, stalls), strict=True))
    return Cell(
        others=others,
        side_px=side_px,
        tokens=tokens,
        ttft=asdict(ratio_of_medians(*first)),
        stall=asdict(ratio_of_medians(*stalls)) if others else None,
        medians_ms={name: 1e3 * one_s for name, one_s in medians_s.items()},
        pairs=[asdict(pair) for pair in pairs],
    )


def advise(cells: Sequence[Cell], tolerated: float) -> Advice:
    """What follows from them, counting as faster or slower only what the whole interval says.

    engine_tokens: the largest pictures that, like all smaller ones, are faster in an idle engine; 0: none is.
    engine_queue: the smallest number of requests under way with which one of those is not faster any more, or
    holds the others up by more than `tolerated`; one more than was measured: with none.
    """
    faster = itertools.takewhile(
        lambda cell: cell["ttft"]["high"] < 1,
        sorted((cell for cell in cells if not cell["others"]), key=lambda cell: cell["tokens"]),
    )
    engine_tokens = max((cell["tokens"] for cell in faster), default=0)
    busy = [cell for cell in cells if cell["others"] and cell["tokens"] <= engine_tokens]
    worse = [cell["others"] for cell in busy if not _worth_it(cell, tolerated)]
    return Advice(engine_tokens, min(worse, default=1 + max(cell["others"] for cell in cells)))


def _worth_it(cell: Cell, tolerated: float) -> bool:
    held_up = cell["stall"] is not None and cell["stall"]["low"] > tolerated
    return cell["ttft"]["high"] < 1 and not held_up


def show(cells: Sequence[Cell], advice: Advice, other_cores: float) -> None:
    """A row for each cell, what to configure, and what to know before believing it."""
    table = Table(title="Engine / tower [95 %]; medians in ms", title_justify="left")
    for heading in ("others", "px", "tokens", "first token", "engine", "tower", "stall of others"):
        table.add_column(heading, justify="right")
    for cell in cells:
        sizes = [str(cell["others"]), str(cell["side_px"]), str(cell["tokens"])]
        times = [f"{cell['medians_ms'][name]:.0f}" for name in ("engine_ttft", "tower_ttft")]
        stall = "" if cell["stall"] is None else str(Ratio(**cell["stall"]))
        table.add_row(*sizes, str(Ratio(**cell["ttft"])), *times, stall)
    console.print(table)
    console.print(
        "vision:\n  bypass:\n"
        f"    engine_tokens: {advice.engine_tokens}\n    engine_queue: {advice.engine_queue}"
    )
    if other_cores > BUSY_CORES:
        console.print(f"Other programs used {other_cores:.2f} cores: run it again on an idle machine.")


@contextmanager
def subject(config: Path | None, tower_layers: int) -> Iterator[tuple[Path, GeneratorArgs, VisionArgs]]:
    """What is measured: the model of a configuration, or one with a random tower in a temporary folder.

    Raises ConfigError where the model was not pulled, typer.BadParameter where there is no choice of ways.
    """
    if config is not None:
        args = serve_config.read(config).args
        if args is None or args.vision is None or not args.may_bypass:
            raise typer.BadParameter("its pictures have one way only", param_hint="--config")
        yield resolve(args.generator.model, home()), args.generator, args.vision
        return
    with tempfile.TemporaryDirectory(prefix="bypass-") as folder:
        bypass_checkpoint.build(Path(folder), tower_layers)
        generator = GeneratorArgs(pixels=True, image_placeholder=IMAGE_PLACEHOLDER)
        yield Path(folder), generator, VisionArgs(source="tower")


async def compare(
    model: Path, generator: GeneratorArgs, vision: VisionArgs, options: Options
) -> tuple[list[Cell], float]:
    """The cells, and how many cores other programs kept busy, on average."""
    async with Sides(model, generator, vision) as sides:
        everything = processes.CpuMeter(None)
        own = processes.CpuMeter(processes.tree(psutil.Process()))
        cells = await measure(sides, options, vision.max_pixels)
        return cells, max(0.0, everything.cores() - own.cores())


def parse_others(text: str) -> tuple[int, ...]:
    """Numbers between commas, 0 among them. Raises typer.BadParameter."""
    numbers = text.split(",")
    if not all(number.strip().isdecimal() for number in numbers) or 0 not in map(int, numbers):
        raise typer.BadParameter(f"{text!r} is not a list of numbers such as 0,1,4", param_hint="--others")
    return tuple(sorted({int(number) for number in numbers}))


def main(
    config: Annotated[
        Path | None, typer.Option(help="A configuration whose generator has pixels and whose vision a tower.")
    ] = None,
    tower_layers: Annotated[int, typer.Option(min=1, help="Of the random tower, without --config.")] = LAYERS,
    sides: Annotated[str, typer.Option(help="Of square pictures, pixels.")] = SIDES_PX,
    others: Annotated[str, typer.Option(help="Numbers of text requests under way.")] = "0,1,2,4",
    pairs: Annotated[int, typer.Option(min=1, help="Turns of each way, for each size and number.")] = 15,
    tolerated: Annotated[
        float, typer.Option(min=1, help="How much longer the engine's way may hold up the others.")
    ] = 1.25,
    seed: Annotated[int, typer.Option(help="Of pictures and prompts.")] = 0,
) -> None:
    """Measure both ways of pictures into one engine, in pairs, and say which requests should go which way."""
    options = Options(
        sides_px=parse_counts(sides), others=parse_others(others), pairs=pairs, tolerated=tolerated, seed=seed
    )
    with subject(config, tower_layers) as (model, generator, vision):
        cells, other_cores = asyncio.run(compare(model, generator, vision, options))
    advice = advise(cells, tolerated)
    show(cells, advice, other_cores)
    measured = {"tower_layers": None if config else tower_layers, "generator": generator.model_dump()}
    results = {"options": asdict(options), **measured, "other_cores": other_cores}
    path = write_results("bypass", {**results, "advice": asdict(advice), "cells": cells})
    console.print(f"Results: {path}")


if __name__ == "__main__":
    run(main)
