"""Excel workbooks: a page for each sheet, as it was calculated when it was saved."""

from __future__ import annotations

import datetime
import io
import itertools
from collections.abc import Iterator, Sequence

from openpyxl import load_workbook  # type: ignore[import-untyped]

from multimodal.media.pages import Contents, Window, title_of
from multimodal.media.tables import table_pages
from multimodal.types import TextBlock


def decode_xlsx(data: bytes, window: Window) -> Contents:
    """Rows as they are read, one by one: what a sheet says of its size is not believed."""
    workbook = load_workbook(io.BytesIO(data), read_only=True, data_only=True, keep_links=False)
    sheets: Iterator[Iterator[list[TextBlock]]] = (
        table_pages(_rows(sheet), str(sheet.title)) for sheet in workbook.worksheets
    )
    return window.of(itertools.chain.from_iterable(sheets), title_of(workbook.properties.title))


def _rows(sheet: object) -> Iterator[Sequence[str]]:
    sheet.reset_dimensions()  # type: ignore[attr-defined]
    for cells in sheet.iter_rows(values_only=True):  # type: ignore[attr-defined]
        yield [_shown(value) for value in cells]


def _shown(value: object) -> str:
    """A value about as Excel shows it."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.15g}"
    if isinstance(value, datetime.datetime):
        midnight = value.time() == datetime.time()
        return value.date().isoformat() if midnight else value.isoformat(" ", "minutes")
    return str(value)
