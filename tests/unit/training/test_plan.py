"""Plans place things as captions say, and depend on nothing but seed and step."""

from __future__ import annotations

import numpy as np
import pytest

from multimodal.training.captions import Layout, Scene, Thing
from multimodal.training.concepts import Concept, Icon
from multimodal.training.plan import Plan, Planner, Style
from multimodal.training.scenes import Example

RED_CIRCLE, BLUE_SQUARE = Thing("circle", "red"), Thing("square", "blue")


def _plan(scene: Scene, concepts: list[Concept], icons: list[Icon]) -> Plan:
    return Planner(concepts, icons, [Example(scene, "", ())], seed=1).draw(40, step=0)


@pytest.mark.parametrize(
    ("layout", "axis", "sign"),
    [(Layout.LEFT, 0, 1), (Layout.RIGHT, 0, -1), (Layout.ABOVE, 1, 1), (Layout.BELOW, 1, -1)],
)
def test_things_lie_as_the_caption_says(
    layout: Layout, axis: int, sign: int, concepts: list[Concept], icons: list[Icon]
) -> None:
    plan = _plan(Scene((RED_CIRCLE, BLUE_SQUARE), layout), concepts, icons)
    for picture in np.flatnonzero(plan.example >= 0):
        first, second = np.flatnonzero(plan.slots.picture == picture)
        assert [plan.slots.tint[first], plan.slots.tint[second]] == ["red", "blue"]
        assert sign * plan.slots.centre[first, axis] < sign * plan.slots.centre[second, axis]


@pytest.mark.parametrize("count", [2, 3, 4, 5, 6])
def test_a_counted_scene_has_that_many_things_apart_from_each_other(
    count: int, concepts: list[Concept], icons: list[Icon]
) -> None:
    plan = _plan(Scene((BLUE_SQUARE,), Layout.MANY, count), concepts, icons)
    for picture in np.flatnonzero(plan.example >= 0):
        rows = np.flatnonzero(plan.slots.picture == picture)
        assert len(rows) == count
        places = plan.slots.centre[rows]
        gaps = np.abs(places[:, None] - places).max(-1) + 9 * np.eye(count)
        assert gaps.min() > plan.slots.half[rows].max()


def test_the_same_step_gives_the_same_plan_and_another_step_another(planner: Planner) -> None:
    one, again, other = planner.draw(16, 5), planner.draw(16, 5), planner.draw(16, 6)
    assert (one.slots.source == again.slots.source).all()
    assert (one.slots.centre == again.slots.centre).all()
    assert (
        one.slots.centre.shape != other.slots.centre.shape or (one.slots.centre != other.slots.centre).any()
    )


def test_coloured_things_are_never_recoloured(icons: list[Icon]) -> None:
    reds = [Concept(f"c{n}", f"red thing {n}", group="objects") for n in range(5)]
    plan = _plan(Scene((RED_CIRCLE,)), reds, icons)
    assert set(plan.slots.style.tolist()) <= {Style.PLAIN, Style.POSTER, Style.SMOOTHED}
    assert not plan.recolours.any()
