"""Cuts the text of a page into chunks, each short enough for one sentence vector."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from multimodal.media.sentences import split_text, words_in
from multimodal.types import Box, Chunk, TextBlock


def chunk_blocks(blocks: Iterable[TextBlock], limit: int) -> tuple[Chunk, ...]:
    """Chunks of at most `limit` words (as `words_in` counts them), in the order of the blocks.

    A heading begins a chunk, and stands again at the top of each further one under it. Blocks are kept whole
    where they fit; longer ones are cut at ends of lines and sentences. Nothing is lost, no chunk is empty.
    """
    return tuple(_chunks(blocks, limit))


def _chunks(blocks: Iterable[TextBlock], limit: int) -> Iterator[Chunk]:
    section = _Section(limit)
    for block in blocks:
        if block.heading and section.has_body:
            yield from section.end()
            section = _Section(limit)
        if block.heading and section.takes_heading(block):
            continue
        for piece in split_text(block.text, section.body_limit):
            yield from section.add(TextBlock(text=piece, box=block.box))
    yield from section.end()


class _Section:
    """Headings, and the text under them."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._headings: list[TextBlock] = []
        self._heading_words = 0
        self._body: list[TextBlock] = []
        self._words = 0
        self._shown = False
        """Whether a chunk has the headings already."""

    @property
    def has_body(self) -> bool:
        return bool(self._body) or self._shown

    @property
    def body_limit(self) -> int:
        """Words that a chunk has room for below the headings."""
        return self._limit - self._heading_words

    def takes_heading(self, block: TextBlock) -> bool:
        """False for one that is so long that it has to be text: headings fill half a chunk at most."""
        words = words_in(block.text)
        if words == 0 or self._heading_words + words > self._limit // 2:
            return False
        self._headings.append(block)
        self._heading_words += words
        return True

    def add(self, block: TextBlock) -> Iterator[Chunk]:
        """Text that fits under the headings. Yields the chunk before, where that is full."""
        words = words_in(block.text)
        if self._words + words > self.body_limit:
            yield self._chunk()
        self._body.append(block)
        self._words += words

    def end(self) -> Iterator[Chunk]:
        """The last chunk; headings without a text are one, too."""
        if self._body or (self._headings and not self._shown):
            yield self._chunk()

    def _chunk(self) -> Chunk:
        text = "\n".join(block.text.strip() for block in (*self._headings, *self._body))
        places = self._body if self._shown else [*self._headings, *self._body]
        self._body, self._words, self._shown = [], 0, True
        return Chunk(text=text, box=_around(places))


def _around(blocks: Sequence[TextBlock]) -> Box | None:
    boxes = [block.box for block in blocks if block.box is not None]
    if not boxes:
        return None
    lefts, tops, rights, bottoms = zip(*boxes, strict=True)
    return min(lefts), min(tops), max(rights), max(bottoms)
