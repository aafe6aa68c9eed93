"""A run that stops and goes on ends where one ends that did not stop."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from multimodal.errors import ConfigError
from multimodal.training import checkpoints
from multimodal.training.compose import Composer
from multimodal.training.objective import Objective
from multimodal.training.plan import Planner
from multimodal.training.tower import TowerSpec
from multimodal.training.train import Recipe, Trainer

RECIPE = Recipe(
    tower=TowerSpec("test_resnet", 32),
    steps=4,
    batch=8,
    sizes=((0.5, 24),),
    warm_up=2,
    bf16=False,
    checkpoint_every=2,
)


@pytest.fixture
def trainer(planner: Planner, composer: Composer, objective: Objective) -> Trainer:
    return Trainer(RECIPE, planner, composer, objective)


def test_resuming_gives_the_same_weights(
    tmp_path: Path, planner: Planner, composer: Composer, objective: Objective
) -> None:
    whole = Trainer(RECIPE, planner, composer, objective)
    whole.run(4)
    Trainer(RECIPE, planner, composer, objective).run(2, tmp_path / "checkpoint.pt")
    second = Trainer(RECIPE, planner, composer, objective)
    saved = checkpoints.load(tmp_path / "checkpoint.pt")
    assert saved is not None
    second.resume(saved)
    assert second.step == 2
    second.run(4)
    for part, other in (
        (whole.tower.state_dict(), second.tower.state_dict()),
        (whole.average.state, second.average.state),
    ):
        assert all(torch.equal(part[name], other[name]) for name in part)


def test_training_changes_the_weights_and_the_average_follows(trainer: Trainer) -> None:
    before = {name: value.clone() for name, value in trainer.average.state.items()}
    trainer.run(4)
    moved = [not torch.equal(value, before[name]) for name, value in trainer.average.state.items()]
    assert any(moved)


def test_a_checkpoint_of_another_recipe_is_refused(trainer: Trainer) -> None:
    saved = trainer.checkpoint()
    saved["recipe"] = "another"
    with pytest.raises(ConfigError, match="another recipe"):
        trainer.resume(saved)


def test_a_failed_save_leaves_the_last_checkpoint(
    tmp_path: Path, trainer: Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "checkpoint.pt"
    checkpoints.save(path, trainer.checkpoint())

    def fail(*args: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(OSError, match="disk full"):
        checkpoints.save(path, {**trainer.checkpoint(), "step": 3})
    saved = checkpoints.load(path)
    assert saved is not None
    assert saved["step"] == 0


def test_there_may_be_no_checkpoint(tmp_path: Path) -> None:
    assert checkpoints.load(tmp_path / "checkpoint.pt") is None


def test_sizes_and_rates_follow_the_schedule() -> None:
    tower = TowerSpec(image_size=80)
    recipe = Recipe(tower, steps=100, sizes=((0.5, 48), (0.9, 64)), warm_up=10, learning_rate=1.0)
    assert [recipe.size_px(step) for step in (0, 49, 50, 89, 90, 99)] == [48, 48, 64, 64, 80, 80]
    assert recipe.rate(0) == pytest.approx(0.1)
    assert recipe.rate(10) == pytest.approx(1.0)
    assert recipe.rate(99) < 0.02
