"""Pages are looked at, scanned ones read, and all of their text becomes chunks."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field

import numpy as np
import pytest

from multimodal.encoders.document import understand_document
from multimodal.errors import DeadlineExceeded, StageUnavailable
from multimodal.types import (
    Document,
    DocumentFeatures,
    Image,
    ImageFeatures,
    ImageText,
    Page,
    RequestContext,
    TextBlock,
    TextLine,
)

LOOK = np.zeros((8, 6, 3), np.uint8)
BOX = (0.1, 0.2, 0.3, 0.4)


def page(number: int, *texts: str, look: bool = True, scanned: bool = False) -> Page:
    blocks = tuple(TextBlock(text=text, box=BOX) for text in texts)
    return Page(number=number, blocks=blocks, pixels=LOOK if look else None, scanned=scanned)


def document(*pages: Page) -> Document:
    return Document(sha256="d", format="pdf", title="A title", pages=pages, page_count=9)


@dataclass
class Encoders:
    """Remember what they were given; a gate holds them back."""

    seen: list[str] = field(default_factory=list)
    read: list[str] = field(default_factory=list)
    texts: tuple[str, ...] = ("READ THERE",)
    gate: asyncio.Event | None = None
    ended: int = 0
    error: Exception | None = None

    async def on_image(self, ctx: RequestContext, image: Image) -> ImageFeatures:
        self.seen.append(image.sha256)
        await self._wait()
        return ImageFeatures(
            sha256=image.sha256, width=image.width, height=image.height, colours=(), vector=None
        )

    async def on_text(self, ctx: RequestContext, image: Image) -> ImageText:
        self.read.append(image.sha256)
        if self.error:
            raise self.error
        await self._wait()
        lines = (TextLine(text=text, confidence=1.0, box=(0.5, 0.5, 0.6, 0.6)) for text in self.texts)
        return ImageText(lines=tuple(lines))

    async def _wait(self) -> None:
        try:
            if self.gate is not None:
                await self.gate.wait()
        finally:
            self.ended += 1


async def understand(paper: Document, encoders: Encoders, seconds: float = 60.0) -> DocumentFeatures:
    return await understand_document(
        RequestContext(request_id="r", tenant="t", deadline_s=time.time() + seconds),
        paper,
        encode_image=encoders.on_image,
        read=encoders.on_text,
        chunk_words=4,
    )


async def test_pages_with_text_are_looked_at_and_cut_into_chunks() -> None:
    encoders = Encoders()
    found = await understand(document(page(3, "one two three", "four five"), page(4)), encoders)
    assert (found.sha256, found.title, found.page_count) == ("d", "A title", 9)
    assert [one.number for one in found.pages] == [3, 4]
    assert [chunk.text for chunk in found.pages[0].chunks] == ["one two three", "four five"]
    assert found.pages[0].chunks[0].box == BOX
    assert found.pages[1].chunks == ()
    assert sorted(encoders.seen) == ["d#page=3", "d#page=4"]
    assert encoders.read == []
    image = found.pages[0].image
    assert image is not None
    assert (image.sha256, image.width, image.height) == ("d#page=3", 6, 8)


async def test_scanned_pages_are_read_and_their_lines_keep_their_places() -> None:
    encoders = Encoders()
    found = await understand(document(page(1, "- 1 -", scanned=True), page(2, "own")), encoders)
    assert encoders.read == ["d#page=1"]
    (chunk,) = found.pages[0].chunks
    assert (chunk.text, chunk.box) == ("READ THERE", (0.5, 0.5, 0.6, 0.6))
    assert [chunk.text for chunk in found.pages[1].chunks] == ["own"]


async def test_the_few_words_of_a_scanned_page_remain_where_nothing_can_be_read() -> None:
    found = await understand(document(page(1, "- 1 -", scanned=True)), Encoders(texts=()))
    assert [chunk.text for chunk in found.pages[0].chunks] == ["- 1 -"]


async def test_pages_without_a_look_are_not_looked_at() -> None:
    encoders = Encoders()
    found = await understand(document(page(1, "own", look=False)), encoders)
    assert found.pages[0].image is None
    assert encoders.seen == []


async def test_all_pages_are_under_way_at_once() -> None:
    encoders = Encoders(gate=asyncio.Event())
    task = asyncio.create_task(understand(document(page(1, scanned=True), page(2, scanned=True)), encoders))
    while len(encoders.seen) + len(encoders.read) < 4:
        await asyncio.sleep(0.01)
    assert encoders.gate is not None
    encoders.gate.set()
    assert len((await task).pages) == 2


async def test_a_failure_ends_the_rest_and_surfaces_as_it_is() -> None:
    encoders = Encoders(gate=asyncio.Event(), error=StageUnavailable("Reader is restarting."))
    with pytest.raises(StageUnavailable, match="Reader is restarting"):
        await understand(document(page(1, scanned=True), page(2)), encoders)
    assert encoders.ended == len(encoders.seen)


async def test_a_deadline_that_passes_ends_the_wait() -> None:
    encoders = Encoders(gate=asyncio.Event())
    with pytest.raises(DeadlineExceeded, match="document"):
        await understand(document(page(1)), encoders, seconds=0.05)
    assert encoders.ended == 1
