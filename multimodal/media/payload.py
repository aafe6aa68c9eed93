"""What follows the headers of `wire`: pixels and samples as raw arrays, the texts of a document as JSON.

The pool makes room for no more than the limits allow, and believes none of it: every field is checked.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from multimodal.config import Limits, LoaderArgs
from multimodal.media.pages import PAGE_BLOCKS, TEXT_MAX_BYTES, too_much_text
from multimodal.media.wire import (
    AudioReply,
    Count,
    DocumentReply,
    Header,
    ImageReply,
    MediaReply,
    VideoReply,
)
from multimodal.types import (
    SAMPLE_RATE_HZ,
    Audio,
    Box,
    Document,
    Image,
    Media,
    MediaKind,
    Page,
    TextBlock,
    Video,
)

Array: TypeAlias = NDArray[np.uint8] | NDArray[np.float32]
Fraction = Annotated[float, Field(ge=0, le=1)]


class BlockText(Header):
    """A TextBlock."""

    text: Annotated[str, Field(min_length=1)]
    box: Annotated[list[Fraction], Field(min_length=4, max_length=4)] | None
    heading: bool


class PageText(Header):
    """A Page without its pixels."""

    number: Count
    scanned: bool
    blocks: Annotated[list[BlockText], Field(max_length=PAGE_BLOCKS)]


class Texts(Header):
    """A Document without its pixels."""

    title: Annotated[str, Field(max_length=1000)]
    pages: Annotated[list[PageText], Field(min_length=1, max_length=256)]


def pack_media(media: Media) -> tuple[MediaReply, list[Array]]:
    """The header for a decoded medium, and the arrays that follow it."""
    if isinstance(media, Image):
        rows, columns, _ = media.pixels.shape
        picture = ImageReply(
            rows=rows, columns=columns, width=media.width, height=media.height, format=media.format
        )
        return picture, [media.pixels]
    if isinstance(media, Audio):
        return AudioReply(samples=len(media.samples), format=media.format), [media.samples]
    if isinstance(media, Document):
        return _pack_document(media)
    _, rows, columns, _ = media.frames.shape
    header = VideoReply(
        rows=rows,
        columns=columns,
        times_s=list(media.times_s),
        cuts_s=list(media.cuts_s),
        duration_s=media.duration_s,
        width=media.width,
        height=media.height,
        format=media.format,
        samples=len(media.audio.samples) if media.audio else 0,
    )
    return header, [media.frames, *([media.audio.samples] if media.audio else [])]


def allocate(reply: MediaReply, kind: MediaKind, limits: Limits, args: LoaderArgs) -> list[Array]:
    """Empty arrays for what follows a header.

    Raises ValueError where the header is of another kind than asked for, or exceeds what a worker may send.
    """
    if reply.status != kind.value:
        raise ValueError(f"a worker sent {reply.status} for {kind.value}")
    if isinstance(reply, ImageReply):
        _check_sides(reply.rows, reply.columns, args.image_max_side_px)
        return [np.empty((reply.rows, reply.columns, 3), np.uint8)]
    if isinstance(reply, DocumentReply):
        _check_pages(reply, limits, args)
        pictures = [np.empty((rows, columns, 3), np.uint8) for rows, columns in reply.sizes if rows]
        return [np.empty(reply.text_bytes, np.uint8), *pictures]
    limit_s = limits.audio_s if isinstance(reply, AudioReply) else limits.video_s
    if reply.samples > limit_s * SAMPLE_RATE_HZ:
        raise ValueError("a worker sent more samples than allowed")
    sound: list[Array] = [np.empty(reply.samples, np.float32)] if reply.samples else []
    if isinstance(reply, AudioReply):
        return sound
    _check_sides(reply.rows, reply.columns, args.frame_max_side_px)
    if len(reply.times_s) > args.max_frames_limit:
        raise ValueError("a worker sent more frames than allowed")
    return [np.empty((len(reply.times_s), reply.rows, reply.columns, 3), np.uint8), *sound]


def build_media(reply: MediaReply, arrays: Sequence[Array], sha256: str) -> Media:
    """The decoded medium; `arrays` are those that `allocate` made, filled.

    Raises ValueError where the texts of a document are not what a worker sends.
    """
    if isinstance(reply, ImageReply):
        pixels = arrays[0].view(np.uint8)
        return Image(
            sha256=sha256, pixels=pixels, width=reply.width, height=reply.height, format=reply.format
        )
    if isinstance(reply, DocumentReply):
        return _build_document(reply, arrays, sha256)
    sound = arrays[-1].view(np.float32) if reply.samples else None
    audio = None if sound is None else _audio(sound, reply.format, sha256)
    if isinstance(reply, AudioReply):
        assert audio is not None
        return audio
    return Video(
        sha256=sha256,
        frames=arrays[0].view(np.uint8),
        times_s=tuple(reply.times_s),
        duration_s=reply.duration_s,
        width=reply.width,
        height=reply.height,
        format=reply.format,
        audio=audio,
        cuts_s=tuple(reply.cuts_s),
    )


def _audio(samples: NDArray[np.float32], format_name: str, sha256: str) -> Audio:
    duration_s = len(samples) / SAMPLE_RATE_HZ
    return Audio(sha256=sha256, samples=samples, duration_s=duration_s, format=format_name)


def _pack_document(document: Document) -> tuple[DocumentReply, list[Array]]:
    pages = [
        PageText(
            number=page.number,
            scanned=page.scanned,
            blocks=[
                BlockText(text=block.text, box=list(block.box) if block.box else None, heading=block.heading)
                for block in page.blocks
            ],
        )
        for page in document.pages
    ]
    texts = Texts(title=document.title, pages=pages).model_dump_json().encode()
    if len(texts) > TEXT_MAX_BYTES:
        raise too_much_text()
    header = DocumentReply(
        text_bytes=len(texts),
        sizes=[[0, 0] if page.pixels is None else list(page.pixels.shape[:2]) for page in document.pages],
        page_count=document.page_count,
        format=document.format,
    )
    pixels: list[Array] = [page.pixels for page in document.pages if page.pixels is not None]
    return header, [np.frombuffer(texts, np.uint8), *pixels]


def _check_pages(reply: DocumentReply, limits: Limits, args: LoaderArgs) -> None:
    if len(reply.sizes) > args.max_pages or reply.page_count > limits.document_pages:
        raise ValueError("a worker sent more pages than allowed")
    for rows, columns in reply.sizes:
        _check_sides(rows, columns, max(args.page_max_side_px, args.page_preview_px))
        if (rows == 0) != (columns == 0):
            raise ValueError("a worker sent a picture without a side")
    large = sum(max(size) > args.page_preview_px for size in reply.sizes)
    if large > args.max_page_images:
        raise ValueError("a worker sent more large pages than allowed")


def _build_document(reply: DocumentReply, arrays: Sequence[Array], sha256: str) -> Document:
    texts = Texts.model_validate_json(arrays[0].tobytes())
    numbers = [page.number for page in texts.pages]
    first = numbers[0]
    if numbers != list(range(first, first + len(reply.sizes))) or numbers[-1] > reply.page_count:
        raise ValueError("a worker sent pages that do not follow each other")
    pictures = iter(arrays[1:])
    return Document(
        sha256=sha256,
        format=reply.format,
        title=texts.title,
        pages=tuple(
            _page(text, next(pictures).view(np.uint8) if rows else None)
            for text, (rows, _) in zip(texts.pages, reply.sizes, strict=True)
        ),
        page_count=reply.page_count,
    )


def _page(text: PageText, pixels: NDArray[np.uint8] | None) -> Page:
    blocks = (TextBlock(text=block.text, box=_box(block.box), heading=block.heading) for block in text.blocks)
    return Page(number=text.number, blocks=tuple(blocks), pixels=pixels, scanned=text.scanned)


def _box(sides: Sequence[float] | None) -> Box | None:
    if sides is None:
        return None
    left, top, right, bottom = sides
    return left, top, right, bottom


def _check_sides(rows: int, columns: int, max_side_px: int) -> None:
    if max(rows, columns) > max_side_px:
        raise ValueError("a worker sent larger pictures than allowed")
