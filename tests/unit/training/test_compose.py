"""Pictures follow their plans, and are the same for the same seed."""

from __future__ import annotations

import numpy as np
import torch

from multimodal.training.camera import dct_matrix
from multimodal.training.captions import Layout, Scene, Thing
from multimodal.training.compose import Composer
from multimodal.training.concepts import Concept, Icon
from multimodal.training.plan import Planner
from multimodal.training.scenes import Example
from multimodal.training.stylise import hue_matrices


def test_the_same_plan_gives_the_same_pictures(planner: Planner, composer: Composer) -> None:
    plan = planner.draw(12, 4)
    one, again, other = composer.draw(plan, 4, 32), composer.draw(plan, 4, 32), composer.draw(plan, 5, 32)
    assert one.shape == (12, 3, 32, 32)
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    assert one.min() >= 0
    assert one.max() <= 1


def test_a_thing_is_drawn_in_its_colour_on_its_side(
    concepts: list[Concept], icons: list[Icon], composer: Composer
) -> None:
    scene = Scene((Thing("square", "red"), Thing("square", "blue")), Layout.LEFT)
    plan = Planner(concepts, icons, [Example(scene, "", ())], seed=1).draw(50, 0)
    pictures = composer.draw(plan, 0, 48)[plan.example >= 0]
    redness = pictures[:, 0] - pictures[:, 2]
    # Backgrounds have colours of their own: the two sides differ by the things, in almost all pictures.
    assert float((redness[..., :24].amax((1, 2)) > redness[..., 24:].amax((1, 2))).float().mean()) >= 0.8


def test_a_background_has_the_colour_that_is_said(
    concepts: list[Concept], icons: list[Icon], composer: Composer
) -> None:
    scene = Scene((Thing("a plain green background"),), Layout.EMPTY)
    plan = Planner(concepts, icons, [Example(scene, "", ())], seed=1).draw(40, 0)
    means = composer.draw(plan, 0, 32)[plan.example >= 0].median(-1).values.median(-1).values
    assert bool((means[:, 1] >= means[:, [0, 2]].amax(1) - 0.02).all())


def test_the_transform_of_blocks_is_orthonormal() -> None:
    assert torch.allclose(dct_matrix() @ dct_matrix().T, torch.eye(8), atol=1e-5)


def test_turning_a_hue_keeps_greys_and_luma() -> None:
    matrix = hue_matrices(torch.tensor([1.3]), torch.tensor([0.7]))[0]
    assert torch.allclose(matrix @ torch.full((3,), 0.4), torch.full((3,), 0.4), atol=5e-3)
    luma = torch.tensor([0.299, 0.587, 0.114])
    assert np.isclose(
        float(luma @ matrix @ torch.tensor([0.9, 0.1, 0.3])),
        float(luma @ torch.tensor([0.9, 0.1, 0.3])),
        atol=1e-3,
    )
