from __future__ import annotations

import json

import pytest

from benchmarks.fanout.scenario import Turn, facts, findings
from benchmarks.fanout.sides import DEFAULTS, OURS
from benchmarks.fanout.window import counted
from benchmarks.generator_tax.client import Recorded

HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def event(text: str) -> bytes:
    return b"data: " + json.dumps({"choices": [{"delta": {"content": text}}]}).encode() + b"\n\n"


def chunk(data: bytes) -> bytes:
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


def recorded(*texts: str) -> Recorded:
    """Text i comes at second i."""
    pieces = [(float(at), chunk(event(text))) for at, text in enumerate(texts)]
    return Recorded(sent_s=0.0, pieces=[(-1.0, HEAD), *pieces])


def test_tokens_are_counted_and_not_events() -> None:
    assert counted(recorded(" 0", " 1 2 3", " 4"), 0.0, 3.0) == (5, 3)


def test_only_what_came_in_the_window_counts() -> None:
    assert counted(recorded(" 0", " 1 2 3", " 4", " 5"), 1.0, 3.0) == (4, 2)


def test_a_stream_that_was_cut_off_counts_up_to_there() -> None:
    whole = recorded(" 0", " 1")
    at_s, last = whole.pieces[-1]
    cut = Recorded(sent_s=0.0, pieces=[*whole.pieces[:-1], (at_s, last[:-9])])
    assert counted(cut, 0.0, 9.0) == (1, 1)


def test_a_lost_token_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="Tokens were lost"):
        counted(recorded(" 0", " 2"), 0.0, 9.0)


def test_a_stream_that_fails_is_an_error() -> None:
    error = b'data: {"error":{"message":"no"}}\n\n'
    with pytest.raises(RuntimeError, match="failed"):
        counted(Recorded(sent_s=0.0, pieces=[(0.0, HEAD + chunk(error))]), 0.0, 1.0)


def test_an_answer_that_is_no_stream_is_an_error() -> None:
    raw = b"HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy"
    with pytest.raises(RuntimeError, match="503"):
        counted(Recorded(sent_s=0.0, pieces=[(0.0, raw)]), 0.0, 1.0)


def _turn(per_s: float, slowest_share: float) -> Turn:
    return Turn(
        cpu_ms=1e6 / per_s,
        tokens_per_s=per_s,
        events_per_s=per_s / 2,
        slowest_share=slowest_share,
        cores={"client": 0.2, "others": 0.0},
    )


def test_four_times_as_many_tokens() -> None:
    turns = {OURS: [_turn(8000, 0.9)] * 2, DEFAULTS: [_turn(1900, 0.8), _turn(2000, 0.5)]}
    by_name = {one.name: one for one in findings(turns, 64)}
    assert by_name["tokens delivered, 64 streams"].met
    assert by_name["CPU, for 1000 tokens, 64 streams"].ratio.value < 0.25
    assert facts(turns, 32000)["slowest stream, share of the mean, Serve defaults"] == 0.5
