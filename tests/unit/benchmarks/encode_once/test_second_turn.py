from __future__ import annotations

import psutil
import pytest

from benchmarks.encode_once import second_turn
from benchmarks.encode_once.peer import Peer
from benchmarks.encode_once.second_turn import FIRST, SECOND, findings, measure
from tests.unit.benchmarks.encode_once.conftest import Serve
from tests.unit.benchmarks.encode_once.world import FakeServer


class FakePeer(Peer):
    """A server that somebody else started."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.idle_cores = 0.0

    def processes(self) -> list[psutil.Process]:
        return []


async def test_both_sides_talk_about_the_same_pictures_and_the_second_turn_brings_the_first_along(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(second_turn, "SETTLE_S", 0.0)
    monkeypatch.setattr(second_turn, "PHOTOS", {"small": (32, 32), "large": (64, 64)})
    ours, vllm = FakeServer(), FakeServer()
    server, other = await serve(ours), await serve(vllm)
    found = await measure(server, FakePeer(other.url), 2, warm_up=False)
    assert [body["messages"] for body in ours.bodies] == [body["messages"] for body in vllm.bodies]
    first, second = (str(body["messages"]) for body in ours.bodies[:2])
    assert FIRST in first
    assert SECOND not in first
    assert second.startswith(first[:-1])
    assert "'assistant', 'content': 'ab'" in second
    assert [len(pairs) for pairs in found.values()] == [2, 2]
    assert len(findings(found)) == 4
