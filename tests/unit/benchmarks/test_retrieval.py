from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import cast

import psutil
import pytest

from benchmarks import made_up, retrieval
from benchmarks.asking import Answer, InProcess, Side, Turn
from benchmarks.made_up import Question, Questions
from benchmarks.retrieval import Options, measure, same_hits, summarise, write_config
from multimodal import serve_config
from tests.unit.benchmarks.test_made_up import encode

OPTIONS = Options(requests=12, turns=3, clients=(1,), recall=1, seed=0)


def _turn(ms: float) -> Turn:
    return Turn(p50_ms=ms, p99_ms=3 * ms, per_s=1000 / ms, cpu_ms=ms, others=0.0)


def _answers(*ids: str) -> list[Answer]:
    return [Answer(ms=1.0, ids=list(ids))]


class Recording:
    """A side that notes what it was asked, and in which turn of all sides."""

    def __init__(self, log: list[tuple[str, list[str]]], name: str) -> None:
        self._log, self._name = log, name
        self._inner = InProcess(lambda question: [question.text])

    def ask(self, questions: Sequence[Question], clients: int) -> list[Answer]:
        self._log.append((self._name, [one.text for one in questions]))
        return self._inner.ask(questions, clients)

    def processes(self) -> Sequence[psutil.Process]:
        return self._inner.processes()


def application(file: Path) -> dict[str, object]:
    (found,) = cast("list[dict[str, object]]", serve_config.read(file).document["applications"])
    return found


def test_ratios_are_ours_over_theirs() -> None:
    turns = {
        retrieval.DENSE: [_turn(2), _turn(4), _turn(6)],
        retrieval.BARE: [_turn(1), _turn(2), _turn(3)],
    }
    found = {retrieval.DENSE: _answers("a", "b"), retrieval.BARE: _answers("b", "a")}
    speed = summarise(1, turns, found)
    assert speed["ratios"].keys() == {"engine / bare"}
    assert speed["ratios"]["engine / bare"]["p50_ms"] == {"value": 2, "low": 2, "high": 2}
    assert speed["ratios"]["engine / bare"]["per_s"]["value"] == pytest.approx(0.5)
    assert speed["sides"][retrieval.DENSE]["cpu_ms"] == 4
    assert speed["same_hits"] == {"engine / bare": 1.0}


def test_hits_that_differ_are_pointed_out_and_no_hits_at_all_are_refused() -> None:
    assert same_hits(_answers("a", "b", "c", "d"), _answers("d", "x")) == 0.25
    with pytest.raises(RuntimeError, match="Nothing was found"):
        same_hits(_answers(), _answers("a"))


def test_sides_take_turns_on_the_same_questions_and_none_is_asked_twice() -> None:
    log: list[tuple[str, list[str]]] = []
    sides: dict[str, Side] = {name: Recording(log, name) for name in (retrieval.BARE, retrieval.DENSE)}
    questions = Questions(encode, seed=4)
    measure(sides, 1, lambda count: questions.draw(count, made_up.anything), OPTIONS)
    warm_up, measured = log[:2], log[2:]
    assert {name for name, _ in warm_up} == sides.keys()
    bare, engine = retrieval.BARE, retrieval.DENSE
    assert [name for name, _ in measured] == [bare, engine, engine, bare, bare, engine]
    for (_, first), (_, second) in zip(measured[::2], measured[1::2], strict=True):
        assert first == second
        assert len(first) == 4
    texts = [text for _, asked in measured[::2] for text in asked]
    assert len(set(texts)) == len(texts)


def test_the_server_is_the_embedded_profile_with_the_graph_of_the_benchmark(tmp_path: Path) -> None:
    written, original = write_config(tmp_path), retrieval.CONFIG
    assert application(written) == {**application(original), "import_path": retrieval.GRAPH}
