"""Small real documents, made when a test asks for them, and hostile ones.

documents.pdf([documents.PdfPage([("Quarterly report", 24), ("Sales grew by four percent.", 12)])])
documents.scanned_pdf(["TOTAL 42 EUR"])
documents.docx(["# Minutes", "Ann was late."], title="Meeting")
documents.xlsx({"Prices": [["Item", "EUR"], ["Coffee", 3.5]]})
documents.pptx([documents.Slide("Churn", "It fell.", notes="Say why.")])
"""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import TypeAlias

from tests import media

Cell: TypeAlias = str | int | float | datetime | None

A4 = (595, 842)
"""Points."""


# --- PDF -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PdfPage:
    """Lines from the top to the bottom, each with its size in points; "" leaves one out."""

    lines: Sequence[tuple[str, int]] = ()
    rotate: int = 0
    """Degrees, clockwise, by which it is to be shown turned."""
    size: tuple[int, int] = A4
    picture: bytes | None = None
    """A JPEG, all over the page."""
    crop: tuple[int, int, int, int] | None = None
    """left, bottom, right, top in points."""


def pdf(pages: Sequence[PdfPage], *, title: str = "") -> bytes:
    """With Helvetica, which every reader has. Text of one byte a character."""
    file = _PdfFile()
    font = file.add("<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>")
    tree = file.reserve()
    kids = [_pdf_page(file, page, font, tree) for page in pages]
    listed = " ".join(f"{kid} 0 R" for kid in kids)
    file.fill(tree, f"<< /Type /Pages /Kids [{listed}] /Count {len(kids)} >>")
    catalog = file.add(f"<< /Type /Catalog /Pages {tree} 0 R >>")
    return file.finish(catalog, file.add(f"<< /Title ({title}) >>"))


def _pdf_page(file: _PdfFile, page: PdfPage, font: int, tree: int) -> int:
    drawing, resources = "", f"/Font << /F1 {font} 0 R >>"
    if page.picture is not None:
        picture = file.add_stream(
            "/Type /XObject /Subtype /Image /ColorSpace /DeviceRGB /BitsPerComponent 8 /Filter /DCTDecode "
            + "/Width {} /Height {}".format(*_jpeg_size(page.picture)),
            page.picture,
        )
        drawing += f"q {page.size[0]} 0 0 {page.size[1]} 0 0 cm /Im1 Do Q\n"
        resources += f" /XObject << /Im1 {picture} 0 R >>"
    top = page.size[1] - 72.0
    for text, size in page.lines:
        escaped = text.replace("\\", r"\\").replace("(", r"\(").replace(")", r"\)")
        drawing += f"BT /F1 {size} Tf 72 {top} Td ({escaped}) Tj ET\n" if text else ""
        top -= size * 1.2
    contents = file.add_stream("", drawing.encode("latin-1"))
    crop = "/CropBox [{} {} {} {}]".format(*page.crop) if page.crop else ""
    return file.add(
        f"<< /Type /Page /Parent {tree} 0 R /MediaBox [0 0 {page.size[0]} {page.size[1]}] {crop} "
        f"/Rotate {page.rotate} /Contents {contents} 0 R /Resources << {resources} >> >>"
    )


class _PdfFile:
    """Objects, numbered from 1, and the table of where they are."""

    def __init__(self) -> None:
        self._objects: list[bytes] = []

    def reserve(self) -> int:
        self._objects.append(b"")
        return len(self._objects)

    def fill(self, number: int, body: str) -> None:
        self._objects[number - 1] = body.encode("latin-1")

    def add(self, body: str) -> int:
        number = self.reserve()
        self.fill(number, body)
        return number

    def add_stream(self, entries: str, data: bytes) -> int:
        number = self.reserve()
        head = f"<< {entries} /Length {len(data)} >>\nstream\n".encode("latin-1")
        self._objects[number - 1] = head + data + b"\nendstream"
        return number

    def finish(self, catalog: int, info: int, more: str = "") -> bytes:
        data, offsets = bytearray(b"%PDF-1.7\n"), []
        for number, body in enumerate(self._objects, 1):
            offsets.append(len(data))
            data += b"%d 0 obj\n%s\nendobj\n" % (number, body)
        table = len(data)
        data += b"xref\n0 %d\n0000000000 65535 f \n" % (len(offsets) + 1)
        data += b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
        trailer = f"trailer\n<< /Size {len(offsets) + 1} /Root {catalog} 0 R /Info {info} 0 R {more} >>\n"
        return bytes(data + trailer.encode() + b"startxref\n%d\n%%%%EOF\n" % table)


