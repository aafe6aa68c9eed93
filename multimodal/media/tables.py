"""Rows of sheets and of CSV files as blocks, in pages that each begin with the header."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from multimodal.media.pages import block_of, paginate, row_of
from multimodal.types import TextBlock

TABLE_PAGE_WORDS = 5000
"""A sheet is one page, unless it has more words than this."""

_HEADER_WORDS = 100
"""Longer first rows are no header."""


def table_pages(rows: Iterable[Sequence[str]], name: str = "") -> Iterator[list[TextBlock]]:
    """Pages of a table. Its name and its header are headings of each.

    A header is a first row of several cells, none of which is a number.
    """
    source = iter(_filled(rows))
    first = next(source, None)
    headings = list(block_of(name, heading=True))
    if first is None:
        yield headings
        return
    row = list(block_of(row_of(first), heading=_is_header(first)))
    if row and row[0].heading:
        headings += row
        row = []
    body = (block for cells in source for block in block_of(row_of(cells)))
    pages = paginate(_chain(row, body), TABLE_PAGE_WORDS)
    yield [*headings, *next(pages, [])]
    for page in pages:
        yield [*headings, *page]


def _chain(first: Iterable[TextBlock], rest: Iterable[TextBlock]) -> Iterator[TextBlock]:
    yield from first
    yield from rest


def _filled(rows: Iterable[Sequence[str]]) -> Iterator[Sequence[str]]:
    return (cells for cells in rows if any(cell and not cell.isspace() for cell in cells))


def _is_header(cells: Sequence[str]) -> bool:
    filled = [cell for cell in cells if cell.strip()]
    words = sum(len(cell.split()) for cell in filled)
    return len(filled) > 1 and words <= _HEADER_WORDS and not any(map(_is_number, filled))


def _is_number(cell: str) -> bool:
    """Dates, amounts and shares of a hundred are numbers, too."""
    return not any(character.isalpha() for character in cell)
