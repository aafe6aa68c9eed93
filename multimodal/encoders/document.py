"""DocumentEncoder: no model of its own. Pages are cut into chunks of text, and looked at as pictures.

Pages without text of their own go through Reader, all that have a look through ImageEncoder, at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from multimodal.encoders.chunks import chunk_blocks
from multimodal.errors import DeadlineExceeded
from multimodal.types import (
    Chunk,
    Deferred,
    Document,
    DocumentFeatures,
    Image,
    ImageFeatures,
    ImageText,
    Page,
    PageFeatures,
    RequestContext,
    T,
    TextBlock,
)


class EncodeImage(Protocol):
    """ImageEncoder, as DocumentEncoder calls it."""

    def __call__(self, ctx: RequestContext, image: Image, /) -> Deferred[ImageFeatures]: ...


class ReadImage(Protocol):
    """Reader, as DocumentEncoder calls it."""

    def __call__(self, ctx: RequestContext, image: Image, /) -> Deferred[ImageText]: ...


async def understand_document(
    ctx: RequestContext,
    document: Document,
    *,
    encode_image: EncodeImage,
    read: ReadImage,
    chunk_words: int,
) -> DocumentFeatures:
    """Encode the pages of a document, read those that are scanned, and cut their text into chunks of at most
    `chunk_words` words, all at the same time.

    The first error that one of the calls raises ends the others and is raised as it is. Raises
    DeadlineExceeded when the request's deadline passes.
    """
    pictures = {
        page.number: page_image(document, page.number, page.pixels)
        for page in document.pages
        if page.pixels is not None
    }
    scanned = [page.number for page in document.pages if page.scanned and page.number in pictures]
    limit = asyncio.timeout(ctx.remaining_s())
    try:
        async with limit, asyncio.TaskGroup() as tasks:
            seen = {
                number: tasks.create_task(_result(encode_image(ctx, picture)))
                for number, picture in pictures.items()
            }
            texts = {number: tasks.create_task(_result(read(ctx, pictures[number]))) for number in scanned}
            own = await asyncio.to_thread(_own_chunks, document.pages, chunk_words)
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None
    except TimeoutError as error:
        raise DeadlineExceeded("The deadline passed while the document was being read.") from error
    found = {number: chunk_blocks(_blocks(task.result()), chunk_words) for number, task in texts.items()}
    return DocumentFeatures(
        sha256=document.sha256,
        title=document.title,
        pages=tuple(
            PageFeatures(
                number=page.number,
                chunks=found.get(page.number) or own[page.number],
                image=seen[page.number].result() if page.number in seen else None,
            )
            for page in document.pages
        ),
        page_count=document.page_count,
    )


def page_image(document: Document, number: int, pixels: NDArray[np.uint8]) -> Image:
    """One page as a picture. Its pixels are not copied."""
    height, width = pixels.shape[:2]
    return Image(
        sha256=f"{document.sha256}#page={number}",
        pixels=pixels,
        width=width,
        height=height,
        format=document.format,
    )


def _own_chunks(pages: Sequence[Page], chunk_words: int) -> dict[int, tuple[Chunk, ...]]:
    return {page.number: chunk_blocks(page.blocks, chunk_words) for page in pages}


def _blocks(text: ImageText) -> list[TextBlock]:
    """What Reader found on a scanned page, the few words that the page has itself among it."""
    return [TextBlock(text=line.text, box=line.box) for line in text.lines]


async def _result(deferred: Awaitable[T]) -> T:
    return await deferred
