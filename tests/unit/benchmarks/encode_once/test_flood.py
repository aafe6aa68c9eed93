from __future__ import annotations

import asyncio
import time

import pytest

from benchmarks.encode_once.chats import Chat, Turn, chat, turn_of
from benchmarks.encode_once.flood import TURNS, TurnName, findings
from benchmarks.encode_once.flooding import Flood, Flooded, flooder
from benchmarks.encode_once.sender import client_session
from benchmarks.load import HttpAsker
from tests.unit.benchmarks.encode_once.conftest import Serve
from tests.unit.benchmarks.encode_once.world import FakeServer


def _flood(url: str, pictures: int) -> Flood:
    return Flood(url=url, model="m", clients=3, side_px=32, pictures=pictures)


async def test_it_floods_with_new_pictures_until_it_is_told_to_stop(serve: Serve) -> None:
    fake = FakeServer()
    server = await serve(fake)
    with flooder() as flooding:
        await asyncio.to_thread(flooding.prepare, _flood(server.url, 5))
        assert not fake.bodies
        flooding.start()
        while len(fake.bodies) < 12:  # more than were made beforehand
            await asyncio.sleep(0.01)
        flooded = await asyncio.to_thread(flooding.stop)
        asked = len(fake.bodies)
        await asyncio.sleep(0.1)
        process = flooding.process
    assert len(fake.bodies) == asked
    assert fake.most_running == 3
    assert len({str(body["messages"]) for body in fake.bodies}) == asked
    assert asked - 3 <= flooded["answers"] <= asked
    assert not process.is_running()


async def test_a_flood_that_is_refused_fails_the_run(serve: Serve) -> None:
    server = await serve(FakeServer(fails=True))
    with flooder() as flooding:
        await asyncio.to_thread(flooding.prepare, _flood(server.url, 1))
        flooding.start()
        with pytest.raises(RuntimeError, match="503"):
            await asyncio.to_thread(flooding.stop)


def test_tails_are_compared_over_all_turns_and_the_pictures_are_told() -> None:
    def turn(ttft_ms: float, per_s: float | None) -> Turn:
        flood = None if per_s is None else Flooded(answers=1, per_s=per_s, p50_ms=1.0)
        return Turn(ttft_ms=[1.0, ttft_ms], itl_ms=[ttft_ms], cut=0, pieces_per_s=1.0, flood=flood, cores={})

    turns: dict[TurnName, list[Turn]] = {
        name: [turn(times, 4.0 if "ours" in name else 2.0) if "flood" in name else turn(times, None)] * 7
        for name, times in zip(TURNS, (100.0, 120.0, 100.0, 240.0), strict=True)
    }
    by_name = {(one.name, one.sides): one for one in findings(turns)}
    ours = by_name["inter-token latency, p99", "ours flood / ours quiet"]
    assert ours.ratio.value == pytest.approx(1.2)
    assert ours.target is not None
    assert ours.target.is_met(ours.ratio)
    assert by_name["TTFT, p99", "ours flood / vLLM flood"].ratio.value == pytest.approx(0.5)
    assert by_name["pictures of the flood", "ours flood / vLLM flood"].ratio.value == 2


def test_what_did_not_come_counts_as_if_it_had_come_at_the_end() -> None:
    whole = Chat(sent_s=1.0, began_s=1.5, arrivals_s=(1.5, 2.0), ended_s=4.0, finished=True)
    half = Chat(sent_s=1.0, began_s=1.5, arrivals_s=(1.5, 2.0), ended_s=4.0, finished=False)
    nothing = Chat(sent_s=1.0, began_s=None, arrivals_s=(), ended_s=4.0, finished=False)
    turn = turn_of([whole, half, nothing], 10.0, {})
    assert turn["ttft_ms"] == [500.0, 500.0, 3000.0]
    assert turn["itl_ms"] == [500.0, 500.0, 2000.0]
    assert turn["cut"] == 2
    assert turn["pieces_per_s"] == pytest.approx(0.4)


async def test_a_chat_that_takes_too_long_is_cut_off_with_what_there_is(serve: Serve) -> None:
    server = await serve(FakeServer(stalls=True))
    async with client_session() as session:
        asker = HttpAsker(session, server.url, "m", 8)
        started_s = time.perf_counter()
        cut = await chat(asker, "hello", started_s + 0.3)
    assert not cut.finished
    assert cut.began_s is not None
    assert len(cut.arrivals_s) == 2
    assert 0.3 <= cut.ended_s - started_s < 5
