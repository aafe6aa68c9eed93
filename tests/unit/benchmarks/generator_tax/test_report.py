from __future__ import annotations

import pytest
import typer

from benchmarks.generator_tax.counts import parse_counts
from benchmarks.generator_tax.differences import difference_of_percentiles
from benchmarks.generator_tax.report import facts, findings, samples, series, written
from benchmarks.generator_tax.sides import ALONE, BARE, OURS, PEER, SideName
from benchmarks.generator_tax.turns import Round, Turn


def _turn(gap_ms: float) -> Turn:
    return Turn(
        cpu_ms=gap_ms,
        tokens_per_s=1000 / gap_ms,
        tpot_ms=gap_ms,
        ttft_ms=[3 * gap_ms],
        inter_token_ms=[gap_ms] * 10,
        pieces=11,
        cores={"client": 0.05, "others": 0.0},
    )


def _round(ours: float, peer: float, bare: float) -> Round:
    turns: dict[SideName, Turn] = {
        OURS: _turn(ours),
        PEER: _turn(peer),
        BARE: _turn(bare),
        ALONE: _turn(ours / 2),
    }
    return Round(turns=turns, prompt_tokens=60, same_answers=0.9)


FOUND = {1: [_round(10, 12, 8)] * 3, 16: [_round(40, 36, 35), _round(41, 36, 35)]}


def test_ours_stands_above() -> None:
    by_name = {(one.name, one.sides): one for one in findings(FOUND)}
    rate = by_name["tokens/s, 1 stream", f"{OURS} / {PEER}"]
    assert rate.met
    assert rate.ratio.value == pytest.approx(1.2)
    assert by_name["tokens/s, 1 stream", f"{PEER} / {BARE}"].ratio.value == pytest.approx(8 / 12)
    assert by_name["tokens/s, 1 stream", f"{ALONE} / {OURS}"].ratio.value == pytest.approx(2)
    assert by_name["CPU, for each token, 1 stream", f"{OURS} / {BARE}"].ratio.value == pytest.approx(1.25)


def test_two_milliseconds_more_are_the_most() -> None:
    by_name = {(one.name, one.sides): one.met for one in findings(FOUND)}
    assert by_name["inter-token latency, p99, 1 stream", f"{OURS} / {BARE}"] is True
    assert by_name["inter-token latency, p99, 16 streams", f"{OURS} / {PEER}"] is False


def test_differences_are_ours_minus_theirs() -> None:
    assert facts(FOUND)["p99 inter-token latency, ours - vLLM server, ms, 1 stream"] == (
        "-2.000 [-2.000, -2.000]"
    )


def test_a_difference_has_an_interval_over_turns() -> None:
    found = difference_of_percentiles([[10.0] * 5, [14.0] * 5], [[10.0] * 5, [10.0] * 5], 50)
    assert (found.low, found.value, found.high) == (0.0, 2.0, 4.0)


@pytest.mark.parametrize(("ours", "theirs"), [([], []), ([[1.0]], [[1.0], [1.0]]), ([[1.0]], [[]])])
def test_no_difference_without_pairs(ours: list[list[float]], theirs: list[list[float]]) -> None:
    with pytest.raises(ValueError, match="Pairs"):
        difference_of_percentiles(ours, theirs, 99)


def test_plots() -> None:
    assert {(one["plot"], one["side"]) for one in samples(FOUND)} >= {("TTFT", OURS), ("TTFT", BARE)}
    rates = {one["side"]: one["y"] for one in series(FOUND) if one["plot"] == "Tokens a second"}
    assert rates[OURS] == pytest.approx([100, (25 + 1000 / 41) / 2])


def test_turns_are_written_without_their_long_lists() -> None:
    turns = written(FOUND)["16"][0]["turns"]
    assert isinstance(turns, dict)
    assert turns[OURS]["inter_token_ms"] == {"values": 10, "p50": 40, "p99": 40}


def test_numbers_of_streams() -> None:
    assert parse_counts("1, 16") == (1, 16)


@pytest.mark.parametrize("text", ["", "1,", "0", "-1", "many"])
def test_other_numbers_of_streams_are_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter):
        parse_counts(text)
