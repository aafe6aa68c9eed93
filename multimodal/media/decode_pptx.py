"""PowerPoint presentations: a page for each slide, with its tables and the speaker's notes."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from pptx import Presentation
from pptx.shapes.base import BaseShape
from pptx.shapes.graphfrm import GraphicFrame
from pptx.shapes.group import GroupShape
from pptx.slide import Slide

from multimodal.media.pages import Contents, Window, block_of, row_of, title_of
from multimodal.types import Box, TextBlock

_INNER = tuple(f"./p:grpSpPr/a:xfrm/a:{side}" for side in ("chOff/@x", "chOff/@y", "chExt/@cx", "chExt/@cy"))
"""Where the coordinates of a group begin, and how far they go."""


@dataclass(frozen=True, slots=True)
class _Frame:
    """How coordinates become fractions of the slide: `(value + offset) * scale`, in both directions."""

    offset: tuple[float, float]
    scale: tuple[float, float]

    def box(self, shape: BaseShape) -> Box | None:
        """Where a shape stands; None where it does not say so."""
        sides = (shape.left, shape.top, shape.width, shape.height)
        if any(side is None for side in sides) or not all(self.scale):
            return None
        left, top, width, height = map(float, sides)
        return (
            self._fraction(left, 0),
            self._fraction(top, 1),
            self._fraction(left + width, 0),
            self._fraction(top + height, 1),
        )

    def within(self, group: GroupShape) -> _Frame:
        """For the shapes in a group, which has coordinates of its own."""
        inner = [float(value) for path in _INNER for value in group._element.xpath(path)]
        outer = (group.left, group.top, group.width, group.height)
        if len(inner) != len(_INNER) or any(side is None for side in outer) or not (inner[2] and inner[3]):
            return self
        offset, scale = zip(*(self._nested(axis, outer, inner) for axis in (0, 1)), strict=True)
        return _Frame((offset[0], offset[1]), (scale[0], scale[1]))

    def _nested(self, axis: int, outer: Sequence[int], inner: Sequence[float]) -> tuple[float, float]:
        growth = outer[axis + 2] / inner[axis + 2]
        if not growth:
            return 0.0, 0.0
        return (self.offset[axis] + outer[axis]) / growth - inner[axis], self.scale[axis] * growth

    def _fraction(self, value: float, axis: int) -> float:
        return min(1.0, max(0.0, (value + self.offset[axis]) * self.scale[axis]))


def decode_pptx(data: bytes, window: Window) -> Contents:
    """Only the slides that are wanted are looked into."""
    show = Presentation(io.BytesIO(data))
    width, height = show.slide_width or 0, show.slide_height or 0
    frame = _Frame((0.0, 0.0), (1 / width if width else 0.0, 1 / height if height else 0.0))
    title = title_of(show.core_properties.title)
    count = len(show.slides)
    if count == 0:
        return window.of([], title)
    numbers = window.numbers(count)
    slides = list(show.slides)
    pages = tuple(window.page(number, list(_slide_blocks(slides[number - 1], frame))) for number in numbers)
    return Contents(pages=pages, page_count=count, title=title)


def _slide_blocks(slide: Slide, frame: _Frame) -> Iterator[TextBlock]:
    """The title first, then the shapes as they lie on each other, then the notes."""
    title = slide.shapes.title
    if title is not None:
        yield from block_of(title.text_frame.text, heading=True, box=frame.box(title))
    known = None if title is None else title.shape_id
    yield from _shape_blocks((shape for shape in slide.shapes if shape.shape_id != known), frame)
    notes = slide.notes_slide.notes_text_frame if slide.has_notes_slide else None
    if notes is not None:
        yield from block_of(notes.text)


def _shape_blocks(shapes: Iterable[BaseShape], frame: _Frame) -> Iterator[TextBlock]:
    for shape in shapes:
        if isinstance(shape, GroupShape):
            yield from _shape_blocks(shape.shapes, frame.within(shape))
        elif isinstance(shape, GraphicFrame) and shape.has_table:
            box = frame.box(shape)
            for row in shape.table.rows:
                yield from block_of(row_of(cell.text for cell in row.cells), box=box)
        elif shape.has_text_frame:
            yield from block_of(_frame_text(shape), box=frame.box(shape))


def _frame_text(shape: BaseShape) -> str:
    """Paragraphs as lines; line breaks within one, which python-pptx gives as vertical tabs, too."""
    text: str = shape.text_frame.text  # type: ignore[attr-defined]
    return text.replace("\v", "\n")
