"""Texts: plain, Markdown, HTML, CSV. They have no pages of their own, so they are cut into some."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator

from multimodal.errors import InvalidMedia
from multimodal.media.pages import Contents, Window, block_of, paginate, title_of
from multimodal.media.sentences import words_in
from multimodal.media.tables import table_pages
from multimodal.media.texts import decode_text
from multimodal.types import TextBlock

_LONG_WORDS = 120
"""Paragraphs with more words are taken apart into their lines: logs and lists are one paragraph."""

_DELIMITERS = ",;\t|"
"""Of CSV tables: whichever the first line has most of."""


def decode_text_format(data: bytes, format_name: str, window: Window) -> Contents:
    """A text of one of the formats, in whatever encoding. Raises InvalidMedia where it is none."""
    text = decode_text(data)
    if text is None:
        raise InvalidMedia(
            "This text is in no known encoding. Save it as UTF-8 and send it again.", param=window.param
        )
    if format_name == "csv":
        return window.of(table_pages(_rows(text)), "")
    if format_name == "html":
        from multimodal.media.decode_html import html_blocks

        title, blocks = html_blocks(text)
        return window.of(paginate(blocks), title_of(title))
    if format_name == "markdown":
        from multimodal.media.decode_markdown import markdown_blocks

        title, blocks = markdown_blocks(text)
        return window.of(paginate(blocks), title_of(title))
    return window.of(paginate(_paragraphs(text)), "")


def _paragraphs(text: str) -> Iterator[TextBlock]:
    """Parted by empty lines."""
    for paragraph in re.split(r"\n[ \t]*\n", text):
        if words_in(paragraph) <= _LONG_WORDS:
            yield from block_of(paragraph)
        else:
            for line in paragraph.split("\n"):
                yield from block_of(line)


def _rows(text: str) -> Iterator[list[str]]:
    """Rows of a CSV table; where a field has no end, the lines as they are."""
    first = text.lstrip().partition("\n")[0]
    delimiter = max(_DELIMITERS, key=first.count)
    try:
        yield from csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    except csv.Error:
        yield from ([line] for line in text.split("\n"))
