from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from benchmarks.generator_tax.bench_serve import (
    MAX_DRAWS,
    OUTPUT_TOKENS,
    REFUSED,
    SIDES,
    Load,
    RefusedError,
    Result,
    SideName,
    _ended_children_s,
    agreed,
    command,
    findings,
    loads,
    parse_rates,
    read,
    series,
)

LOAD = Load(dataset="random", rate_per_s=2, prompts=8)
RESULT = Result(
    completed=8,
    failed=0,
    total_input_tokens=512,
    total_output_tokens=8 * OUTPUT_TOKENS,
    output_throughput=60.0,
    median_ttft_ms=40.0,
    p99_ttft_ms=80.0,
    median_tpot_ms=20.0,
    median_itl_ms=20.0,
    p99_itl_ms=30.0,
)


def test_a_rate_is_kept_up_for_so_long() -> None:
    assert [(load.dataset, load.prompts) for load in loads("0.5,4", "1", 10)] == [
        ("random", 8),
        ("random", 40),
        ("random-mm", 10),
    ]


@pytest.mark.parametrize("text", ["", "0", "-1", "inf", "nan", "1,,2", "many"])
def test_other_rates_are_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter):
        parse_rates(text, "--rates")


def test_pictures_are_sent_where_they_are_asked_for() -> None:
    words = command("http://x", "m", "/t", LOAD, 1, Path("/r/result.json"))
    assert words[words.index("--request-rate") + 1] == "2"
    assert not any(word.startswith("--random-mm") for word in words)
    images = Load(dataset="random-mm", rate_per_s=2, prompts=8)
    assert "--random-mm-bucket-config" in command("http://x", "m", "/t", images, 1, Path("/r/result.json"))


def test_fields_that_nobody_asked_for_are_passed_over() -> None:
    document = RESULT.model_dump() | {"date": "today", "mean_ttft_ms": 1.0}
    assert read(json.dumps(document).encode(), LOAD) == RESULT


@pytest.mark.parametrize("wrong", [{"completed": 7}, {"failed": 1}, {"total_output_tokens": 1}])
def test_a_run_with_a_failure_is_none(wrong: dict[str, int]) -> None:
    document = RESULT.model_dump() | wrong
    with pytest.raises(RuntimeError, match="Of 8 requests"):
        read(json.dumps(document).encode(), LOAD)


def test_a_refusal_is_told_from_another_failure() -> None:
    document = RESULT.model_dump() | {"completed": 7, "failed": 1}
    with pytest.raises(RefusedError, match="1 were refused"):
        read(json.dumps(document | {"errors": [""] * 7 + [REFUSED]}).encode(), LOAD)
    with pytest.raises(RuntimeError, match="Too Many Requests") as other:
        read(json.dumps(document | {"errors": [REFUSED, "Too Many Requests"]}).encode(), LOAD)
    assert not isinstance(other.value, RefusedError)


def test_both_sides_get_other_prompts_where_one_refuses_them() -> None:
    asked: list[tuple[SideName, int]] = []

    def once(side: SideName, load: Load, seed: int) -> Result:
        asked.append((side, seed))
        if len(asked) == 2:
            raise RefusedError("Of 8 requests 1 were refused.")
        return RESULT

    assert list(agreed(once, LOAD, SIDES)) == list(SIDES)
    assert [side for side, _ in asked] == [*SIDES, *SIDES]
    first, refused, *again = [seed for _, seed in asked]
    assert first == refused
    assert first not in again
    assert len(set(again)) == 1


def test_prompts_are_drawn_a_few_times_at_most() -> None:
    asked = []

    def refuse(side: SideName, load: Load, seed: int) -> Result:
        asked.append(seed)
        raise RefusedError("no")

    with pytest.raises(RefusedError):
        agreed(refuse, LOAD, SIDES)
    assert len(set(asked)) == MAX_DRAWS


def test_two_milliseconds_more_are_the_most() -> None:
    slower = RESULT.model_copy(update={"p99_itl_ms": 33.0})
    ours, peer = SIDES
    by_name = {one.name: one for one in findings({LOAD: {ours: [slower], peer: [RESULT]}})}
    assert by_name["inter-token latency, p99: text, 2/s"].met is False
    assert by_name["TTFT, p50: text, 2/s"].ratio.value == 1.0


def test_lines_are_of_one_dataset() -> None:
    images = Load(dataset="random-mm", rate_per_s=1, prompts=8)
    results = {side: [RESULT] for side in SIDES}
    lines = series({LOAD: results, images: results})
    assert {(line["panel"], tuple(line["x"])) for line in lines} == {
        ("text", (2.0,)),
        ("text and a picture", (1.0,)),
    }


def test_ended_children_are_counted() -> None:
    before_s = _ended_children_s()
    subprocess.run([sys.executable, "-c", "import time\nwhile time.process_time() < 0.2: pass"], check=True)
    assert _ended_children_s() - before_s >= 0.15
