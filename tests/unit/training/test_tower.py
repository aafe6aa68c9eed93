"""The tower, and what its trunk begins with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from multimodal.errors import ConfigError
from multimodal.training.export import MOST_BYTES
from multimodal.training.tower import EMBED_DIM, TowerSpec, begin_with, build, normalise
from tests.unit.training.first_weights import classifier_file

State = dict[str, torch.Tensor]
SPEC = TowerSpec("test_resnet", 32)


@pytest.fixture
def tower() -> torch.nn.Module:
    torch.manual_seed(0)
    return build(SPEC)


def copy_of(module: torch.nn.Module) -> State:
    return {name: value.clone() for name, value in module.state_dict().items()}


def test_the_trunk_is_filled_in_order_and_the_head_is_left_alone(
    tmp_path: Path, tower: torch.nn.Module
) -> None:
    path, values = classifier_file(tmp_path, tower)
    head = copy_of(tower.get_submodule("head"))
    begin_with(tower, path)
    trunk = tower.get_submodule("trunk").state_dict()
    assert len(trunk) == len(values)
    assert all(torch.equal(own, value) for own, value in zip(trunk.values(), values, strict=True))
    assert all(
        torch.equal(value, head[name]) for name, value in tower.get_submodule("head").state_dict().items()
    )


def test_pictures_still_lie_in_memory_as_convolutions_like_them(
    tmp_path: Path, tower: torch.nn.Module
) -> None:
    begin_with(tower, classifier_file(tmp_path, tower)[0])
    kernels = [weight for weight in tower.parameters() if weight.ndim == 4]
    assert kernels
    assert all(weight.is_contiguous(memory_format=torch.channels_last) for weight in kernels)


def without_the_first(state: State) -> State:
    return dict(list(state.items())[1:])


def without_the_last(state: State) -> State:
    return {name: state[name] for name in list(state)[:-3] + list(state)[-2:]}


def with_one_more(state: State) -> State:
    return {**state, "_blocks.more": torch.zeros(1)}


def of_another_width(state: State) -> State:
    return {**state, "_blocks.0": state["_blocks.0"][:-1]}


def in_another_order(state: State) -> State:
    return dict(sorted(state.items(), key=lambda one: one[1].ndim))


@pytest.mark.parametrize(
    "change", [without_the_first, without_the_last, with_one_more, of_another_width, in_another_order]
)
def test_weights_that_do_not_fit_are_refused_and_change_nothing(
    tmp_path: Path, tower: torch.nn.Module, change: Callable[[State], State]
) -> None:
    path, _ = classifier_file(tmp_path, tower)
    torch.save(change(torch.load(path, weights_only=True)), path)
    before = copy_of(tower)
    with pytest.raises(ConfigError, match=r"classifier\.pth does not fit"):
        begin_with(tower, path)
    assert all(torch.equal(value, before[name]) for name, value in tower.state_dict().items())


def test_the_shipped_tower_is_small_and_ends_in_the_space_of_the_sentences() -> None:
    spec = TowerSpec()
    tower = build(spec).eval()
    with torch.inference_mode():
        vectors = tower(normalise(torch.zeros(1, 3, spec.image_size, spec.image_size)))
    assert vectors.shape == (1, EMBED_DIM)
    assert 2 * sum(value.numel() for value in tower.state_dict().values()) < MOST_BYTES
