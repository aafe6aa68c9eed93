"""Pages of a document, as its decoder makes them: a window of them, and how much text they may have."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from multimodal.config import MIB, Limits
from multimodal.errors import InvalidRequest, MediaTooLarge
from multimodal.media.limits import check_page_count
from multimodal.media.sentences import split_text, words_in
from multimodal.types import Box, Page, TextBlock

PAGE_WORDS = 500
"""A page of a text that has none of its own: about what a printed one holds."""

PAGE_CHARACTERS = 200_000
"""Text of one page. The fullest pages in print have a tenth of this."""

PAGE_BLOCKS = 20_000
"""Paragraphs and rows of one page."""

TEXT_MAX_BYTES = 16 * MIB
"""The texts of all pages that are decoded at once, as they leave the decoder."""

_TITLE_CHARACTERS = 300

_EMPTY_CELLS = 3
"""Of a row, one after the other; a sheet has 16,384 columns, and most rows leave most of them empty."""

_NO_TEXT = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]")
"""Controls, halves of characters and what is no character: nothing to read, and harmful in JSON and XML."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """What a decoder finds in a document."""

    pages: tuple[Page, ...]
    """At least one; an empty document has an empty page."""
    page_count: int
    """Of the whole document."""
    title: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Which pages of a document are wanted."""

    first: int
    """From 1."""
    most: int
    limits: Limits
    param: str

    def numbers(self, page_count: int) -> range:
        """Of the pages that are wanted.

        Raises MediaTooLarge where the document has more pages than allowed, InvalidRequest where it ends
        before the first one.
        """
        check_page_count(page_count, self.limits, self.param)
        if not 1 <= self.first <= page_count:
            raise InvalidRequest(
                f"This document has {page_count} pages: there is no page {self.first}.", param=self.param
            )
        return range(self.first, min(self.first + self.most, page_count + 1))

    def of(self, texts: Iterable[list[TextBlock]], title: str) -> Contents:
        """The wanted of all pages of a text. Raises what `numbers` raises, and MediaTooLarge for a page that
        has too much text."""
        pages: list[Page] = []
        count = 0
        for count, blocks in enumerate(texts, 1):
            check_page_count(count, self.limits, self.param)
            if self.first <= count < self.first + self.most:
                pages.append(self.page(count, blocks))
        if count == 0:
            return Contents(pages=(Page(number=1, blocks=()),), page_count=1, title=title)
        self.numbers(count)
        return Contents(pages=tuple(pages), page_count=count, title=title)

    def page(self, number: int, blocks: list[TextBlock]) -> Page:
        """A page without pixels. Raises MediaTooLarge where it has too much text."""
        characters = sum(len(block.text) for block in blocks)
        if characters > PAGE_CHARACTERS or len(blocks) > PAGE_BLOCKS:
            raise too_much_text(self.param)
        return Page(number=number, blocks=tuple(blocks))


def too_much_text(param: str | None = None) -> MediaTooLarge:
    """The error for pages that nobody could read."""
    return MediaTooLarge(
        f"A page of this document has more text than the {PAGE_CHARACTERS:,} characters allowed, or "
        f"{PAGE_BLOCKS:,} paragraphs. Send it in parts.",
        param=param,
    )


def cleaned(text: str) -> str:
    """Without control characters, and without white space around it."""
    return _NO_TEXT.sub("", text).strip()


def one_line(text: str) -> str:
    """Cleaned, all white space a single space."""
    return " ".join(_NO_TEXT.sub(" ", text).split())


def title_of(text: str | None) -> str:
    """A title on one line, cut where it is too long for one."""
    return one_line(text or "")[:_TITLE_CHARACTERS]


def block_of(text: str, *, heading: bool = False, box: Box | None = None) -> Iterator[TextBlock]:
    """The block of a text; none where there is nothing to read."""
    if text := cleaned(text):
        yield TextBlock(text=text, box=box, heading=heading)


def row_of(cells: Iterable[str]) -> str:
    """A row of a table: `a | b | c`. Empty cells are left out at its end, and where many stand together."""
    words: list[str] = []
    empty = 0
    for cell in map(one_line, cells):
        empty = 0 if cell else empty + 1
        if empty <= _EMPTY_CELLS:
            words.append(cell)
    return " | ".join(words).rstrip(" |")


def paginate(blocks: Iterable[TextBlock], words: int = PAGE_WORDS) -> Iterator[list[TextBlock]]:
    """Pages of at most so many words. Long blocks are cut; a heading stands with what follows it."""
    page: list[TextBlock] = []
    room = words
    for block in blocks:
        for piece in _fitting(block, words):
            needed = words_in(piece.text)
            if page and needed > room:
                kept = _headings_at_end(page)
                yield page[: len(page) - kept]
                page = page[len(page) - kept :]
                room = words - sum(words_in(one.text) for one in page)
            page.append(piece)
            room -= needed
    if page:
        yield page


def _fitting(block: TextBlock, words: int) -> Iterator[TextBlock]:
    """A block in pieces that leave room for a heading before them."""
    if words_in(block.text) <= words // 2:
        yield block
        return
    for piece in split_text(block.text, words // 2):
        yield TextBlock(text=piece)


def _headings_at_end(page: list[TextBlock]) -> int:
    """How many headings the page ends with; none where it has nothing else."""
    count = next((count for count, block in enumerate(reversed(page)) if not block.heading), 0)
    return count if count <= 2 else 0
