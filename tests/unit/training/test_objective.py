"""The losses want pictures on their words."""

from __future__ import annotations

import math

import pytest
import torch

from multimodal.training.data import Words
from multimodal.training.objective import Objective, Scales, log_scale
from multimodal.training.plan import Planner


def test_pictures_on_their_words_cost_less_than_pictures_elsewhere(
    planner: Planner, objective: Objective, words: Words
) -> None:
    plan = planner.draw(20, 1)
    singles = int((plan.concept >= 0).sum())
    right = torch.cat([objective.centroids[plan.concept[:singles]], words.captions[plan.example[singles:]]])
    others = objective.centroids[(plan.concept[:singles] + 1) % len(objective.centroids)]
    wrong = torch.cat([others, words.captions[(plan.example[singles:] + 1) % len(words.captions)]])
    scales = Scales()()
    good = objective(right, plan, scales, torch.Generator().manual_seed(1))
    bad = objective(wrong, plan, scales, torch.Generator().manual_seed(1))
    for part in ("concepts", "bank", "foils", "batch", "cosine"):
        assert getattr(good, part).item() < getattr(bad, part).item(), part
    assert good.cosine.item() < 1e-5


def test_a_concept_lies_nearest_to_its_own_texts(objective: Objective, words: Words) -> None:
    similarity = objective.centroids @ words.bank_vectors.T
    for number, rows in enumerate(words.bank.rows):
        assert int(similarity[number].argmax()) in rows


@pytest.mark.parametrize(("log", "scale"), [(3.0, math.exp(3)), (0.0, 1.0), (7.0, 100.0)])
def test_the_scale_that_is_shipped_is_the_one_among_concepts(log: float, scale: float) -> None:
    scales = Scales()
    with torch.no_grad():
        scales.logs.copy_(torch.tensor([0.1, 0.2, 0.3, log]))
    assert math.exp(log_scale(scales.state_dict())) == pytest.approx(scale, rel=1e-6)
    assert float(scales().detach()[3]) == pytest.approx(scale, rel=1e-5)
