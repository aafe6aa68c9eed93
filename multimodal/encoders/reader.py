"""Reader's backend: the text in pictures.

Lines are cut out of the picture at its own resolution, but searched for on a smaller copy, because the search
is what costs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np

from multimodal.config import ReaderArgs
from multimodal.encoders.ocr import Ocr, Pixels, RapidOcr
from multimodal.encoders.reading_order import Points, reading_order
from multimodal.types import Image, ImageText, TextLine

SEARCH_SCALE = 0.5
SEARCH_SIDE_PX = 640
"""Pictures are searched at half their size, but at 640 pixels at least. Measured on printed lines: finds
letters of 9 pixels in a video frame and of 16 in a picture of 2048, where a search at full size takes up to
ten times as long and loses small lines on large empty pages."""
REDUCED_SEARCH_SCALE = 0.57
"""For pictures that MediaLoader made smaller: their letters are the smallest and no longer sharp. Measured on
printed photographs of 4000 pixels, of which a JPEG is decoded to 2000: of letters of 22 pixels a search at
half the size loses 6 % (it sees 992 pixels, where a picture of 2048 gets 1024), this one at most 0.2 %."""
NOISE_LEVELS = 4.0
"""Standard deviation, of 255, of the noise that is laid over such a picture for the search. Measured: on
large pages of one even white (drawn, not photographed) the detector loses lines of 28 to 42 pixels; in noise
like a camera's it finds them. Frames of videos are smaller, and searched as they are."""
STRIDE_PX = 32
"""The detector takes sides that are multiples of this."""
BLANK_CONTRAST = 8
"""Pictures whose levels (of 255) differ by less are blank to the reader."""
DOUBTFUL = 0.9
"""Lines read with less confidence are read again upside down. Measured: upright print scores 0.95 and more,
print on its head 0.5 to 0.8. This replaces the model that guesses the angle of every line."""
MAX_LINES = 200
"""Lines read in one picture: bounds the time that a hostile one can take."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One line, read. `turned`: upside down in the picture."""

    text: str
    confidence: float
    turned: bool = False


class RapidOcrReader:
    """Finds and reads lines of text. Raises ConfigError where the models are missing."""

    def __init__(self, args: ReaderArgs, ocr: Ocr | None = None) -> None:
        self._args = args
        self._ocr = ocr or RapidOcr(args)

    def read(self, images: Sequence[Image]) -> list[ImageText]:
        """The lines of each picture in reading order. Searches one by one, then reads all lines in one go."""
        pictures = [_bgr(image) for image in images]
        found = [self._find(*pair) for pair in zip(pictures, map(is_reduced, images), strict=True)]
        lines = [
            _cut(picture, quad) for picture, quads in zip(pictures, found, strict=True) for quad in quads
        ]
        readings = iter(self._recognise(lines))
        return [
            self._arrange(picture, quads, [next(readings) for _ in quads])
            for picture, quads in zip(pictures, found, strict=True)
        ]

    def _find(self, picture: Pixels, reduced: bool) -> Points:
        """Quadrangles (n, 4, 2) in pixels of the picture."""
        if is_blank(picture):
            return np.empty((0, 4, 2), np.float32)
        small = _shrink(picture, search_side_px(picture, self._args.max_side_px, reduced))
        scale = np.array([picture.shape[1] / small.shape[1], picture.shape[0] / small.shape[0]], np.float32)
        is_large = max(small.shape[:2]) > SEARCH_SIDE_PX
        return self._ocr.find(_noisy(small) if reduced and is_large else small)[:MAX_LINES] * scale

    def _recognise(self, lines: Sequence[Pixels]) -> list[Reading]:
        """Read every line, and those that are doubtful the other way up as well; the surer reading counts."""
        readings = [Reading(text.strip(), score) for text, score in self._ocr.recognise(lines)]
        doubtful = [i for i, reading in enumerate(readings) if reading.confidence < DOUBTFUL]
        again = self._ocr.recognise([np.ascontiguousarray(lines[i][::-1, ::-1]) for i in doubtful])
        for i, (text, score) in zip(doubtful, again, strict=True):
            if score > readings[i].confidence:
                readings[i] = Reading(text.strip(), score, turned=True)
        return readings

    def _arrange(self, picture: Pixels, quads: Points, readings: Sequence[Reading]) -> ImageText:
        sure = [
            i for i, one in enumerate(readings) if one.text and one.confidence >= self._args.min_confidence
        ]
        order = reading_order(quads[sure], [readings[i].turned for i in sure])
        size = np.array([picture.shape[1], picture.shape[0]], np.float32)
        return ImageText(lines=tuple(_line(readings[sure[i]], quads[sure[i]] / size) for i in order))


def is_reduced(image: Image) -> bool:
    """Whether the picture was larger before it was decoded."""
    return bool(max(image.pixels.shape[:2]) < max(image.width, image.height))


def search_side_px(picture: Pixels, max_side_px: int, reduced: bool) -> int:
    """Longer side at which a picture is searched for text. `reduced`: it was larger before."""
    scale = REDUCED_SEARCH_SCALE if reduced else SEARCH_SCALE
    return min(max_side_px, max(SEARCH_SIDE_PX, int(max(picture.shape[:2]) * scale)))


def is_blank(picture: Pixels) -> bool:
    """Whether nothing can be written in a picture (height, width, 3), because it has one colour."""
    levels = picture.reshape(-1, 3)
    contrast = levels.max(axis=0).astype(int) - levels.min(axis=0)
    return bool(contrast.max() < BLANK_CONTRAST)


def _bgr(image: Image) -> Pixels:
    """The picture as OpenCV, and with it rapidocr, has it."""
    return np.ascontiguousarray(image.pixels[..., ::-1])


def _shrink(picture: Pixels, side_px: int) -> Pixels:
    """About `side_px` long at most, in whole strides. Averages, so that thin strokes do not fall through."""
    import cv2

    scale = min(1.0, side_px / max(picture.shape[:2]))
    height, width = (max(1, round(side * scale / STRIDE_PX)) * STRIDE_PX for side in picture.shape[:2])
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return cast("Pixels", cv2.resize(picture, (width, height), interpolation=how))


def _noisy(picture: Pixels) -> Pixels:
    """The picture with grey noise, the same each time: a picture is always read alike."""
    noise = np.random.default_rng(0).standard_normal(picture.shape[:2], np.float32) * NOISE_LEVELS
    noisy = picture + np.rint(noise).astype(np.int16)[..., None]
    return cast("Pixels", np.clip(noisy, 0, 255).astype(np.uint8))


def _cut(picture: Pixels, quad: Points) -> Pixels:
    """The line in a quadrangle (4, 2), made level."""
    from rapidocr.utils.process_img import get_rotate_crop_image

    return cast("Pixels", get_rotate_crop_image(picture, quad.copy()))


def _line(reading: Reading, quad: Points) -> TextLine:
    left, top = np.clip(quad.min(axis=0), 0, 1).tolist()
    right, bottom = np.clip(quad.max(axis=0), 0, 1).tolist()
    return TextLine(text=reading.text, confidence=reading.confidence, box=(left, top, right, bottom))
