from __future__ import annotations

import asyncio

import pytest

from benchmarks.encode_once import single_flight
from benchmarks.encode_once.sender import Sender
from benchmarks.encode_once.single_flight import DISTINCT, IDENTICAL, findings, measure
from tests.unit.benchmarks.encode_once.conftest import Serve
from tests.unit.benchmarks.encode_once.world import FakeServer


@pytest.mark.parametrize(("shares", "ratio", "met"), [(True, 1.0, True), (False, 6.0, False)])
async def test_it_counts_what_the_encoders_did(
    serve: Serve, sending: Sender, monkeypatch: pytest.MonkeyPatch, shares: bool, ratio: float, met: bool
) -> None:
    monkeypatch.setattr(single_flight, "PICTURE_PX", (32, 32))
    fake = FakeServer(shares=shares)
    server = await serve(fake)
    turns = await asyncio.to_thread(measure, server, 6, 2, 3, 2)
    assert [(turn["requests"], turn["media"]) for turn in turns[IDENTICAL]] == [(12, 2)] * 2
    assert [turn["encoded"] for turn in turns[DISTINCT]] == [{"ImageEncoder": 3}] * 2
    assert fake.most_running == 6
    encoded = findings(turns)[0]
    assert encoded.ratio.value == ratio
    assert encoded.target is not None
    assert encoded.target.is_met(encoded.ratio) is met
