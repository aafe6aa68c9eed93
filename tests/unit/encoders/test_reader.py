from collections.abc import Sequence

import numpy as np
import pytest

from multimodal.config import ReaderArgs
from multimodal.encoders.ocr import Pixels
from multimodal.encoders.reader import DOUBTFUL, MAX_LINES, RapidOcrReader
from multimodal.encoders.reading_order import Points
from tests.unit.encoders.pictures import image, plain


class StripeOcr:
    """Finds coloured stripes on white and "reads" their colour: blue, green, red of the left half, then the
    right half's. Half as sure of what stands on its head (brighter on the right)."""

    def __init__(self, sure: float = 1.0) -> None:
        self.searched: list[tuple[int, ...]] = []
        self.recognised: list[int] = []
        self._sure = sure

    def find(self, picture: Pixels) -> Points:
        self.searched.append(picture.shape)
        inked = np.any(picture < 200, axis=2)
        rows = np.any(inked, axis=1).astype(int)
        starts = np.flatnonzero(np.diff(rows, prepend=0) == 1)
        ends = np.flatnonzero(np.diff(rows, append=0) == -1) + 1
        found = []
        for top, bottom in zip(starts, ends, strict=True):
            columns = np.flatnonzero(np.all(inked[top:bottom], axis=0))
            left, right = columns[0], columns[-1] + 1
            found.append([[left, top], [right, top], [right, bottom], [left, bottom]])
        return np.array(found, np.float32).reshape(-1, 4, 2)

    def recognise(self, lines: Sequence[Pixels]) -> list[tuple[str, float]]:
        self.recognised.append(len(lines))
        return [self._read(line) for line in lines]

    def _read(self, line: Pixels) -> tuple[str, float]:
        height, width = line.shape[:2]
        left, right = line[height // 2, width // 4], line[height // 2, 3 * width // 4]
        upright = left.sum() <= right.sum()
        return f" {'-'.join(map(str, left))} ", self._sure if upright else self._sure / 2


def reader(ocr: StripeOcr, **args: object) -> RapidOcrReader:
    return RapidOcrReader(ReaderArgs.model_validate(args), ocr)


def striped(height: int, width: int, *stripes: tuple[int, int, tuple[int, int, int]]) -> Pixels:
    """White with stripes (top, bottom, RGB) over the middle half of the width."""
    pixels = plain(height, width)
    for top, bottom, colour in stripes:
        pixels[top:bottom, width // 4 : 3 * width // 4] = colour
    return pixels


def test_lines_come_in_reading_order_with_boxes_as_fractions_of_the_picture() -> None:
    picture = striped(320, 640, (32, 64, (10, 0, 0)), (160, 192, (0, 20, 0)))
    (text,) = reader(StripeOcr()).read([image(picture)])
    # OpenCV's order of channels: blue, green, red.
    assert [line.text for line in text.lines] == ["0-0-10", "0-20-0"]
    assert text.lines[0].box == pytest.approx((0.25, 0.1, 0.75, 0.2), abs=0.01)
    assert text.lines[1].box == pytest.approx((0.25, 0.5, 0.75, 0.6), abs=0.01)


def test_lines_of_several_pictures_are_recognised_together_and_stay_with_their_picture() -> None:
    ocr = StripeOcr()
    first = striped(320, 640, (32, 64, (10, 0, 0)), (160, 192, (20, 0, 0)))
    second = striped(160, 320, (32, 64, (30, 0, 0)))
    texts = reader(ocr).read([image(first), image(plain(50, 50)), image(second)])
    assert [[line.text for line in text.lines] for text in texts] == [["0-0-10", "0-0-20"], [], ["0-0-30"]]
    assert ocr.recognised[0] == 3


@pytest.mark.parametrize("colour", [(255, 255, 255), (0, 0, 0), (200, 30, 90)])
def test_a_blank_picture_has_no_lines_and_is_not_even_searched(colour: tuple[int, int, int]) -> None:
    ocr = StripeOcr()
    (text,) = reader(ocr).read([image(plain(720, 1280, colour))])
    assert text.lines == ()
    assert ocr.searched == []


@pytest.mark.parametrize(
    ("size", "max_side_px", "searched"),
    [
        ((320, 640), 1280, (320, 640)),
        ((720, 1280), 1280, (352, 640)),
        ((1080, 1920), 1280, (544, 960)),
        ((2048, 1448), 1280, (1024, 736)),
        ((1080, 1920), 320, (192, 320)),
        ((2, 900), 1280, (32, 640)),
        ((8, 20), 1280, (32, 32)),
    ],
)
def test_pictures_are_searched_at_half_their_size_within_bounds_in_whole_strides(
    size: tuple[int, int], max_side_px: int, searched: tuple[int, int]
) -> None:
    ocr = StripeOcr()
    picture = plain(*size)
    picture[0, 0] = 0
    reader(ocr, max_side_px=max_side_px).read([image(picture)])
    assert ocr.searched == [(*searched, 3)]


@pytest.mark.parametrize(
    ("size", "original", "searched"),
    [
        ((1500, 2000), (2000, 1500), (736, 992)),
        ((1500, 2000), (4000, 3000), (864, 1152)),  # a photograph of 12 megapixels
        ((2000, 1500), (3000, 4000), (1152, 864)),
        ((540, 960), (1920, 1080), (352, 640)),  # a frame of a video
        ((2400, 3200), (6400, 4800), (960, 1280)),
    ],
)
def test_pictures_that_were_made_smaller_are_searched_at_more_than_half_their_size(
    size: tuple[int, int], original: tuple[int, int], searched: tuple[int, int]
) -> None:
    ocr = StripeOcr()
    picture = plain(*size)
    picture[0, 0] = 0
    reader(ocr).read([image(picture, size=original)])
    assert ocr.searched == [(*searched, 3)]


def test_noise_is_laid_over_the_search_in_large_pictures_that_were_made_smaller_the_same_each_time() -> None:
    seen: list[Pixels] = []

    class Watching(StripeOcr):
        def find(self, picture: Pixels) -> Points:
            seen.append(picture)
            return np.empty((0, 4, 2), np.float32)

    pixels = striped(1280, 1280, (200, 400, (100, 100, 100)))
    whole, reduced = image(pixels), image(pixels, size=(2560, 2560))
    reader(Watching()).read([whole, reduced, reduced])
    assert np.array_equal(seen[0][150, 320], (100, 100, 100))
    assert seen[1][130:210, 200:440].std() == pytest.approx(4, abs=0.3)
    assert np.array_equal(seen[1], seen[2])
    frame = image(striped(540, 960, (100, 200, (100, 100, 100))), size=(1920, 1080))
    reader(Watching()).read([frame])
    assert seen[3][75:125, 250:400].std() == 0


def test_lines_are_cut_out_at_the_resolution_of_the_picture() -> None:
    seen: list[tuple[int, ...]] = []

    class Watching(StripeOcr):
        def recognise(self, lines: Sequence[Pixels]) -> list[tuple[str, float]]:
            seen.extend(line.shape for line in lines)
            return super().recognise(lines)

    reader(Watching()).read([image(striped(1080, 1920, (100, 200, (10, 0, 0))))])
    assert seen[0][0] == pytest.approx(100, abs=4)
    assert seen[0][1] == pytest.approx(960, abs=4)


def test_a_line_on_its_head_is_read_the_other_way_up() -> None:
    picture = striped(320, 640, (32, 64, (200, 0, 0)))
    picture[32:64, 320:480] = (10, 0, 0)  # darker on the right: upside down
    ocr = StripeOcr()
    (text,) = reader(ocr).read([image(picture)])
    assert [(line.text, line.confidence) for line in text.lines] == [("0-0-10", 1.0)]
    assert ocr.recognised == [1, 1]


def test_sure_lines_are_read_once() -> None:
    ocr = StripeOcr(sure=DOUBTFUL)
    reader(ocr).read([image(striped(320, 640, (32, 64, (10, 0, 0))))])
    assert sum(ocr.recognised) == 1


@pytest.mark.parametrize(("sure", "kept"), [(0.59, 0), (0.61, 1)])
def test_lines_below_the_configured_confidence_are_dropped(sure: float, kept: int) -> None:
    picture = image(striped(320, 640, (32, 64, (10, 0, 0))))
    (text,) = reader(StripeOcr(sure), min_confidence=0.6).read([picture])
    assert len(text.lines) == kept


def test_a_line_without_letters_is_dropped() -> None:
    class Wordless(StripeOcr):
        def _read(self, line: Pixels) -> tuple[str, float]:
            return "  ", 1.0

    (text,) = reader(Wordless()).read([image(striped(320, 640, (32, 64, (10, 0, 0))))])
    assert text.lines == ()


def test_a_picture_full_of_lines_is_read_only_so_far() -> None:
    stripes = [(top, top + 2, (10, 0, 0)) for top in range(0, 4 * (MAX_LINES + 5), 4)]
    picture = striped(1000, 640, *stripes)

    class Unshrunk(StripeOcr):
        def find(self, small: Pixels) -> Points:
            quads = super().find(picture)
            return quads * np.array([small.shape[1] / 640, small.shape[0] / 1000], np.float32)

    ocr = Unshrunk()
    reader(ocr).read([image(picture)])
    assert ocr.recognised[0] == MAX_LINES


def test_no_pictures_have_no_text() -> None:
    assert reader(StripeOcr()).read([]) == []
