from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("matplotlib")

from PIL import Image

from benchmarks import plots
from benchmarks.plot_data import Parts, Samples, Series
from benchmarks.recorded import Measured


def line(side: str, panel: str, *, log: bool = False) -> Series:
    return Series(
        plot="p50 / load",
        panel=panel,
        side=side,
        x=[1, 4, 16],
        y=[2, 1, 3],
        low=[1, 0.5, 2],
        high=[3, 2, 4],
        x_label="load, 1/s",
        y_label="ms",
        x_log=log,
        y_log=log,
    )


def test_a_side_has_one_colour_whatever_else_is_drawn() -> None:
    alone, beside = plots.Looks(["ours"]), plots.Looks(["by value", "vLLM server", "ours"])
    assert alone.colour("ours") == beside.colour("ours")
    sides = ["by value", "vLLM server", "ours"]
    assert len({beside.colour(side) for side in sides}) == len({beside.marker(side) for side in sides}) == 3


def test_every_shape_is_drawn_and_panels_share_a_picture(tmp_path: Path) -> None:
    lines = [line(side, panel) for panel in ("a", "b", "c") for side in ("ours", "library")]
    lines.append({**line("ours", "", log=True), "plot": "logarithmic"})
    measured = Measured(
        series=tuple(lines),
        samples=(Samples(plot="TTFT", side="ours", values=[3, 1, 2], x_label="ms", x_log=True),),
        parts=(
            Parts(plot="CPU", side="ours", parts={"proxy": 1, "Gateway": 0}, x_label="ms"),
            Parts(plot="CPU", side="uvicorn", parts={"proxy": 0.5}, x_label="ms"),
        ),
    )
    drawn = plots.draw("graph_tax", measured, plots.looks([measured]), tmp_path)
    names = ["p50-load", "logarithmic", "ttft", "cpu"]
    assert [path.name for path in drawn] == [f"graph-tax-{name}.png" for name in names]
    for path in drawn:
        with Image.open(path) as picture:
            assert 300 < picture.width < 1200


@pytest.mark.parametrize(("benchmark", "plot", "name"), [("a_b", "C, d", "a-b-c-d"), ("a", "A b", "a-b")])
def test_file_names(benchmark: str, plot: str, name: str) -> None:
    assert plots.file_name(benchmark, plot) == f"{name}.png"


@pytest.mark.parametrize(("value", "text"), [(64, "64"), (65536, "64 Ki"), (3 * 2**20, "3 Mi")])
def test_sizes_are_short(value: float, text: str) -> None:
    assert plots.of_bytes(value) == text
