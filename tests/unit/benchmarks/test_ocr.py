"""How the OCR benchmark counts errors and what it prints."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import ocr
from benchmarks.in_process import Costs, Measured
from benchmarks.limits import Limits
from benchmarks.ocr import (
    CHEAPER,
    OURS,
    THEIRS,
    Pixels,
    PrintedPage,
    TimedOcr,
    distance,
    error_rate,
    findings_of,
    pages,
    shares,
)
from multimodal.encoders.reading_order import Points
from multimodal.errors import ConfigError
from multimodal.types import Image

SHORT = st.text("ab", max_size=6)


def page(*lines: str) -> PrintedPage:
    pixels = np.zeros((1, 1, 3), np.uint8)
    return PrintedPage(Image(sha256="", pixels=pixels, width=1, height=1, format="png"), lines)


@pytest.mark.parametrize(
    ("first", "second", "edits"),
    [("", "", 0), ("abc", "abc", 0), ("", "abc", 3), ("kitten", "sitting", 3), ("ab", "ba", 2)],
)
def test_distance_counts_edits(first: str, second: str, edits: int) -> None:
    assert distance(first, second) == edits


@given(SHORT, SHORT, SHORT)
def test_distance_is_a_metric(a: str, b: str, c: str) -> None:
    assert distance(a, b) == distance(b, a)
    assert (distance(a, b) == 0) == (a == b)
    assert distance(a, c) <= distance(a, b) + distance(b, c)


def test_the_error_rate_is_for_each_printed_character() -> None:
    assert error_rate([["abcd"], ["ef"]], [page("abcd"), page("gh")]) == pytest.approx(2 / 6)
    assert error_rate([[]], [page("abcd")]) == 1.0
    assert error_rate([["b", "a"]], [page("a", "b")]) == pytest.approx(2 / 3)


def test_a_page_without_its_reading_is_an_error() -> None:
    with pytest.raises(ValueError, match="zip"):
        error_rate([["a"]], [page("a"), page("b")])


def test_pages_are_the_same_each_time_and_use_every_font_and_layout() -> None:
    first, again = pages(4), pages(4)
    assert [one.lines for one in first] == [one.lines for one in again]
    assert all(np.array_equal(a.image.pixels, b.image.pixels) for a, b in zip(first, again, strict=True))
    assert {(one.image.width, one.image.height) for one in first} == {size for size, _, _ in ocr.LAYOUTS}


def test_lines_fit_on_their_page() -> None:
    for one in pages(8):
        assert one.image.pixels[:, -4:].min() > 150


def test_fonts_must_be_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ocr, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="matplotlib"):
        ocr.font_file("DejaVuSans")


def test_speed_is_the_reciprocal_of_time() -> None:
    costs = {OURS: Costs([30.0] * 3, [20.0] * 3), THEIRS: Costs([60.0] * 3, [50.0] * 3)}
    found = findings_of(Measured(costs=costs, others_cores=0.0))
    assert found[0].target is CHEAPER
    assert found[0].met
    assert (found[-1].first, found[-1].second, found[-1].ratio.value) == (50.0, 20.0, 2.5)


def test_a_share_of_the_peak_is_of_all_the_products_of_a_side() -> None:
    costs = {OURS: Costs([30.0] * 3, [20.0] * 3), THEIRS: Costs([60.0] * 3, [50.0] * 3)}
    work = {
        OURS: {"search": 4_000_000_000, "read": 6_000_000_000},
        THEIRS: {"search": 9_000_000_000, "angle": 0, "read": 6_000_000_000},
    }
    peak = Limits(flops_per_s={"float32": 100e9}, bytes_per_s=50e9, threads=2)
    found = shares(Measured(costs=costs, others_cores=0.0), work, peak, lines=10)
    assert found["ours, search, one line, MFLOP"] == 400.0
    assert found["ours, of GEMM peak in float32"] == pytest.approx(0.5)
    assert found["rapidocr, of GEMM peak in float32"] == pytest.approx(0.3)
    assert found["GEMM peak, float32, GFLOP/s"] == 100.0


class Stub:
    def find(self, picture: Pixels) -> Points:
        return np.zeros((2, 4, 2), np.float32)

    def recognise(self, lines: Sequence[Pixels]) -> list[tuple[str, float]]:
        return [("read", 1.0) for _ in lines]


def test_a_timed_model_answers_as_the_model_does() -> None:
    timed = TimedOcr(Stub())
    picture = np.zeros((4, 4, 3), np.uint8)
    assert timed.find(picture).shape == (2, 4, 2)
    assert timed.recognise([picture, picture]) == [("read", 1.0)] * 2
    assert timed.search_s > 0
    assert timed.read_s > 0
