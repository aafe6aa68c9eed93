"""PDF documents: text with its places, and pictures of the pages, upright."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import closing, contextmanager

import numpy as np
import pypdfium2 as pdfium  # type: ignore[import-untyped]
import pypdfium2.raw as pdfium_c  # type: ignore[import-untyped]
from numpy.typing import NDArray

from multimodal.config import LoaderArgs
from multimodal.errors import InvalidMedia
from multimodal.media.pages import PAGE_CHARACTERS, Contents, Window, title_of, too_much_text
from multimodal.media.pdf_layout import Glyph, Rectangle, paragraphs
from multimodal.types import Box, Page, TextBlock

_OWN_TEXT_CHARACTERS = 16
"""A page with fewer letters and figures has no text of its own: a page number, the name of a scanner."""

_BLANK_CONTRAST = 8
"""Levels (of 255) that the darkest and the lightest pixel of a blank page differ by, at most."""

_DEVICE_UNITS = 1_000_000
"""Sides of the device that pdfium is asked about."""

_REACH = 1000.0
"""Points between the places that it is asked about."""


def decode_pdf(data: bytes, window: Window, args: LoaderArgs) -> Contents:
    """Text and previews; what has no text is rendered large enough to be read. Ends before the first page
    that is one too many of those."""
    with _opened(data, window.param) as document:
        count = len(document)
        numbers = window.numbers(count)
        pages: list[Page] = []
        to_read = args.max_page_images
        for number in numbers:
            with closing(document[number - 1]) as page:
                found = _page(page, number, window, args)
                if found.scanned and to_read == 0 and args.max_page_images:
                    break
                pages.append(found)
            to_read -= found.scanned
        return Contents(pages=tuple(pages), page_count=count, title=_title(document))


@contextmanager
def _opened(data: bytes, param: str) -> Iterator[pdfium.PdfDocument]:
    try:
        document = pdfium.PdfDocument(data)
    except pdfium.PdfiumError as error:
        if error.err_code == pdfium_c.FPDF_ERR_PASSWORD:
            raise InvalidMedia("This PDF is encrypted. Send it without a password.", param=param) from error
        raise
    with closing(document):
        yield document


def _title(document: pdfium.PdfDocument) -> str:
    return title_of(str(document.get_metadata_value("Title")))


def _page(page: pdfium.PdfPage, number: int, window: Window, args: LoaderArgs) -> Page:
    blocks = _blocks(page, window.param)
    pixels = _rendered(page, args.page_preview_px)
    letters = sum(character.isalnum() for block in blocks for character in block.text)
    wordless = letters < _OWN_TEXT_CHARACTERS
    scanned = args.max_page_images > 0 and wordless and not _is_blank(pixels) and _shows_more(page)
    if scanned:
        pixels = _rendered(page, args.page_max_side_px)
    text = window.page(number, blocks)
    return Page(number=number, blocks=text.blocks, pixels=pixels, scanned=scanned)


def _rendered(page: pdfium.PdfPage, side_px: int) -> NDArray[np.uint8]:
    """(height, width, 3), RGB; the longer side has `side_px`."""
    longest = max(page.get_size())
    if not longest > 0:
        raise ValueError("a page without a size")
    bitmap = page.render(
        scale=side_px / longest, may_draw_forms=False, rev_byteorder=True, bitmap_maker=_rgb_bitmap
    )
    with closing(bitmap):
        pixels: NDArray[np.uint8] = bitmap.to_numpy()[:side_px, :side_px, :3]
        return np.array(pixels, np.uint8, order="C")


def _rgb_bitmap(width: int, height: int, format: int, **settings: object) -> pdfium.PdfBitmap:
    """Pages are never so narrow that nothing of them is left."""
    return pdfium.PdfBitmap.new_native(max(1, width), max(1, height), format, **settings)


def _is_blank(pixels: NDArray[np.uint8]) -> bool:
    levels = pixels.reshape(-1, 3)
    contrast: NDArray[np.int_] = levels.max(axis=0).astype(int) - levels.min(axis=0)
    return bool(contrast.max() < _BLANK_CONTRAST)


def _shows_more(page: pdfium.PdfPage) -> bool:
    """Whether there is anything but text on a page."""
    return any(one.type != pdfium_c.FPDF_PAGEOBJ_TEXT for one in page.get_objects(max_depth=1))


# --- text ----------------------------------------------------------------------------------------


def _blocks(page: pdfium.PdfPage, param: str) -> list[TextBlock]:
    """Paragraphs, in the order in which they are drawn, with their places on the upright page."""
    width, height = page.get_size()
    if not (width > 0 and height > 0):
        return []
    with closing(page.get_textpage()) as text:
        count = text.count_chars()
        if count > PAGE_CHARACTERS:
            raise too_much_text(param)
        found = paragraphs(_glyphs(text, count, _Upright(page, width, height)))
    return [
        TextBlock(text=one.text, box=_fractions(one.place, width, height), heading=one.heading)
        for one in found
    ]


def _glyphs(text: pdfium.PdfTextPage, count: int, upright: _Upright) -> Iterator[Glyph]:
    """Characters, and the box of each around the whole height of its font."""
    box = pdfium_c.FS_RECTF()
    for index in range(count):
        character = chr(pdfium_c.FPDFText_GetUnicode(text, index))
        if character.isspace() or not pdfium_c.FPDFText_GetLooseCharBox(text, index, box):
            yield Glyph(character, None)
        else:
            yield Glyph(character, upright.place(box.left, box.bottom, box.right, box.top))


class _Upright:
    """From the coordinates of a page to points on it as it is shown: cropped, turned, downwards."""

    def __init__(self, page: pdfium.PdfPage, width: float, height: float) -> None:
        self._sides = (width, height)
        origin, right, up = (self._asked(page, *point) for point in ((0, 0), (_REACH, 0), (0, _REACH)))
        self._origin = origin
        self._right = [(there - here) / _REACH for there, here in zip(right, origin, strict=True)]
        self._up = [(there - here) / _REACH for there, here in zip(up, origin, strict=True)]

    def place(self, left: float, bottom: float, right: float, top: float) -> Rectangle:
        (x0, x1), (y0, y1) = (
            sorted((self._shown(axis, left, bottom), self._shown(axis, right, top))) for axis in (0, 1)
        )
        return x0, y0, x1, y1

    def _shown(self, axis: int, x: float, y: float) -> float:
        return self._origin[axis] + x * self._right[axis] + y * self._up[axis]

    def _asked(self, page: pdfium.PdfPage, x: float, y: float) -> tuple[float, float]:
        """pdfium answers in whole units of a device: here those are small ones."""
        across, down = ctypes.c_int(), ctypes.c_int()
        pdfium_c.FPDF_PageToDevice(
            page, 0, 0, _DEVICE_UNITS, _DEVICE_UNITS, 0, x, y, ctypes.byref(across), ctypes.byref(down)
        )
        width, height = self._sides
        return across.value / _DEVICE_UNITS * width, down.value / _DEVICE_UNITS * height


def _fractions(place: Rectangle, width: float, height: float) -> Box:
    left, top, right, bottom = place
    return _clipped(left / width), _clipped(top / height), _clipped(right / width), _clipped(bottom / height)


def _clipped(fraction: float) -> float:
    return min(1.0, max(0.0, fraction))
