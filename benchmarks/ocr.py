"""Printed pages read by Reader's backend, against rapidocr's own pipeline with the same models."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Protocol, TypeAlias, cast

import numpy as np
import PIL.Image
import typer
from numpy.typing import NDArray
from PIL import ImageDraw, ImageFont

from benchmarks import limits, onnx_flops
from benchmarks.common import median, run
from benchmarks.findings import (
    MIN_PAIRS,
    QUICK_PAIRS,
    Finding,
    Parts,
    Target,
    check,
    console,
    medians,
    publish,
)
from benchmarks.in_process import Measured, take_turns
from benchmarks.limits import Limits
from benchmarks.onnx_flops import Engine
from multimodal.config import ReaderArgs
from multimodal.encoders.ocr import Ocr, RapidOcr
from multimodal.encoders.reader import RapidOcrReader
from multimodal.encoders.reading_order import Points
from multimodal.errors import ConfigError
from multimodal.types import Image

Pixels: TypeAlias = NDArray[np.uint8]
Size: TypeAlias = tuple[int, int]

FONTS = ("DejaVuSans", "DejaVuSerif", "DejaVuSansMono", "STIXGeneral")
"""All of them come with matplotlib, which the plots need."""
LAYOUTS: Sequence[tuple[Size, int, int]] = (
    ((1280, 720), 10, 28),
    ((960, 540), 8, 20),
    ((2000, 1500), 16, 40),
)
"""Width and height, lines, and height of the letters, pixels: a slide, a frame of a video, a page."""
WORDS = (
    "the meeting starts at nine and the invoice of march amounts to a total price please pay within thirty",
    "street number order customer delivery address station platform weather report library opening hours",
)

OURS, THEIRS = "ours", "rapidocr"
AS_EXACT = Target(at_most=0.0)
"""Character error rate, more than rapidocr's."""
CHEAPER = Target(at_most=1.0)


@dataclass(frozen=True, slots=True)
class PrintedPage:
    """A picture, and what stands on it."""

    image: Image
    lines: tuple[str, ...]


class TimedOcr:
    """The models, and how long they took so far."""

    def __init__(self, ocr: Ocr) -> None:
        self._ocr = ocr
        self.search_s = self.read_s = 0.0

    def find(self, picture: Pixels) -> Points:
        """As `Ocr` says."""
        started_s = time.perf_counter()
        found = self._ocr.find(picture)
        self.search_s += time.perf_counter() - started_s
        return found

    def recognise(self, lines: Sequence[Pixels]) -> list[tuple[str, float]]:
        """As `Ocr` says."""
        started_s = time.perf_counter()
        read = self._ocr.recognise(lines)
        self.read_s += time.perf_counter() - started_s
        return read


class _Output(Protocol):
    txts: Sequence[str] | None
    elapse_list: Sequence[float | None]
    """Seconds of search, angle and reading."""


class _Model(Protocol):
    session: Engine


class _Pipeline(Protocol):
    """rapidocr's; it takes (height, width, 3), BGR."""

    text_det: _Model
    text_cls: _Model
    text_rec: _Model

    def __call__(self, picture: Pixels) -> _Output: ...


def pages(count: int, seed: int = 0) -> list[PrintedPage]:
    """Every font and layout in turn."""
    rng = np.random.default_rng(seed)
    return [
        printed(rng, FONTS[number % len(FONTS)], *LAYOUTS[number % len(LAYOUTS)]) for number in range(count)
    ]


def printed(rng: np.random.Generator, font: str, size: Size, lines: int, letters_px: int) -> PrintedPage:
    """Black on nearly white, with the noise of a camera."""
    picture = PIL.Image.new("RGB", size, (250, 248, 244))
    draw, face = ImageDraw.Draw(picture), ImageFont.truetype(str(font_file(font)), letters_px)
    texts = tuple(sentence(rng) for _ in range(lines))
    for number, text in enumerate(texts):
        draw.text((letters_px, letters_px + number * size[1] / (lines + 1)), text, (20, 20, 30), face)
    noisy = np.asarray(picture, np.float32) + rng.normal(0, 4, (size[1], size[0], 1))
    pixels = np.clip(noisy, 0, 255).astype(np.uint8)
    image = Image(sha256="", pixels=pixels, width=size[0], height=size[1], format="png")
    return PrintedPage(image, texts)


