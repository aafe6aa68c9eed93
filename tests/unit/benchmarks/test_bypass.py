"""What a measurement of both ways is made into: ratios, waits of others, and what to configure."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest
import typer

from benchmarks.bypass import Advice, Cell, Pair, advise, parse_others, summarise, take_pairs
from benchmarks.bypass_checkpoint import with_blocks
from benchmarks.bypass_sides import Others, Pictures, Turn, longest_gap_s
from multimodal.generation.bypass import Route


def _cell(
    tokens: int, others: int = 0, *, engine_s: float = 0.1, tower_s: float = 0.2, stall: float = 1.0
) -> Cell:
    pair = Pair(
        engine=Turn(ttft_s=engine_s, stall_s=stall if others else None),
        tower=Turn(ttft_s=tower_s, stall_s=1.0 if others else None),
    )
    return summarise([pair] * 3, others=others, side_px=28, tokens=tokens)


FAST, SAME, SLOW = 0.1, 0.2, 0.3
"""Seconds of the engine; the tower takes 0.2."""


def test_ratios_are_engine_over_tower() -> None:
    cell = _cell(16, 2, engine_s=0.1, tower_s=0.2, stall=3.0)

    assert cell["ttft"] == {"value": 0.5, "low": 0.5, "high": 0.5}
    assert cell["stall"] == {"value": 3.0, "low": 3.0, "high": 3.0}
    assert cell["medians_ms"] == pytest.approx(
        {"engine_ttft": 100, "tower_ttft": 200, "engine_stall": 3000, "tower_stall": 1000}
    )
    assert _cell(16)["stall"] is None


@pytest.mark.parametrize(
    ("speeds", "tokens"),
    [
        ([FAST, FAST, FAST], 300),
        ([FAST, FAST, SLOW], 200),
        ([FAST, SLOW, FAST], 100),  # what is larger than a slow one counts no more
        ([SLOW, FAST, FAST], 0),
        ([FAST, SAME, SLOW], 100),  # no difference: the tower, which remembers
    ],
)
def test_the_engine_has_pictures_up_to_the_first_that_it_is_not_faster_with(
    speeds: list[float], tokens: int
) -> None:
    cells = [_cell(size, engine_s=speed) for size, speed in zip((100, 200, 300), speeds, strict=True)]
    assert advise(cells[::-1], tolerated=1.25).engine_tokens == tokens


def test_the_engine_is_left_alone_from_where_it_holds_others_up() -> None:
    cells = [_cell(100), _cell(100, 1), _cell(100, 2, stall=1.2), _cell(100, 4, stall=1.3)]

    assert advise(cells, tolerated=1.25) == Advice(100, 4)
    assert advise(cells, tolerated=1.1) == Advice(100, 2)
    assert advise(cells, tolerated=2.0) == Advice(100, 5)


def test_the_engine_is_left_alone_from_where_it_is_not_faster_any_more() -> None:
    assert advise([_cell(100), _cell(100, 1), _cell(100, 2, engine_s=SLOW)], tolerated=1.25) == Advice(100, 2)


def test_pictures_that_go_to_the_tower_anyhow_do_not_count() -> None:
    cells = [_cell(100), _cell(200, engine_s=SLOW), _cell(100, 1), _cell(200, 1, stall=9.0)]
    assert advise(cells, tolerated=1.25) == Advice(100, 2)


def test_an_uncertain_difference_is_none() -> None:
    def pair(engine_s: float) -> Pair:
        return Pair(engine=Turn(engine_s, None), tower=Turn(0.2, None))

    mixed = summarise([pair(0.1), pair(0.1), pair(0.3)], others=0, side_px=28, tokens=100)
    assert mixed["ttft"]["value"] < 1 < mixed["ttft"]["high"]
    assert advise([mixed], tolerated=1.25).engine_tokens == 0


async def test_turns_alternate_in_an_order_that_reverses() -> None:
    asked: list[Route] = []

    async def turn(route: Route) -> Turn:
        asked.append(route)
        return Turn(ttft_s=len(asked), stall_s=None)

    pairs = await take_pairs(turn, 2)
    assert asked == [Route.ENGINE, Route.TOWER, Route.TOWER, Route.ENGINE]
    assert [(pair.engine.ttft_s, pair.tower.ttft_s) for pair in pairs] == [(1, 2), (4, 3)]


def test_a_gap_counts_where_it_overlaps() -> None:
    arrivals_s = [0.0, 3.0, 4.0, 6.0, 11.0]

    assert longest_gap_s(arrivals_s, 3.5, 5.0) == 2
    assert longest_gap_s(arrivals_s, 3.0, 4.0) == 1
    assert longest_gap_s(arrivals_s, 1.0, 6.5) == 5
    assert longest_gap_s(arrivals_s, 12.0, 13.0) == 0


async def test_the_wait_of_others_is_seen_to_its_end() -> None:
    gates = [asyncio.Event() for _ in range(2)]

    async def ask() -> AsyncGenerator[float, None]:
        for number, gate in enumerate(gates):
            yield 10.0 * number
            await gate.wait()
        yield 25.0
        await asyncio.Event().wait()

    others = Others(ask, 1)
    await others.ready()
    waiting = asyncio.ensure_future(others.stall_s(1.0, 12.0))
    gates[0].set()
    await asyncio.sleep(0.02)
    assert not waiting.done()  # the token of 10.0 came before the picture's
    gates[1].set()
    assert await waiting == 15.0
    await others.end()


async def test_an_other_that_fails_ends_the_measurement() -> None:
    async def ask() -> AsyncGenerator[float, None]:
        yield 1.0
        raise RuntimeError("The engine died.")

    others = Others(ask, 1)
    with pytest.raises(RuntimeError, match="died"):
        await others.stall_s(0.0, 2.0)
    await others.end()


async def test_nobody_waits_where_nobody_is() -> None:
    async def ask() -> AsyncGenerator[float, None]:
        yield 0.0

    others = Others(ask, 0)
    await others.ready()
    assert await others.stall_s(0.0, 1.0) is None


def test_no_picture_comes_twice() -> None:
    pictures = Pictures(seed=0)
    one, two = pictures.next(28), pictures.next(28)
    assert one.pixels.shape == (28, 28, 3)
    assert one.sha256 != two.sha256
    assert (one.pixels != two.pixels).any()


@pytest.mark.parametrize(
    ("blocks", "kept"), [(1, ["a0"]), (2, ["a0", "a1"]), (5, ["a0", "a1", "a0", "a1", "a0"])]
)
def test_towers_get_deeper_and_shallower(blocks: int, kept: list[str]) -> None:
    weights = {
        "model.visual.blocks.0.w": "a0",
        "model.visual.blocks.1.w": "a1",
        "model.visual.merger.w": "m",
        "model.language_model.layers.0.w": "text",
    }
    resized = with_blocks(weights, blocks)

    assert [resized.pop(f"model.visual.blocks.{number}.w") for number in range(blocks)] == kept
    assert resized == {"model.visual.merger.w": "m", "model.language_model.layers.0.w": "text"}


def test_an_idle_engine_is_always_measured() -> None:
    assert parse_others("4, 0,1,1") == (0, 1, 4)
    for text in ("1,2", "0,-1", "0,x", ""):
        with pytest.raises(typer.BadParameter):
            parse_others(text)
