from __future__ import annotations

import pytest

from benchmarks.limits import Limits
from benchmarks.text_encoder import Options, Turns, facts, findings, plots
from benchmarks.text_turns import LIBRARY, LONGEST_WORDS, OURS, SHORTEST_WORDS, Turned, mixed_texts

OPTIONS = Options(model="m", threads=1, callers=2, texts=10, pairs=2, quick=True)


def turned(seconds: float, cpu_s: float, *latencies_ms: float) -> Turned:
    return Turned(seconds=seconds, cpu_s=cpu_s, latencies_ms=list(latencies_ms))


def both(ours: Turned, library: Turned) -> dict[str, list[Turned]]:
    return {OURS: [ours] * 2, LIBRARY: [library] * 2}


TURNS = Turns(
    closed=both(turned(1.0, 0.5, 10.0, 20.0), turned(4.0, 2.0, 30.0, 40.0)),
    opened={0.5: both(turned(9.0, 1.0, 6.0, 6.0), turned(9.0, 1.0, 3.0, 3.0))},
    rates_per_s={0.5: 1.25},
    others_cores=0.0,
)


def test_texts_are_mixed_by_octaves_and_the_same_for_a_seed() -> None:
    texts = mixed_texts(400, seed=3)
    assert texts == mixed_texts(400, seed=3) != mixed_texts(400, seed=4)
    words = [len(text.split()) for text in texts]
    assert min(words) >= SHORTEST_WORDS
    assert max(words) <= LONGEST_WORDS
    middle = (SHORTEST_WORDS * LONGEST_WORDS) ** 0.5
    assert sum(count < middle for count in words) == pytest.approx(200, abs=40)


def test_cost_comes_first_then_throughput_then_waiting() -> None:
    found = findings(TURNS, texts=10)
    assert [one.ratio.value for one in found] == pytest.approx([0.25, 4.0, 0.5, 2.0, 2.0], abs=0.01)
    assert (found[0].first, found[0].second, found[0].unit) == (50.0, 200.0, "ms")
    assert [one.met for one in found] == [None, True, True, None, False]


def test_the_limit_is_that_of_the_numbers_which_a_side_multiplies() -> None:
    peaks = Limits(flops_per_s={"float32": 100e9, "bfloat16": 400e9}, bytes_per_s=1e9, threads=1)
    found = facts(TURNS, peaks, 4e9, OPTIONS)
    assert found["one text, MFLOP, on average"] == 4000
    assert found["ours, of GEMM peak in bfloat16"] == pytest.approx(0.1)
    assert found["library, of GEMM peak in float32"] == pytest.approx(0.1)


def test_a_line_for_each_side_and_percentile() -> None:
    lines = plots(TURNS)
    assert [(one["side"], one.get("panel")) for one in lines] == [
        (OURS, "p50"),
        (LIBRARY, "p50"),
        (OURS, "p99"),
        (LIBRARY, "p99"),
    ]
    assert (lines[0]["x"], lines[0]["y"], lines[1]["y"]) == ([1.25], [6.0], [3.0])