def sentence(rng: np.random.Generator) -> str:
    """Some words, and often a number."""
    words = [str(word) for word in rng.choice(" ".join(WORDS).split(), rng.integers(3, 7))]
    number = [str(rng.integers(10, 9999))] if rng.random() < 0.5 else []
    return " ".join([words[0].capitalize(), *words[1:], *number])


def font_file(name: str) -> Path:
    """Raises ConfigError where matplotlib is missing."""
    package = find_spec("matplotlib")
    if package is None or package.origin is None:
        raise ConfigError("The pages are printed in fonts that come with matplotlib: install it.")
    return Path(package.origin).parent / "mpl-data" / "fonts" / "ttf" / f"{name}.ttf"


def rapidocr_pipeline() -> _Pipeline:
    """As `RapidOCR()` makes it, but silent."""
    from rapidocr import RapidOCR

    pipeline = RapidOCR(params={"Global.log_level": "error"})
    logging.getLogger("RapidOCR").setLevel(logging.ERROR)
    return cast("_Pipeline", pipeline)


def read_by_ours(reader: RapidOcrReader, some: Sequence[PrintedPage], batch: int) -> list[list[str]]:
    """Lines of each page, `batch` pages at a time, as Reader's replica does."""
    found = []
    for start in range(0, len(some), batch):
        texts = reader.read([page.image for page in some[start : start + batch]])
        found += [[line.text for line in text.lines] for text in texts]
    return found


def read_by_theirs(pipeline: _Pipeline, some: Sequence[PrintedPage]) -> list[list[str]]:
    """The same, one page at a time: it takes no more."""
    outputs = [pipeline(bgr(page)) for page in some]
    return [list(output.txts or ()) for output in outputs]


def flops_of_ours(args: ReaderArgs, some: Sequence[PrintedPage]) -> dict[str, int]:
    """Of the products of each model, in one reading of all pages."""
    ocr = RapidOcr(args)
    reader = RapidOcrReader(args, ocr)
    engines: dict[str, Engine] = {"search": ocr._detector.session, "read": ocr._recogniser.session}
    return onnx_flops.flops(engines, lambda: read_by_ours(reader, some, args.batch_items))


def flops_of_theirs(pipeline: _Pipeline, some: Sequence[PrintedPage]) -> dict[str, int]:
    """The same, of a pipeline that has read before: until then it has no models."""
    models = {"search": pipeline.text_det, "angle": pipeline.text_cls, "read": pipeline.text_rec}
    engines = {name: model.session for name, model in models.items()}
    return onnx_flops.flops(engines, lambda: read_by_theirs(pipeline, some))


def parts_of_ours(args: ReaderArgs, some: Sequence[PrintedPage], lines: int) -> Parts:
    """Where the time goes, beside the benchmark's turns."""
    ocr = TimedOcr(RapidOcr(args))
    reader = RapidOcrReader(args, ocr)
    read_by_ours(reader, some, args.batch_items)
    ocr.search_s = ocr.read_s = 0.0
    started_s = time.perf_counter()
    read_by_ours(reader, some, args.batch_items)
    rest_s = time.perf_counter() - started_s - ocr.search_s - ocr.read_s
    return _parts(OURS, {"search": ocr.search_s, "read": ocr.read_s, "rest": rest_s}, lines)


def parts_of_theirs(pipeline: _Pipeline, some: Sequence[PrintedPage], lines: int) -> Parts:
    """By rapidocr's own clock."""
    spent_s = dict.fromkeys(("search", "angle", "read"), 0.0)
    started_s = time.perf_counter()
    for page in some:
        output = pipeline(bgr(page))
        for name, seconds in zip(spent_s, output.elapse_list, strict=True):
            spent_s[name] += seconds or 0.0
    rest_s = time.perf_counter() - started_s - sum(spent_s.values())
    return _parts(THEIRS, {**spent_s, "rest": rest_s}, lines)


def _parts(side: str, spent_s: dict[str, float], lines: int) -> Parts:
    parts = {name: 1000 * max(0.0, seconds) / lines for name, seconds in spent_s.items()}
    return Parts(plot="Where the time of a line goes", side=side, parts=parts, x_label="ms per line")


