from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace
from typing import cast

import psutil
import pytest

from benchmarks.generator_tax.sides import BARE, NAMES, OURS, PEER, check_memory, is_in_the_way
from benchmarks.generator_tax.turns import check_same_work, rotated, turn_of
from benchmarks.load import Answer

ANSWER = Answer(
    sent_s=0.0,
    arrivals_s=(0.1, 0.2),
    ended_s=0.2,
    text="a b",
    prompt_tokens=60,
    completion_tokens=128,
    cached_tokens=0,
)


def test_equal_work_passes_although_texts_differ() -> None:
    check_same_work({OURS: [ANSWER], PEER: [ANSWER], BARE: [replace(ANSWER, text="a c")]}, max_tokens=128)


@pytest.mark.parametrize(
    ("other", "why"),
    [
        (replace(ANSWER, prompt_tokens=61), "61 tokens at vLLM server, 60 at bare engine"),
        (replace(ANSWER, completion_tokens=127), "127 tokens, not 128"),
        (replace(ANSWER, cached_tokens=128), "prefix cache"),
    ],
)
def test_unequal_work_is_refused(other: Answer, why: str) -> None:
    with pytest.raises(RuntimeError, match=why):
        check_same_work({OURS: [ANSWER], PEER: [other], BARE: [ANSWER]}, max_tokens=128)


def test_each_side_has_each_place_equally_often() -> None:
    sides = len(NAMES)
    rounds = [rotated(NAMES, number) for number in range(2 * sides)]
    for place in range(sides):
        assert set(Counter(order[place] for order in rounds).values()) == {2}
    followed = Counter(pair for order in rounds for pair in pairwise(order))
    assert len(set(followed.values())) == 1
    assert all((second, first) in followed for first, second in followed)


@pytest.mark.parametrize(
    ("command", "needed"),
    [
        ("ray::ServeReplica:multimodal:Generator", True),
        ("ray::ServeReplica:multimodal:Gateway.tokens", True),
        ("VLLM::EngineCore", True),
        ("python -m deployments.serve_run config.yaml", True),
        ("/ray/core/src/ray/raylet/raylet --node", True),
        ("ray::ServeReplica:multimodal:ImageEncoder", False),
        ("ray::ServeReplica:multimodal:VideoEncoder", False),
        ("ray::ServeController", False),
        ("python -u /ray/_private/log_monitor.py", False),
    ],
)
def test_what_a_text_chat_does_not_go_through_is_stopped(command: str, needed: bool) -> None:
    process = SimpleNamespace(cmdline=command.split)
    assert is_in_the_way(cast("psutil.Process", process)) is needed


def test_a_turn() -> None:
    turn = turn_of([ANSWER, replace(ANSWER, arrivals_s=(0.2, 0.25), ended_s=0.25)], 0.512, {"others": 0.0})
    assert turn["cpu_ms"] == pytest.approx(2.0)
    assert turn["tokens_per_s"] == pytest.approx(1024)
    assert turn["ttft_ms"] == pytest.approx([100, 200])
    assert turn["inter_token_ms"] == pytest.approx([100, 50])
    assert turn["pieces"] == 4


def test_engines_that_do_not_fit_are_not_started() -> None:
    check_memory(16_000_000_000)
    with pytest.raises(RuntimeError, match="16 GB of memory; 12 GB"):
        check_memory(12_000_000_000)
