"""Characters of a PDF page as paragraphs and headings: what stands together, and what is printed larger."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import NamedTuple, TypeAlias

from multimodal.media.pages import cleaned
from multimodal.media.sentences import words_in

Rectangle: TypeAlias = tuple[float, float, float, float]
"""left, top, right, bottom in points of the upright page; downwards is more."""

LINE_GAP = 0.7
"""Lines of a paragraph are no further apart than this share of their height."""
SAME_SIZE = 1.15
"""Lines of a paragraph have heights whose ratio is below this."""
HEADING_SIZE = 1.15
"""A heading is higher than the usual line of its page by this factor at least."""
HEADING_WORDS = 30

_HYPHEN = "\x02"
"""What pdfium gives for a hyphen that parts a word at the end of a line."""


class Glyph(NamedTuple):
    """A character. White space has no place, and ends of lines are characters, too."""

    character: str
    place: Rectangle | None


@dataclass(slots=True)
class _Line:
    text: str
    place: Rectangle
    height: float


@dataclass(slots=True)
class Paragraph:
    """Text that stands together."""

    text: str
    place: Rectangle
    heading: bool = False
    heights: list[float] = field(default_factory=list)


def paragraphs(glyphs: Iterable[Glyph]) -> list[Paragraph]:
    """In the order of the characters."""
    lines = list(_lines(glyphs))
    usual = _usual_height(lines)
    found: list[Paragraph] = []
    last: _Line | None = None
    for line in lines:
        if last is not None and _together(last, line):
            _join(found[-1], line)
        else:
            found.append(Paragraph(line.text, line.place, heights=[line.height]))
        last = line
    for one in found:
        one.text = cleaned(_whole_words(one.text))
        one.heading = median(one.heights) > HEADING_SIZE * usual and words_in(one.text) <= HEADING_WORDS
    return [one for one in found if one.text]


def _lines(glyphs: Iterable[Glyph]) -> Iterator[_Line]:
    line: list[Glyph] = []
    for glyph in glyphs:
        if glyph.character in "\r\n":
            yield from _line(line)
            line = []
        else:
            line.append(glyph)
    yield from _line(line)


def _line(glyphs: Sequence[Glyph]) -> Iterator[_Line]:
    """None where nothing of it has a place."""
    places = [glyph.place for glyph in glyphs if glyph.place is not None]
    if places:
        text = "".join(glyph.character for glyph in glyphs).strip()
        height = median(place[3] - place[1] for place in places)
        yield _Line(text, _around(places), max(height, 0.0))


def _around(places: Sequence[Rectangle]) -> Rectangle:
    lefts, tops, rights, bottoms = zip(*places, strict=True)
    return min(lefts), min(tops), max(rights), max(bottoms)


def _usual_height(lines: Sequence[_Line]) -> float:
    """The height that half of the characters have at most; that of a page of one size all over."""
    heights = sorted((line.height, len(line.text)) for line in lines)
    half = sum(count for _, count in heights) / 2
    for height, count in heights:
        half -= count
        if half <= 0:
            return height
    return 0.0


def _together(last: _Line, line: _Line) -> bool:
    """Whether a line goes on where the last one ended: below it, or in the same row to its right."""
    low, high = sorted((last.height, line.height))
    if high > low * SAME_SIZE:
        return False
    if _overlap(last.place, line.place, 1) > 0.5 * low:
        return line.place[0] >= last.place[2]
    gap = line.place[1] - last.place[3]
    return -0.5 * low < gap < LINE_GAP * low and _overlap(last.place, line.place, 0) > 0


def _overlap(one: Rectangle, other: Rectangle, axis: int) -> float:
    return min(one[axis + 2], other[axis + 2]) - max(one[axis], other[axis])


def _whole_words(text: str) -> str:
    """pdfium puts most words together itself, with the mark left in them."""
    return (text[:-1].replace(_HYPHEN, "") + text[-1:]).replace(_HYPHEN, "-")


def _join(paragraph: Paragraph, line: _Line) -> None:
    """A word that was parted at the end of a line is put together again."""
    if paragraph.text.endswith(_HYPHEN):
        paragraph.text = paragraph.text[:-1] + line.text
    else:
        paragraph.text += " " + line.text
    paragraph.place = _around([paragraph.place, line.place])
    paragraph.heights.append(line.height)
