from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks.compare import Cores, Pair, check_same_work, remarks, summarise
from benchmarks.load import Answer, Metrics

ANSWER = Answer(
    sent_s=0.0,
    arrivals_s=(0.1, 0.2),
    ended_s=0.2,
    text="a b",
    prompt_tokens=60,
    completion_tokens=128,
    cached_tokens=0,
)


def _pair(http_ms: float, bare_ms: float, others: float = 0.0) -> Pair:
    def metrics(ms: float) -> Metrics:
        return Metrics(ttft_ms=ms, itl_p50_ms=ms, itl_p99_ms=2 * ms, tpot_ms=ms, tokens_per_s=1000 / ms)

    return Pair(
        http=metrics(http_ms),
        bare=metrics(bare_ms),
        http_cores=Cores(server=1.8, bare=0.0, client=0.1, others=others),
        bare_cores=Cores(server=0.1, bare=1.9, client=0.0, others=0.0),
        same_answers=1.0,
        prompt_tokens=60,
    )


def test_ratios_are_http_over_bare() -> None:
    summary = summarise(16, [_pair(20, 10), _pair(40, 20), _pair(60, 30)])
    assert summary["ratios"]["ttft_ms"] == {"value": 2, "low": 2, "high": 2}
    assert summary["ratios"]["tokens_per_s"]["value"] == pytest.approx(0.5)
    assert (summary["http"]["itl_p99_ms"], summary["bare"]["itl_p99_ms"]) == (80, 40)


def test_equal_work_passes_although_texts_differ() -> None:
    check_same_work([ANSWER], [replace(ANSWER, text="a c")], max_tokens=128)


@pytest.mark.parametrize(
    ("other", "why"),
    [
        (replace(ANSWER, prompt_tokens=61), "60 prompt tokens and the bare engine 61"),
        (replace(ANSWER, completion_tokens=127), "128 tokens"),
        (replace(ANSWER, cached_tokens=128), "prefix cache"),
    ],
)
def test_unequal_work_is_refused(other: Answer, why: str) -> None:
    with pytest.raises(RuntimeError, match=why):
        check_same_work([ANSWER], [other], max_tokens=128)


def test_a_busy_machine_is_pointed_out() -> None:
    assert not any("idle machine" in line for line in remarks([_pair(2, 1), _pair(2, 1)]))
    assert any("idle machine" in line for line in remarks([_pair(2, 1), _pair(2, 1, others=0.5)]))
