from __future__ import annotations

import os
from pathlib import Path

import pytest
from pydantic import ValidationError

from benchmarks.engine_settings.candidates import CONTROL, Candidate, candidates, chosen
from benchmarks.engine_settings.engine import MAX_TOKENS, environment
from benchmarks.engine_settings.measure import LOADS, SIDES, Pair, SideName, Turn, turn_of
from benchmarks.engine_settings.outcome import COLUMNS, findings, markdown
from benchmarks.engine_settings.store import Outcome, described, finished, load, path_of, save
from benchmarks.load import Answer
from multimodal.config import GeneratorArgs

BASELINE = GeneratorArgs()
PAIRS = 7


def _turn(ms: float) -> Turn:
    return Turn(
        cpu_ms=ms, tokens_per_s=1000 / ms, ttft_ms=ms, tpot_ms=ms, prompt_tokens=1000, cached_tokens=0
    )


def _outcome(candidate: Candidate, candidate_ms: float, baseline_ms: float) -> Outcome:
    of: dict[SideName, Turn] = {"candidate": _turn(candidate_ms), "baseline": _turn(baseline_ms)}
    pair: Pair = {one.name: of for one in LOADS}
    return Outcome(
        name=candidate.name,
        what=described(candidate, BASELINE),
        boot_s=20.0,
        baseline_boot_s=21.0,
        pairs=[pair] * PAIRS,
        others_cores=0.0,
    )


def test_no_candidate_but_the_control_has_the_profiles_settings() -> None:
    control, *others = candidates(BASELINE)
    assert control is CONTROL
    assert control.applied(BASELINE) == BASELINE
    changed = [one for one in others if one.applied(BASELINE) != BASELINE or one.env]
    assert len(changed) == len({one.slug for one in others}) == len(others)
    assert "blocks of 32 tokens" not in {one.name for one in others}


def test_the_profiles_own_setting_is_a_candidate_where_the_profile_changes() -> None:
    names = {one.name for one in candidates(GeneratorArgs(block_tokens=128, cores="0"))}
    assert "blocks of 32 tokens" in names
    assert not {"one core", "blocks of 128 tokens"} & names


def test_without_chunks_a_whole_prompt_fits_into_a_step() -> None:
    by_name = {one.name: one for one in candidates(BASELINE)}
    without, with_chunks = by_name["no chunked prefill"], by_name["whole context a step"]
    assert without.applied(BASELINE).max_num_batched_tokens == BASELINE.max_model_len
    assert without.applied(BASELINE) == with_chunks.applied(BASELINE)
    assert (without.chunked_prefill, with_chunks.chunked_prefill) == (False, True)


def test_a_candidate_is_checked_as_the_profile_is() -> None:
    with pytest.raises(ValidationError):
        Candidate(name="misspelt", args={"block_token": 16}).applied(BASELINE)


def test_candidates_are_chosen_by_name() -> None:
    every = candidates(BASELINE)
    assert chosen(every, []) == every
    assert [one.name for one in chosen(every, ["compiled", "one core"])] == ["compiled", "one core"]
    with pytest.raises(ValueError, match="comiled"):
        chosen(every, ["comiled"])


def test_the_environment_is_changed_for_a_while() -> None:
    name = "ENGINE_SETTINGS_TEST"
    with environment({name: "1", "HOME": "elsewhere"}):
        assert (os.environ[name], os.environ["HOME"]) == ("1", "elsewhere")
    assert name not in os.environ
    assert os.environ["HOME"] != "elsewhere"


def test_cpu_time_is_shared_out_over_the_tokens_of_all_answers() -> None:
    turn = turn_of([_answer()] * 2, cpu_s=0.48)
    assert turn["cpu_ms"] == pytest.approx(480 / (2 * MAX_TOKENS))
    assert turn["ttft_ms"] == pytest.approx(100)
    assert turn["tokens_per_s"] == pytest.approx(2 * MAX_TOKENS / 0.5)


def test_an_answer_that_ended_early_is_refused() -> None:
    with pytest.raises(RuntimeError, match="tokens"):
        turn_of([_answer(MAX_TOKENS - 1)], cpu_s=1.0)


def test_what_is_finished_is_not_measured_again(tmp_path: Path) -> None:
    blocks, bind = Candidate(name="blocks", args={"block_tokens": 64}), Candidate(name="bind")
    outcome = _outcome(blocks, 1.0, 2.0)
    save(outcome, path_of(blocks, PAIRS, tmp_path))
    assert finished([blocks, bind], BASELINE, PAIRS, tmp_path) == [outcome]


def test_what_was_measured_otherwise_is_measured_again(tmp_path: Path) -> None:
    blocks = Candidate(name="blocks", args={"block_tokens": 64})
    save(_outcome(blocks, 1.0, 2.0), path_of(blocks, PAIRS, tmp_path))
    assert load(blocks, BASELINE, PAIRS + 1, tmp_path) is None
    assert load(blocks, GeneratorArgs(max_num_seqs=8), PAIRS, tmp_path) is None
    assert load(Candidate(name="blocks", args={"block_tokens": 16}), BASELINE, PAIRS, tmp_path) is None


def test_a_file_of_another_version_is_measured_again(tmp_path: Path) -> None:
    path = path_of(CONTROL, PAIRS, tmp_path)
    path.write_text('{"name": "the same again"}', encoding="utf-8")
    assert load(CONTROL, BASELINE, PAIRS, tmp_path) is None


def test_findings_are_candidate_over_baseline() -> None:
    lines = findings([_outcome(CONTROL, 1.0, 2.0)])
    assert len(lines) == len(COLUMNS)
    assert [line.ratio.value for line in lines] == pytest.approx([0.5, 0.5, 2.0, 2.0, 0.5])


def test_the_table_says_the_baselines_numbers_once() -> None:
    table = markdown([_outcome(CONTROL, 1.0, 2.0), _outcome(Candidate(name="bind auto"), 2.0, 2.0)])
    rows = [line.split(" | ") for line in table.splitlines()]
    assert {len(row) for row in rows} == {len(COLUMNS) + 2}
    assert (rows[2][1], rows[3][1]) == ("2 ms", "0.50 [0.50, 0.50]")
    assert rows[4][0] == "| bind auto"


def test_both_sides_have_every_load() -> None:
    assert SIDES == ("candidate", "baseline")
    assert {column.load for column in COLUMNS} == {one.name for one in LOADS}


def _answer(tokens: int = MAX_TOKENS) -> Answer:
    return Answer(
        sent_s=1.0,
        arrivals_s=(1.1, 1.5),
        ended_s=1.5,
        text="a b",
        prompt_tokens=60,
        completion_tokens=tokens,
        cached_tokens=0,
    )
