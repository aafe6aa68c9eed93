"""A scanned page from its bytes to the words on it, with the real Reader."""

from __future__ import annotations

import asyncio
import time

from multimodal.config import Limits, LoaderArgs, ReaderArgs
from multimodal.encoders.document import understand_document
from multimodal.encoders.image import ColourEncoder
from multimodal.encoders.reader import RapidOcrReader
from multimodal.media.decoder import decode
from multimodal.types import (
    Document,
    Image,
    ImageFeatures,
    ImageText,
    MediaKind,
    MediaSource,
    RequestContext,
)
from tests import documents, media
from tests.documents import PdfPage


async def test_a_scanned_page_is_found_by_its_words_and_where_they_stand() -> None:
    scan = PdfPage(picture=media.picture_with_text("INVOICE 4711", "jpeg", size=(1190, 1684)))
    own = PdfPage([("This page has text of its own", 14)])
    data = documents.pdf([scan, own])
    paper = decode(MediaSource(kind=MediaKind.DOCUMENT, data=data, param="p"), Limits(), LoaderArgs())
    assert isinstance(paper, Document)
    reader = RapidOcrReader(ReaderArgs())

    async def read(ctx: RequestContext, image: Image) -> ImageText:
        return (await asyncio.to_thread(reader.read, [image]))[0]

    async def encode(ctx: RequestContext, image: Image) -> ImageFeatures:
        return ColourEncoder().encode([image])[0]

    found = await understand_document(
        RequestContext(request_id="r", tenant="t", deadline_s=time.time() + 120),
        paper,
        encode_image=encode,
        read=read,
        chunk_words=120,
    )
    assert [chunk.text for page in found.pages for chunk in page.chunks] == [
        "INVOICE 4711",
        "This page has text of its own",
    ]
    box = found.pages[0].chunks[0].box
    assert box is not None
    assert box[1] < 0.5 < box[3]
    assert all(page.image is not None for page in found.pages)
