"""A run that stops and goes on ends where one ends that did not stop."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest
import torch

from multimodal.errors import ConfigError
from multimodal.training import checkpoints
from multimodal.training.compose import Composer
from multimodal.training.objective import Objective
from multimodal.training.plan import Planner
from multimodal.training.tower import TowerSpec, build
from multimodal.training.train import Recipe, Trainer
from tests.unit.training.first_weights import classifier_file

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


# --- the trunk, which has learned before ---------------------------------------------------------


def first_steps(trainer: Trainer) -> dict[str, torch.Tensor]:
    """By how much one step of training moves each weight."""
    before = {name: weight.detach().clone() for name, weight in trainer.tower.named_parameters()}
    trainer.run(1)
    return {name: weight.detach() - before[name] for name, weight in trainer.tower.named_parameters()}


@pytest.mark.parametrize("share", [0.0, 0.25])
def test_the_trunk_learns_at_its_share_and_the_head_at_the_full_rate(
    planner: Planner, composer: Composer, objective: Objective, share: float
) -> None:
    full, part = (
        first_steps(Trainer(replace(RECIPE, trunk_share=one), planner, composer, objective))
        for one in (1.0, share)
    )
    for place in ("trunk.", "head."):
        assert any(moved.abs().max() > 1e-4 for name, moved in full.items() if name.startswith(place))
    for name, moved in full.items():
        expected = moved * share if name.startswith("trunk.") else moved
        # A weight near 1 moves in steps of 6e-8.
        assert torch.allclose(part[name], expected, atol=3e-7), name


def test_every_weight_learns_and_only_matrices_decay(trainer: Trainer) -> None:
    groups = cast("list[Mapping[str, object]]", trainer.checkpoint()["optimiser"]["param_groups"])
    sizes = {True: 0, False: 0}
    for group in groups:
        sizes[group["weight_decay"] == RECIPE.weight_decay] += len(cast("list[int]", group["params"]))
    weights = list(trainer.tower.parameters())
    matrices = sum(weight.ndim > 1 for weight in weights)
    assert sizes == {True: matrices, False: len(weights) - matrices + 1}  # and the temperatures


def test_a_run_begins_with_the_first_weights(
    tmp_path: Path, planner: Planner, composer: Composer, objective: Objective
) -> None:
    path, values = classifier_file(tmp_path, build(RECIPE.tower))
    trainer = Trainer(RECIPE, planner, composer, objective, path)
    begun = trainer.tower.get_submodule("trunk").state_dict()
    for name, value in zip(begun, values, strict=True):
        assert torch.equal(begun[name], value)
        assert torch.equal(trainer.average.state[f"trunk.{name}"], value)


def test_first_weights_of_another_model_end_the_run_before_it_begins(
    tmp_path: Path, planner: Planner, composer: Composer, objective: Objective
) -> None:
    path, _ = classifier_file(tmp_path, build(TowerSpec("test_vit", 32)))
    with pytest.raises(ConfigError, match="does not fit"):
        Trainer(RECIPE, planner, composer, objective, path)