def _jpeg_size(data: bytes) -> tuple[int, int]:
    from PIL import Image

    with Image.open(io.BytesIO(data)) as picture:
        return picture.size


def scanned_pdf(texts: Sequence[str], *, size: tuple[int, int] = A4) -> bytes:
    """Pages that are nothing but pictures, with a printed line each."""
    pages = [
        PdfPage(picture=media.picture_with_text(text, "jpeg", size=(size[0] * 2, size[1] * 2)), size=size)
        for text in texts
    ]
    return pdf(pages)


@cache
def many_pages(count: int) -> bytes:
    """A PDF of so many pages that share one content."""
    file = _PdfFile()
    contents = file.add_stream("", b"")
    tree = file.reserve()
    page = f"<< /Type /Page /Parent {tree} 0 R /MediaBox [0 0 100 100] /Contents {contents} 0 R >>"
    kids = " ".join(f"{file.add(page)} 0 R" for _ in range(count))
    file.fill(tree, f"<< /Type /Pages /Kids [{kids}] /Count {count} >>")
    catalog = file.add(f"<< /Type /Catalog /Pages {tree} 0 R >>")
    return file.finish(catalog, file.add("<< >>"))


def encrypted_pdf() -> bytes:
    """Opens with a password only (PDF 1.7, 7.6.3: revision 2, whatever the keys)."""
    file = _PdfFile()
    tree = file.reserve()
    page = file.add(f"<< /Type /Page /Parent {tree} 0 R /MediaBox [0 0 100 100] >>")
    file.fill(tree, f"<< /Type /Pages /Kids [{page} 0 R] /Count 1 >>")
    catalog = file.add(f"<< /Type /Catalog /Pages {tree} 0 R >>")
    key = "ab" * 32
    lock = file.add(f"<< /Filter /Standard /V 1 /R 2 /O <{key}> /U <{key}> /P -4 >>")
    return file.finish(catalog, file.add("<< >>"), f"/Encrypt {lock} 0 R /ID [<{'00' * 16}> <{'00' * 16}>]")


# --- office --------------------------------------------------------------------------------------


def docx(paragraphs: Sequence[str], *, title: str = "") -> bytes:
    """ "# " begins a heading, "\\f" alone a page; cells of a table row are parted by " | "."""
    from docx import Document

    document = Document()
    document.core_properties.title = title
    for text in paragraphs:
        if text == "\f":
            document.add_page_break()  # type: ignore[no-untyped-call]
        elif text.startswith("# "):
            document.add_heading(text[2:], 1)
        elif " | " in text:
            cells = text.split(" | ")
            row = document.add_table(1, len(cells)).rows[0]
            for cell, words in zip(row.cells, cells, strict=True):
                cell.text = words
        else:
            document.add_paragraph(text)
    return _saved(document)


def xlsx(sheets: Mapping[str, Sequence[Sequence[Cell]]]) -> bytes:
    """Sheets of rows."""
    from openpyxl import Workbook  # type: ignore[import-untyped]

    workbook = Workbook()
    workbook.remove(workbook.active)
    for name, rows in sheets.items():
        sheet = workbook.create_sheet(name)
        for row in rows:
            sheet.append(row)
    return _saved(workbook)


