"""PDF pages: text with its place on the upright page, previews, scanned pages, and hostile files."""

from __future__ import annotations

import io

import numpy as np
import pytest

from multimodal.config import Limits, LoaderArgs
from multimodal.errors import InvalidMedia, InvalidRequest, MediaTooLarge
from multimodal.media.decoder import decode
from multimodal.types import Document, MediaKind, MediaSource, Page
from tests import documents, media
from tests.documents import PdfPage

PARAM = "messages.0.content.0"
REPORT = PdfPage(
    [
        ("Quarterly report", 24),
        ("", 12),
        ("Sales grew by four percent in the last quarter, which", 12),
        ("is more than we had hoped for.", 12),
        ("", 12),
        ("Costs (all of them) fell.", 12),
    ]
)


def read(data: bytes, first_page: int = 1, limits: Limits | None = None, **args: int) -> Document:
    source = MediaSource(kind=MediaKind.DOCUMENT, data=data, param=PARAM, first_page=first_page)
    found = decode(source, limits or Limits(), LoaderArgs.model_validate(args))
    assert isinstance(found, Document)
    return found


def texts(page: Page) -> list[str]:
    return [block.text for block in page.blocks]


def test_lines_that_belong_together_are_paragraphs_and_large_ones_headings() -> None:
    found = read(documents.pdf([REPORT], title="My report"))
    (page,) = found.pages
    assert (found.format, found.title, found.page_count) == ("pdf", "My report", 1)
    assert texts(page) == [
        "Quarterly report",
        "Sales grew by four percent in the last quarter, which is more than we had hoped for.",
        "Costs (all of them) fell.",
    ]
    assert [block.heading for block in page.blocks] == [True, False, False]


def ink(page: Page) -> tuple[float, float, float, float]:
    """Where there is anything on a page, as fractions."""
    assert page.pixels is not None
    down, across = np.nonzero(page.pixels.min(axis=2) < 128)
    height, width = page.pixels.shape[:2]
    return (
        across.min() / width,
        down.min() / height,
        (across.max() + 1) / width,
        (down.max() + 1) / height,
    )


@pytest.mark.parametrize("rotate", [0, 90, 180, 270])
@pytest.mark.parametrize("crop", [None, (50, 421, 545, 842)])
def test_text_stands_where_it_is_seen(rotate: int, crop: tuple[int, int, int, int] | None) -> None:
    data = documents.pdf([PdfPage([("Here it stands", 24)], rotate=rotate, crop=crop)])
    (page,) = read(data, page_preview_px=1000).pages
    (block,) = page.blocks
    assert block.box is not None
    seen = ink(page)
    assert page.pixels is not None
    turned = rotate % 180 == 90
    upright = (crop is None) != turned
    assert (page.pixels.shape[0] > page.pixels.shape[1]) is upright
    # The box is around the whole height of the font, the ink within it.
    assert block.box == pytest.approx(seen, abs=0.03)
    assert block.box[0] <= seen[0] + 0.002
    assert block.box[3] >= seen[3] - 0.002


def test_every_page_has_a_preview() -> None:
    pages = read(documents.pdf([REPORT, PdfPage(size=(842, 595))]), page_preview_px=200).pages
    shapes = [page.pixels.shape for page in pages if page.pixels is not None]
    assert shapes == [(200, 142, 3), (142, 200, 3)]
    assert [page.scanned for page in pages] == [False, False]


def test_a_page_that_is_a_picture_is_rendered_large_enough_to_be_read() -> None:
    (page,) = read(documents.scanned_pdf(["TOTAL 42 EUR"]), page_max_side_px=900).pages
    assert page.scanned
    assert page.pixels is not None
    assert page.pixels.shape[0] == 900
    assert texts(page) == []


def test_a_picture_with_a_caption_of_its_own_is_not_scanned() -> None:
    picture = media.plain("teal", "jpeg")
    captioned = PdfPage([("A caption with more than a few letters", 12)], picture=picture)
    numbered = PdfPage([("- 3 -", 12)], picture=picture)
    assert [page.scanned for page in read(documents.pdf([captioned, numbered])).pages] == [False, True]


def test_colours_are_as_they_are_seen() -> None:
    (page,) = read(documents.pdf([PdfPage(picture=media.plain("red", "jpeg"))])).pages
    assert page.pixels is not None
    assert page.pixels[100, 100] == pytest.approx([254, 0, 0], abs=4)


def test_only_the_pages_of_the_window_are_decoded() -> None:
    data = documents.pdf([PdfPage([(f"This is page number {number}", 12)]) for number in range(1, 8)])
    found = read(data, first_page=3, max_pages=2)
    assert found.page_count == 7
    assert [(page.number, *texts(page)) for page in found.pages] == [
        (3, "This is page number 3"),
        (4, "This is page number 4"),
    ]
    with pytest.raises(InvalidRequest, match="has 7 pages"):
        read(data, first_page=8)


def test_a_run_ends_before_the_scanned_page_that_is_one_too_many() -> None:
    data = documents.scanned_pdf(["ONE", "TWO", "THREE"])
    first = read(data, max_page_images=2)
    assert [page.number for page in first.pages] == [1, 2]
    assert [page.number for page in read(data, first_page=3, max_page_images=2).pages] == [3]


def test_without_reading_all_pages_are_previews() -> None:
    pages = read(documents.scanned_pdf(["ONE", "TWO"]), max_page_images=0).pages
    assert [page.scanned for page in pages] == [False, False]
    assert all(page.pixels is not None and max(page.pixels.shape) == 384 for page in pages)


def test_an_encrypted_document_says_so() -> None:
    with pytest.raises(InvalidMedia, match="encrypted") as caught:
        read(documents.encrypted_pdf())
    assert caught.value.param == PARAM


def test_ten_thousand_pages_are_refused_before_one_is_looked_at() -> None:
    with pytest.raises(MediaTooLarge, match="500 pages"):
        read(documents.many_pages(10_000))


def test_a_page_of_endless_text_is_refused() -> None:
    with pytest.raises(MediaTooLarge, match="200,000 characters") as caught:
        read(documents.endless_pdf())
    assert caught.value.param == PARAM


@pytest.mark.parametrize("size", [(14400, 10), (10, 14400), (1, 1)])
def test_pages_of_odd_sizes_are_rendered_within_bounds(size: tuple[int, int]) -> None:
    (page,) = read(documents.pdf([PdfPage(size=size)])).pages
    assert page.pixels is not None
    assert min(page.pixels.shape[:2]) >= 1
    assert max(page.pixels.shape[:2]) <= 384


@pytest.mark.parametrize("keep", [0.1, 0.3])
def test_a_document_that_is_cut_short_is_damaged(keep: float) -> None:
    with pytest.raises(InvalidMedia, match="damaged or cut short"):
        read(media.truncated(documents.pdf([REPORT]), keep))


def test_a_page_tree_that_leads_back_to_itself_ends() -> None:
    data = documents.pdf([REPORT])
    looped = data.replace(b"/Kids [4 0 R]", b"/Kids [2 0 R]")
    assert looped != data
    with pytest.raises(InvalidMedia):
        read(looped)


def test_a_page_drawn_by_pillow_is_read_as_a_picture() -> None:
    buffer = io.BytesIO()
    media.draw_text("TOTAL", size=(200, 300)).save(buffer, "PDF")
    (page,) = read(buffer.getvalue()).pages
    assert page.scanned


def test_a_page_of_one_colour_holds_nothing_to_read() -> None:
    (page,) = read(documents.pdf([PdfPage(picture=media.plain("navy", "jpeg"))])).pages
    assert not page.scanned
