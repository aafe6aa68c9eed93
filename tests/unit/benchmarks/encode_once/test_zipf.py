from __future__ import annotations

import asyncio

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.encode_once import zipf
from benchmarks.encode_once.sender import Sender
from benchmarks.encode_once.zipf import (
    CACHED,
    UNCACHED,
    Measurement,
    catalogue_size,
    findings,
    measure,
    weights,
)
from tests.unit.benchmarks.encode_once.conftest import Serve
from tests.unit.benchmarks.encode_once.world import FakeServer


def test_the_second_picture_is_asked_for_half_as_often() -> None:
    shares = weights(10)
    assert shares.sum() == pytest.approx(1)
    assert shares[0] == pytest.approx(2 * shares[1])


@settings(max_examples=20, deadline=None)
@given(st.integers(50, 300), st.floats(0.5, 0.95))
def test_as_many_requests_repeat_one_as_was_asked_for(requests: int, reuse: float) -> None:
    size = catalogue_size(requests, reuse)
    random = np.random.default_rng(1)
    drawn = [len(np.unique(random.choice(size, requests, p=weights(size)))) for _ in range(200)]
    assert 1 - np.mean(drawn) / requests == pytest.approx(reuse, abs=0.03)


async def test_both_sides_get_the_same_requests_and_no_turn_those_of_another(
    serve: Serve, sending: Sender, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(zipf, "PICTURE_PX", (32, 32))
    monkeypatch.setattr(zipf, "SETTLE_S", 0.0)
    fakes = {CACHED: FakeServer(), UNCACHED: FakeServer(shares=False)}
    sides = {name: await serve(fake) for name, fake in fakes.items()}
    turns = await asyncio.to_thread(
        lambda: measure(sides, endpoint="embeddings", clients=4, requests=30, reuse=0.8, pairs=2, seed=3)
    )
    asked = {name: [str(body["input"]) for body in fake.bodies[-60:]] for name, fake in fakes.items()}
    assert sorted(asked[CACHED]) == sorted(asked[UNCACHED])
    assert not set(asked[CACHED][:30]) & set(asked[CACHED][30:])
    for cached, uncached in zip(turns[CACHED], turns[UNCACHED], strict=True):
        assert cached["encoded"] == {"ImageEncoder": cached["media"]}
        assert uncached["encoded"] == {"ImageEncoder": 30}
    assert len(findings(turns)) == 4


async def test_a_chat_has_one_picture_and_one_token(serve: Serve, sending: Sender) -> None:
    fake = FakeServer()
    server = await serve(fake)
    measurement = Measurement({CACHED: server}, sending, endpoint="chat", clients=2, seed=1)
    turn = await asyncio.to_thread(lambda: measurement.turn(CACHED, *measurement.sequence(2, 0.5)))
    assert turn["requests"] == 2
    assert {body["max_tokens"] for body in fake.bodies} == {1}
