from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import JsonValue

from benchmarks import recorded
from benchmarks.recorded import Document, has_result, newest, ratios
from tests.unit.benchmarks.recording import COMMIT, document, write

RATIO: dict[str, JsonValue] = {"value": 1.0, "low": 0.9, "high": 1.1}
CLEAN = {"commit": COMMIT, "uncommitted_changes": False}


def documents(*made: dict[str, object]) -> list[Document]:
    return [Document.model_validate(one) for one in made]


def test_files_that_are_no_results_are_told_apart(tmp_path: Path) -> None:
    write(tmp_path, document("a", {}), {"benchmark": "b"})
    (tmp_path / "broken.json").write_text("{", encoding="utf-8")
    found, others = recorded.read(tmp_path)
    assert [one.benchmark for one in found] == ["a"]
    assert [path.name for path in others] == ["1.json", "broken.json"]


def test_the_newest_full_result_is_taken_and_a_quick_one_only_where_there_is_no_other() -> None:
    found = newest(
        documents(
            document("a", {}, at="2026-01-02T00:00:00+00:00"),
            document("a", {}, at="2026-01-01T00:00:00+00:00"),
            document("a", {}, at="2026-01-03T00:00:00+00:00", command="python -m benchmarks.a --quick"),
            document("b", {}, command="python -m benchmarks.b --quick"),
        )
    )
    assert (found["a"].at.day, found["a"].quick, found["b"].quick) == (2, False, True)


@pytest.mark.parametrize(
    ("recorded_with", "here", "same"),
    [
        ({}, {}, True),
        ({"commit": "b" * 40}, {}, False),
        ({"commit": None}, {"commit": None}, False),
        ({"uncommitted_changes": True}, {}, False),
        ({}, {"uncommitted_changes": True}, False),
        ({"uncommitted_changes": True}, {"uncommitted_changes": True}, False),
        (
            {"uncommitted_changes": True, "changes": "x"},
            {"uncommitted_changes": True, "changes": "x"},
            True,
        ),
        (
            {"uncommitted_changes": True, "changes": "x"},
            {"uncommitted_changes": True, "changes": "y"},
            False,
        ),
    ],
)
def test_a_result_counts_for_the_very_code_that_made_it(
    recorded_with: dict[str, object], here: dict[str, object], same: bool
) -> None:
    made = documents(document("a", {}, changed=recorded_with))
    assert has_result(made, ("benchmarks.a",), {**CLEAN, **here}) is same


def test_and_for_the_very_command() -> None:
    made = documents(document("a", {}, command="/somewhere/python -u -m benchmarks.a x --quick"))
    assert has_result(made, ("benchmarks.a", "x", "--quick"), CLEAN)
    assert not has_result(made, ("benchmarks.a", "x"), CLEAN)


@pytest.mark.parametrize(
    "key_and_value",
    [
        ("series", [{"plot": "p", "side": "s", "x": [1], "y": [1, 2], "x_label": "x", "y_label": "y"}]),
        ("series", [{"plot": "p", "side": "s", "x": [], "y": [], "x_label": "x", "y_label": "y"}]),
        ("series", [{"plot": "p", "side": "s", "x": [1], "y": [float("nan")], "x_label": "", "y_label": ""}]),
        ("samples", [{"plot": "p", "side": "s", "values": [], "x_label": "x"}]),
        ("samples", [{"plot": "p", "side": "s", "values": [1], "x_label": "x", "unknown": 1}]),
        ("parts", [{"plot": "p", "side": "s", "parts": {"a": -1}, "x_label": "x"}]),
    ],
)
def test_what_cannot_be_drawn_hides_nothing_else(key_and_value: tuple[str, object]) -> None:
    key, value = key_and_value
    (one,) = documents(document("a", {"facts": {"n": 1}, key: value}))
    measured, unsound = one.measured()
    assert (measured.facts, unsound) == ({"n": 1}, [key])


def test_ratios_are_found_wherever_they_stand() -> None:
    found = ratios({"sizes": [{"a / b": RATIO}, {"c": {"p50": RATIO, "n": 3}}]})
    assert [name for name, _ in found] == ["sizes / 0 / a / b", "sizes / 1 / c / p50"]
