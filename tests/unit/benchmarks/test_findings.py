from __future__ import annotations

import pytest

from benchmarks.encode_once.served import encoded_items
from benchmarks.findings import Target, check, in_order, medians, thinned


@pytest.mark.parametrize(
    ("target", "text", "first", "met"),
    [
        (Target(at_least=20), ">= 20", 20.0, True),
        (Target(at_least=20), ">= 20", 19.9, False),
        (Target(at_most=1.25), "<= 1.25", 1.2, True),
        (Target(at_most=1.25), "<= 1.25", 1.3, False),
    ],
)
def test_a_target_is_met_or_missed_and_the_results_say_so(
    target: Target, text: str, first: float, met: bool
) -> None:
    found = medians("name", "a / b", [first] * 3, [1.0] * 3, "ms", target).as_json()
    assert (found["target"], found["met"]) == (text, met)


def test_no_target_no_verdict() -> None:
    assert "met" not in medians("name", "a / b", [1.0], [2.0], "ms").as_json()


def test_every_other_pair_runs_backwards() -> None:
    assert [list(in_order(number, ("a", "b"))) for number in range(3)] == [["a", "b"], ["b", "a"], ["a", "b"]]


def test_items_are_counted_over_replicas_and_modalities() -> None:
    text = """# TYPE multimodal_encoded_items counter
multimodal_encoded_items_total{deployment="A",encoder="Reader",modality="image",replica="1"} 3.0
multimodal_encoded_items_total{deployment="A",encoder="Reader",modality="video",replica="2"} 4.0
multimodal_encoded_items_total{deployment="B",encoder="ImageEncoder",modality="image"} 1.0
multimodal_encoded_items_created{deployment="B",encoder="ImageEncoder",modality="image"} 1.7e9
# TYPE other counter
other_total 5.0
"""
    assert encoded_items(text) == {"Reader": 7, "ImageEncoder": 1}


def test_a_target_can_be_a_difference() -> None:
    target = Target(at_most_more=2.0)
    assert medians("name", "a / b", [11.9], [10.0], "ms", target).met
    assert not medians("name", "a / b", [12.1], [10.0], "ms", target).met
    assert str(target) == "<= 2 more"


def test_an_aim_decides_nothing() -> None:
    missed_aim = medians("name", "a / b", [2.5], [1.0], "ms", Target(at_least=2, aim=3))
    assert missed_aim.as_json()["target"] == ">= 2, aim 3"
    assert missed_aim.met
    assert medians("name", "a / b", [0.5], [1.0], "ms", Target(aim=0.97)).met is None


def test_what_is_no_ratio_has_a_target_too() -> None:
    assert check("cosine", 0.9989, Target(at_least=0.999)) == {
        "name": "cosine",
        "value": 0.9989,
        "unit": "",
        "target": ">= 0.999",
        "met": False,
    }


def test_less_than_nothing_is_no_more_than_nothing() -> None:
    found = check("errors, more than the library's", -0.01, Target(at_most=0.0))
    assert (found["target"], found["met"]) == ("<= 0", True)


def test_few_values_are_kept_and_of_many_the_ends() -> None:
    assert thinned([3, 1, 2]) == [1.0, 2.0, 3.0]
    many = thinned(range(100_000))
    assert (len(many), many[0], many[-1]) == (1000, 0.0, 99_999.0)
    assert many[500] == pytest.approx(50_000, rel=0.01)
