"""Pictures are rendered once, premultiplied, in two sizes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from multimodal.errors import ConfigError
from multimodal.training.concepts import Icon
from multimodal.training.render import halve, icon_svgs, premultiply, render_training
from multimodal.training.shapes import VARIANTS, shape_svgs


@pytest.fixture
def root(tmp_path: Path) -> Path:
    icons = {"a": {"body": "<g/>"}, "b": {"body": "<p/>", "width": 20, "left": 2}}
    (tmp_path / "tiny").mkdir()
    content = json.dumps({"icons": icons, "width": 10, "height": 10})
    (tmp_path / "tiny" / "icons.json").write_text(content, encoding="utf-8")
    return tmp_path


def test_colours_are_scaled_by_alpha() -> None:
    pixels = np.array([[[200, 100, 50, 128], [9, 9, 9, 0]]], np.uint8)
    assert premultiply(pixels).tolist() == [[[100, 50, 25, 128], [0, 0, 0, 0]]]


def test_halving_takes_means_of_four() -> None:
    pixels = np.zeros((4, 4, 4), np.uint8)
    pixels[:2, :2] = [[[8], [4]], [[2], [2]]]
    assert halve(pixels)[..., 0].tolist() == [[4, 0], [0, 0]]


def test_an_icon_becomes_a_document_with_its_own_box(root: Path) -> None:
    first, second = icon_svgs(root, [Icon("tiny", "a", 0), Icon("tiny", "b", 1)])
    assert 'viewBox="0 0 10 10"' in first
    assert 'viewBox="2 0 20 10"' in second
    assert "<p/>" in second


def test_pictures_are_rendered_once_and_shapes_come_last(root: Path) -> None:
    calls = []

    def rasterise(svg: str, side_px: int) -> npt.NDArray[np.uint8]:
        calls.append(svg)
        return np.full((side_px, side_px, 4), 255, np.uint8)

    icons = [Icon("tiny", "a", 0), Icon("tiny", "b", 1)]
    for _ in range(2):
        atlas = render_training(root, root / "renders", icons, rasterise)
    assert len(calls) == 2 + len(VARIANTS)
    assert atlas.shapes_from == 2
    assert atlas.large.shape == (len(calls), 96, 96, 4)
    assert atlas.small.shape == (len(calls), 48, 48, 4)
    with pytest.raises(ConfigError, match="another version"):
        render_training(root, root / "renders", icons[:1], rasterise)


def test_every_shape_has_a_drawing_for_each_variant() -> None:
    assert len(shape_svgs()) == len(VARIANTS)
    assert len(set(shape_svgs())) == len(VARIANTS)
