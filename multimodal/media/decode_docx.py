"""Word documents: paragraphs, headings and tables, in the order of the document."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import TypeAlias

from docx import Document as open_document
from docx.document import Document as WordDocument
from docx.oxml.ns import qn
from docx.oxml.xmlchemy import BaseOxmlElement

from multimodal.media.pages import PAGE_WORDS, Contents, Window, block_of, paginate, row_of, title_of
from multimodal.types import TextBlock

_LAID_OUT_WORDS = 2000
"""No page that Word has laid out has more words."""

_BREAK = "\f"
_PARAGRAPH, _TABLE, _ROW, _CELL = qn("w:p"), qn("w:tbl"), qn("w:tr"), qn("w:tc")
_WRAPPERS = (qn("w:sdt"), qn("w:sdtContent"), qn("w:customXml"), qn("w:ins"), qn("w:smartTag"))
"""Elements around paragraphs, tables, rows and cells."""
_LAID_OUT = qn("w:lastRenderedPageBreak")
_TEXT, _LINE_END, _TYPE = qn("w:t"), qn("w:br"), qn("w:type")
_MARKS = {qn("w:tab"): "\t", _LINE_END: "\n", qn("w:cr"): "\n", qn("w:noBreakHyphen"): "-"}
_SKIPPED = (qn("w:pPr"), qn("w:rPr"), "{http://schemas.openxmlformats.org/markup-compatibility/2006}Fallback")
"""Formatting, whose tabs are no text; and the second version of what stands there already."""

_Item: TypeAlias = TextBlock | None
"""A block, or (None) the end of a page."""


def decode_docx(data: bytes, window: Window) -> Contents:
    """Pages end where Word broke them when the document was last laid out, else at the breaks that its author
    set, else after PAGE_WORDS."""
    document = open_document(io.BytesIO(data))
    body = document.element.body
    laid_out = next(body.iter(_LAID_OUT), None) is not None
    reader = _Reader(document, laid_out=laid_out)
    words = _LAID_OUT_WORDS if laid_out else PAGE_WORDS
    return window.of(_pages(reader.items(body), words), title_of(document.core_properties.title))


def _pages(items: Iterator[_Item], words: int) -> Iterator[list[TextBlock]]:
    """Split where a page ends; longer ones are split further."""
    page: list[TextBlock] = []
    for item in items:
        if item is None:
            yield from paginate(page, words)
            page = []
        else:
            page.append(item)
    yield from paginate(page, words)


class _Reader:
    """Walks through the elements of a document."""

    def __init__(self, document: WordDocument, *, laid_out: bool) -> None:
        self._document = document
        self._laid_out = laid_out
        self._headings = {style.style_id for style in document.styles if _names_heading(style.name or "")}

    def items(self, parent: BaseOxmlElement) -> Iterator[_Item]:
        """Blocks and page ends in the body, or in a part of it."""
        for element in parent:
            if element.tag == _PARAGRAPH:
                yield from self._paragraph(element)
            elif element.tag == _TABLE:
                yield from self._table(element)
            elif element.tag in _WRAPPERS:
                yield from self.items(element)

    def _paragraph(self, element: BaseOxmlElement) -> Iterator[_Item]:
        heading = element.style in self._headings
        for number, text in enumerate(self._text(element).split(_BREAK)):
            if number:
                yield None
            yield from block_of(text, heading=heading)

    def _table(self, table: BaseOxmlElement) -> Iterator[_Item]:
        for row in _inside(table, _ROW):
            cells = [list(self.items(cell)) for cell in _inside(row, _CELL)]
            if any(None in cell for cell in cells):
                yield None
            yield from block_of(row_of(" ".join(item.text for item in cell if item) for cell in cells))

    def _text(self, element: BaseOxmlElement) -> str:
        """Of a paragraph, with what is linked, inserted or drawn in it; page ends are form feeds."""
        return "".join(self._pieces(element))

    def _pieces(self, element: BaseOxmlElement) -> Iterator[str]:
        for child in element:
            if child.tag in _SKIPPED:
                continue
            if child.tag == _TEXT:
                yield child.text or ""
            elif child.tag == _LAID_OUT:
                yield _BREAK if self._laid_out else ""
            elif child.tag == _LINE_END and child.get(_TYPE) == "page":
                yield "" if self._laid_out else _BREAK
            elif child.tag in _MARKS:
                yield _MARKS[child.tag]
            else:
                yield from self._pieces(child)
        if element.tag == _PARAGRAPH:
            yield "\n"  # there may be another in the same text box


def _inside(parent: BaseOxmlElement, tag: str) -> Iterator[BaseOxmlElement]:
    """Rows of a table, cells of a row."""
    for element in parent:
        if element.tag == tag:
            yield element
        elif element.tag in _WRAPPERS:
            yield from _inside(element, tag)


def _names_heading(name: str) -> bool:
    """python-docx gives styles that Word brings along their English names."""
    return name in ("Title", "Subtitle") or name.startswith("Heading")
