"""The OCR models that rapidocr ships, on pictures drawn by the tests."""

import io
import subprocess
import sys
from dataclasses import replace

import numpy as np
import onnxruntime  # type: ignore[import-untyped]
import pytest
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import ImageDraw, ImageFont

from multimodal.config import Limits, LoaderArgs, ReaderArgs
from multimodal.encoders import ocr
from multimodal.encoders.reader import RapidOcrReader
from multimodal.errors import ConfigError
from multimodal.media.decoder import decode
from multimodal.types import Image, ImageText, MediaKind, MediaSource
from tests.media import draw_text

LINES = ["INVOICE 2024-117", "Total amount due: 42.50 EUR", "Please pay within 30 days"]


@pytest.fixture(scope="module")
def reader() -> RapidOcrReader:
    return RapidOcrReader(ReaderArgs())


def image(picture: Pillow.Image | NDArray[np.uint8]) -> Image:
    pixels = np.ascontiguousarray(np.asarray(picture))
    return Image(sha256="x", pixels=pixels, width=pixels.shape[1], height=pixels.shape[0], format="png")


def page(size: tuple[int, int], letters_px: int, lines: list[str] = LINES) -> Pillow.Image:
    """Black lines at the top left of a white page."""
    picture = Pillow.new("RGB", size, "white")
    draw = ImageDraw.Draw(picture)
    font = ImageFont.load_default(letters_px)
    for number, line in enumerate(lines):
        draw.text((30, 30 + 1.8 * letters_px * number), line, "black", font)
    return picture


def texts(found: ImageText) -> list[str]:
    return [line.text for line in found.lines]


def read(reader: RapidOcrReader, picture: Pillow.Image | NDArray[np.uint8]) -> list[str]:
    (found,) = reader.read([image(picture)])
    return texts(found)


@pytest.mark.parametrize(
    ("colour", "text_colour"),
    [("white", "black"), ("navy", "white"), ("gold", "darkred"), ("#c8c8c8", "#969696")],
)
def test_a_printed_line_is_read_exactly(reader: RapidOcrReader, colour: str, text_colour: str) -> None:
    picture = draw_text("TOTAL 42 EUR", size=(640, 320), colour=colour, text_colour=text_colour)
    assert read(reader, picture) == ["TOTAL 42 EUR"]


@pytest.mark.parametrize(
    ("size", "letters_px"),
    [
        ((260, 120), 14),
        ((640, 320), 14),
        ((960, 540), 14),
        ((1280, 720), 16),
        ((1920, 1080), 18),
        ((2048, 1400), 60),
    ],
)
def test_small_and_large_letters_on_small_and_large_pages(
    reader: RapidOcrReader, size: tuple[int, int], letters_px: int
) -> None:
    assert read(reader, page(size, letters_px)) == LINES


@pytest.mark.parametrize("size", [(4000, 3000), (3024, 4032)])
def test_lines_survive_that_a_photograph_is_decoded_at_half_its_size(
    reader: RapidOcrReader, size: tuple[int, int]
) -> None:
    buffer = io.BytesIO()
    page(size, 42).save(buffer, "jpeg", quality=85)
    source = MediaSource(kind=MediaKind.IMAGE, data=buffer.getvalue(), param="x")
    photograph = decode(source, Limits(), LoaderArgs())
    assert isinstance(photograph, Image)
    assert max(photograph.pixels.shape) == max(size) // 2
    assert texts(*reader.read([photograph])) == LINES


@pytest.mark.parametrize("degrees", [-6, 4, 90, 180, 270])
def test_a_tilted_or_turned_page_is_read_in_order(reader: RapidOcrReader, degrees: float) -> None:
    turned = page((640, 320), 26).rotate(degrees, Pillow.Resampling.BICUBIC, expand=True, fillcolor="white")
    assert read(reader, turned) == LINES


def test_columns_are_read_row_by_row(reader: RapidOcrReader) -> None:
    picture = page((900, 300), 28, ["Coffee", "Apple pie", "Sum"])
    draw = ImageDraw.Draw(picture)
    for number, price in enumerate(["3.50", "4.20", "7.70"]):
        draw.text((700, 30 + 1.8 * 28 * number), price, "black", ImageFont.load_default(28))
    assert read(reader, picture) == ["Coffee", "3.50", "Apple pie", "4.20", "Sum", "7.70"]