@dataclass(frozen=True, slots=True)
class Slide:
    """One slide of the usual layout."""

    title: str
    body: str
    notes: str = ""
    table: Sequence[Sequence[str]] = ()


def pptx(slides: Sequence[Slide], *, title: str = "") -> bytes:
    """10 x 7.5 inches; tables lie 1 inch from the left, 5 from the top, and are 4 x 1 inches large."""
    from pptx import Presentation
    from pptx.util import Inches

    show = Presentation()
    show.core_properties.title = title
    for slide in slides:
        made = show.slides.add_slide(show.slide_layouts[1])
        made.shapes[0].text_frame.text = slide.title
        made.shapes[1].text_frame.text = slide.body
        if slide.table:
            place = (Inches(1), Inches(5), Inches(4), Inches(1))
            table = made.shapes.add_table(len(slide.table), len(slide.table[0]), *place).table
            for down, row in enumerate(slide.table):
                for across, words in enumerate(row):
                    table.cell(down, across).text = words
        if slide.notes:
            notes = made.notes_slide.notes_text_frame
            assert notes is not None
            notes.text = slide.notes
    return _saved(show)


def _saved(document: object) -> bytes:
    buffer = io.BytesIO()
    document.save(buffer)  # type: ignore[attr-defined]
    return buffer.getvalue()


def with_part(package: bytes, name: str, content: bytes | None = None, *, before: bytes = b"") -> bytes:
    """An office document with another part, or with something before the root element of one it has."""
    buffer = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(package)) as old,
        zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for part in old.infolist():
            data = old.read(part)
            if part.filename == name:
                start = data.index(b"?>") + 2 if data.startswith(b"<?xml") else 0
                data = content if content is not None else data[:start] + before + data[start:]
            new.writestr(part, data)
        if name not in old.namelist() and content is not None:
            new.writestr(name, content)
    return buffer.getvalue()


# --- bombs ---------------------------------------------------------------------------------------


def zip_bomb(package: bytes, size_bytes: int) -> bytes:
    """An office document with a part that unpacks to so many zeros, and says so."""
    buffer = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(package)) as old,
        zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for part in old.infolist():
            new.writestr(part, old.read(part))
        piece = bytes(1 << 20)
        with new.open("word/media/zeros.bin", "w", force_zip64=True) as file:
            for _ in range(size_bytes >> 20):
                file.write(piece)
    return buffer.getvalue()


def laughs(element: str) -> bytes:
    """A document type with a billion laughs. `&lol9;` in a text would be gigabytes."""
    entities = '<!ENTITY lol0 "lol">' + "".join(
        f'<!ENTITY lol{number} "{f"&lol{number - 1};" * 10}">' for number in range(1, 10)
    )
    return f"<!DOCTYPE {element} [{entities}]>".encode()


def external_entity(element: str, path: str) -> bytes:
    """A document type whose `&file;` is a file of this machine."""
    return f'<!DOCTYPE {element} [<!ENTITY file SYSTEM "file://{path}">]>'.encode()


def endless_pdf() -> bytes:
    """A page whose text unpacks to far more than a page can have."""
    drawing = b"BT /F1 1 Tf 1 1 Td " + b"(many words) Tj " * 40_000 + b"ET"
    file = _PdfFile()
    font = file.add("<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>")
    contents = file.add_stream("/Filter /FlateDecode", zlib.compress(drawing))
    tree = file.reserve()
    page = file.add(
        f"<< /Type /Page /Parent {tree} 0 R /MediaBox [0 0 100 100] /Contents {contents} 0 R "
        f"/Resources << /Font << /F1 {font} 0 R >> >> >>"
    )
    file.fill(tree, f"<< /Type /Pages /Kids [{page} 0 R] /Count 1 >>")
    catalog = file.add(f"<< /Type /Catalog /Pages {tree} 0 R >>")
    return file.finish(catalog, file.add("<< >>"))