def bgr(page: PrintedPage) -> Pixels:
    """As rapidocr takes it."""
    return np.ascontiguousarray(page.image.pixels[..., ::-1])


def error_rate(found: Sequence[Sequence[str]], some: Sequence[PrintedPage]) -> float:
    """Wrong, missing and additional characters for each that is printed; lines in their order."""
    pairs = [("\n".join(lines), "\n".join(page.lines)) for lines, page in zip(found, some, strict=True)]
    return sum(distance(*pair) for pair in pairs) / sum(len(printed) for _, printed in pairs)


def distance(first: str, second: str) -> int:
    """Characters to change, add or leave out (Levenshtein)."""
    before = list(range(len(second) + 1))
    for i, one in enumerate(first, 1):
        row = [i]
        for j, other in enumerate(second, 1):
            row.append(min(before[j] + 1, row[-1] + 1, before[j - 1] + (one != other)))
        before = row
    return before[-1]


def findings_of(measured: Measured) -> list[Finding]:
    """CPU time for each line first, then lines per second."""
    found = measured.compare(OURS, THEIRS, CHEAPER)
    speeds = [[1000 / wall_ms for wall_ms in measured.costs[side].wall_ms] for side in (OURS, THEIRS)]
    return [*found, medians("lines per second", f"{OURS} / {THEIRS}", speeds[0], speeds[1], "1/s")]


def main(
    quick: Annotated[bool, typer.Option("--quick", help="One pair: shows that it runs.")] = False,
) -> None:
    """Compare Reader's backend with rapidocr's own pipeline: the same models, pictures and process."""
    args = ReaderArgs()
    pairs, some = (QUICK_PAIRS, pages(4)) if quick else (MIN_PAIRS, pages(12))
    reader, pipeline = RapidOcrReader(args), rapidocr_pipeline()
    lines = sum(len(page.lines) for page in some)
    measured = take_turns(
        {
            OURS: lambda: read_by_ours(reader, some, args.batch_items),
            THEIRS: lambda: read_by_theirs(pipeline, some),
        },
        pairs=pairs,
        items=lines,
    )
    errors = {
        OURS: error_rate(read_by_ours(reader, some, args.batch_items), some),
        THEIRS: error_rate(read_by_theirs(pipeline, some), some),
    }
    console.print(f"{lines} lines on {len(some)} pages; character errors: {errors}")
    parts = [parts_of_ours(args, some, lines), parts_of_theirs(pipeline, some, lines)]
    work = {OURS: flops_of_ours(args, some), THEIRS: flops_of_theirs(pipeline, some)}
    peak = measured_limits(args.threads, quick)
    more = check("character error rate, more than rapidocr's", errors[OURS] - errors[THEIRS], AS_EXACT)
    facts = {**accuracy(errors), "lines": lines, **shares(measured, work, peak, lines)}
    console.print(facts)
    details = {
        "checks": [more],
        "facts": facts,
        "turns": measured.as_json(),
        "parts": parts,
        "limits": peak.as_json(),
    }
    publish("ocr", findings_of(measured), details, measured.others_cores)


def measured_limits(threads: int, quick: bool) -> Limits:
    """After the turns: no side needs torch."""
    import torch

    torch.set_num_threads(threads)
    return limits.measure(quick=quick)


def accuracy(errors: Mapping[str, float]) -> dict[str, float]:
    """Of each side."""
    return {f"character error rate, {side}": value for side, value in errors.items()}


def shares(
    measured: Measured, work: Mapping[str, Mapping[str, int]], peak: Limits, lines: int
) -> dict[str, float]:
    """How far the physical limit is: the products that each side makes, in all the time that it takes.

    `work`: operations of each side's models for all lines.
    """
    found: dict[str, float] = {}
    for side, models in work.items():
        for name, flops in models.items():
            found[f"{side}, {name}, one line, MFLOP"] = round(flops / lines / 1e6, 1)
        line_s = median(measured.costs[side].wall_ms) / 1000
        share = peak.share(sum(models.values()) / lines, line_s, "float32")
        found[f"{side}, of GEMM peak in float32"] = round(share, 3)
    return {**found, **peak.facts()}


if __name__ == "__main__":
    run(main)