def test_letters_with_accents_are_read(reader: RapidOcrReader) -> None:
    try:
        font = ImageFont.truetype("DejaVuSans.ttf", 32)  # the built-in font has no accents
    except OSError:
        pytest.skip("needs the DejaVu fonts")
    lines = ["Grüße aus München", "Crème brûlée à 5 €"]
    picture = Pillow.new("RGB", (640, 320), "white")
    ImageDraw.Draw(picture).multiline_text((30, 60), "\n".join(lines), "black", font, spacing=24)
    assert read(reader, picture) == lines


def test_a_line_has_a_confidence_and_a_box_around_it(reader: RapidOcrReader) -> None:
    (found,) = reader.read([image(draw_text("HELLO", size=(640, 320)))])
    (line,) = found.lines
    left, top, right, bottom = line.box
    assert line.confidence > 0.9
    assert 0 < left < 0.3 < 0.7 < right < 1
    assert 0.2 < top < 0.45 < 0.55 < bottom < 0.8


def test_pictures_in_a_batch_are_read_as_they_are_alone(reader: RapidOcrReader) -> None:
    pictures = [
        image(draw_text(text, size=size))
        for text, size in [
            ("CHAPTER ONE", (640, 360)),
            ("A much longer line of words", (960, 540)),
            ("7", (320, 240)),
        ]
    ]
    together = reader.read([pictures[0], image(Pillow.new("RGB", (64, 64), "white")), *pictures[1:]])
    alone = [reader.read([picture])[0] for picture in pictures]
    assert [together[0], together[2], together[3]] == alone
    assert together[1].lines == ()


def wordless(kind: str) -> NDArray[np.uint8]:
    """A picture (360, 640, 3) without writing."""
    rng = np.random.default_rng(5)
    if kind == "noise":
        return rng.integers(0, 256, (360, 640, 3), np.uint8)
    if kind == "gradient":
        return np.linspace(0, 255, 360 * 640 * 3).reshape(360, 640, 3).astype(np.uint8)
    if kind == "blobs":
        blobs = Pillow.fromarray(rng.integers(0, 256, (9, 16, 3), np.uint8))
        return np.asarray(blobs.resize((640, 360), Pillow.Resampling.BICUBIC))
    checks = (np.indices((360, 640)) // 8).sum(axis=0) % 2 * 255
    return np.stack([checks] * 3, axis=-1).astype(np.uint8)


@pytest.mark.parametrize("kind", ["noise", "gradient", "blobs", "checks"])
def test_pictures_without_writing_have_no_lines(reader: RapidOcrReader, kind: str) -> None:
    assert read(reader, wordless(kind)) == []


@pytest.mark.parametrize("kind", ["noise", "gradient", "blobs", "checks"])
def test_pictures_without_writing_that_were_made_smaller_have_no_lines(
    reader: RapidOcrReader, kind: str
) -> None:
    (found,) = reader.read([replace(image(wordless(kind)), width=1280, height=720)])
    assert texts(found) == []


@pytest.mark.parametrize("size", [(1, 1), (1, 640), (640, 1), (3, 3)])
def test_the_thinnest_pictures_have_no_lines(reader: RapidOcrReader, size: tuple[int, int]) -> None:
    pixels = np.random.default_rng(5).integers(0, 256, (*size, 3), np.uint8)
    assert read(reader, pixels) == []


def test_nothing_is_downloaded(no_network: None) -> None:
    assert read(RapidOcrReader(ReaderArgs(threads=1)), draw_text("HELLO", size=(320, 160))) == ["HELLO"]


def test_reading_prints_nothing() -> None:
    program = (
        "import numpy as np; from multimodal.config import ReaderArgs; from multimodal.types import Image;"
        "from multimodal.encoders.reader import RapidOcrReader;"
        "pixels = np.zeros((64, 64, 3), np.uint8); pixels[20:40] = 255;"
        "image = Image(sha256='', pixels=pixels, width=64, height=64, format='png');"
        "RapidOcrReader(ReaderArgs()).read([image])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")


def test_missing_models_are_an_error_of_the_installation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ocr, "DETECTOR_FILE", "no-such-model.onnx")
    with pytest.raises(ConfigError, match=r"no-such-model\.onnx"):
        RapidOcrReader(ReaderArgs())


def test_cuda_without_a_runtime_for_it_is_an_error_of_the_operator() -> None:
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this machine has it")
    with pytest.raises(ConfigError, match="onnxruntime-gpu"):
        RapidOcrReader(ReaderArgs(device="cuda"))
