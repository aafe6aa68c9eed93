from __future__ import annotations

import pytest

from benchmarks.encode_once import hit_miss
from benchmarks.encode_once.hit_miss import Pair, Request, findings, measure, request_of
from benchmarks.load import Answer, StageSeen
from tests.unit.benchmarks.encode_once.conftest import Serve
from tests.unit.benchmarks.encode_once.world import FakeServer


def _answer(*stages: StageSeen) -> Answer:
    return Answer(
        sent_s=1.0,
        arrivals_s=(),
        ended_s=2.0,
        text="",
        prompt_tokens=1,
        completion_tokens=1,
        cached_tokens=0,
        began_s=1.5,
        stages=stages,
    )


def _request(encode_ms: float) -> Request:
    return Request(encode_ms=encode_ms, ttft_ms=encode_ms + 50, stages_ms={}, cached=False)


def test_times_of_one_stage_add_up() -> None:
    request = request_of(
        _answer(
            {"stage": "load", "seconds": 0.5},
            {"stage": "encode", "seconds": 0.25},
            {"stage": "encode", "seconds": 0.125, "cached": True},
        )
    )
    assert request["encode_ms"] == pytest.approx(375)
    assert request["ttft_ms"] == pytest.approx(500)
    assert request["cached"]


def test_what_took_no_time_that_can_be_told_has_a_ratio_still() -> None:
    assert request_of(_answer({"stage": "encode", "seconds": 0.0}))["encode_ms"] > 0


def test_an_answer_that_does_not_name_the_stage_fails_the_run() -> None:
    with pytest.raises(RuntimeError, match="include_stages"):
        request_of(_answer({"stage": "load", "seconds": 0.5}))


def test_misses_are_divided_by_hits() -> None:
    pairs = [Pair(miss=_request(ms), hit=_request(ms / 40), others=0.0) for ms in (200.0, 100.0, 300.0)]
    encode, ttft = findings({"picture": pairs})
    assert encode.ratio.value == pytest.approx(40)
    assert encode.target is not None
    assert encode.target.is_met(encode.ratio)
    assert ttft.target is None
    assert ttft.first == 250


async def test_each_pair_is_about_the_same_new_medium(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hit_miss, "MAKERS", {"picture": lambda fresh: fresh.photo(32, 32)})
    fake = FakeServer()
    found = await measure(await serve(fake), 3)
    bodies = [str(body["messages"]) for body in fake.bodies]
    assert len(bodies) == 8  # one pair warms up
    assert bodies[0::2] == bodies[1::2]
    assert len(set(bodies)) == 4
    assert all(not pair["miss"]["cached"] and pair["hit"]["cached"] for pair in found["picture"])
    assert [pair["miss"]["encode_ms"] for pair in found["picture"]] == [200.0] * 3
