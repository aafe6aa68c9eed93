"""Documents through the real, confined decoder processes: what they read, and what hostile files cost."""

from __future__ import annotations

import asyncio
import io
import time
import zipfile
from collections.abc import AsyncIterator
from contextlib import suppress

import numpy as np
import pytest

from multimodal.config import MIB, Limits, LoaderArgs, StoredLimits
from multimodal.errors import DeadlineExceeded, InvalidMedia, InvalidRequest, MediaTooLarge, MultimodalError
from multimodal.identity import sha256_of
from multimodal.media.decoder import decode
from multimodal.media.pool import DecoderPool
from multimodal.types import Document, MediaKind, MediaSource, RequestContext, StoredContent
from tests import documents, media
from tests.documents import PdfPage

REPORT = documents.pdf([PdfPage([("Quarterly report", 24), ("Sales grew by four percent.", 12)])])
DOCX = documents.docx(["# Minutes", "Ann was late."])
XLSX = documents.xlsx({"Prices": [["Item", "EUR"], ["Coffee", 3.5]]})
PPTX = documents.pptx([documents.Slide("Churn", "It fell.", notes="Say why.")])
FILES = {
    "report.pdf": REPORT,
    "scan.pdf": documents.scanned_pdf(["TOTAL 42 EUR", "PAGE TWO"]),
    "minutes.docx": DOCX,
    "prices.xlsx": XLSX,
    "churn.pptx": PPTX,
    "notes.txt": "Grüße aus Köln.\n\nEnde.".encode("latin-1"),
    "notes.md": b"# Notes\n\nSome *words*.",
    "page.html": b"<html><title>A page</title><h1>Head</h1><p>Words</p></html>",
    "table.csv": b"a,b\n1,2\n",
}


@pytest.fixture(scope="module")
async def pool() -> AsyncIterator[DecoderPool]:
    made = DecoderPool(Limits(), LoaderArgs(workers=2), stored=StoredLimits(document_pages=3))
    made.start()
    yield made
    await made.close()


def source(data: bytes, filename: str | None = None, first_page: int = 1) -> MediaSource:
    return MediaSource(
        kind=MediaKind.DOCUMENT,
        data=data,
        param="messages.0.content.0",
        filename=filename,
        first_page=first_page,
    )


async def load(pool: DecoderPool, sent: MediaSource) -> Document:
    context = RequestContext(request_id="r", tenant="t", deadline_s=time.time() + 60)
    found = await pool.load(context, sent)
    assert isinstance(found, Document)
    return found


@pytest.mark.parametrize("filename", FILES)
async def test_documents_come_back_as_they_are_decoded_here(pool: DecoderPool, filename: str) -> None:
    sent = source(FILES[filename], filename)
    here, there = decode(sent, Limits(), LoaderArgs()), await load(pool, sent)
    assert isinstance(here, Document)
    assert repr(there) == repr(here)
    assert there.sha256 == sha256_of(FILES[filename])
    for one, other in zip(there.pages, here.pages, strict=True):
        assert (one.pixels is None) == (other.pixels is None)
        if one.pixels is not None and other.pixels is not None:
            assert np.array_equal(one.pixels, other.pixels)


async def test_a_document_can_be_read_on_from_any_page(pool: DecoderPool) -> None:
    data = documents.pdf([PdfPage([(f"This is page number {number}", 12)]) for number in range(1, 41)])
    numbers: list[int] = []
    while len(numbers) < 40:
        found = await load(pool, source(data, first_page=len(numbers) + 1))
        numbers += [page.number for page in found.pages]
    assert numbers == list(range(1, 41))


def nested(count: int) -> bytes:
    """A Word document of tables within tables."""
    name = "word/document.xml"
    with zipfile.ZipFile(io.BytesIO(DOCX)) as archive:
        body = archive.read(name)
    tables = b"<w:tbl><w:tr><w:tc>" * count + b"</w:tc></w:tr></w:tbl>" * count
    return documents.with_part(DOCX, name, body.replace(b"<w:sectPr", tables + b"<w:sectPr", 1))


@pytest.mark.parametrize(
    ("data", "filename", "expected"),
    [
        (documents.zip_bomb(DOCX, 600 * MIB), "a.docx", MediaTooLarge),
        (
            documents.with_part(DOCX, "word/document.xml", before=documents.laughs("w:document")),
            "a.docx",
            InvalidMedia,
        ),
        (nested(100_000), "a.docx", InvalidMedia),
        (documents.many_pages(10_000), "a.pdf", MediaTooLarge),
        (documents.endless_pdf(), "a.pdf", MediaTooLarge),
        (documents.encrypted_pdf(), "a.pdf", InvalidMedia),
        (media.truncated(REPORT, 0.3), "a.pdf", InvalidMedia),
        (media.truncated(XLSX), "a.xlsx", InvalidMedia),
        (b"word " * 1_000_000, "a.txt", MediaTooLarge),
        (b"\0\1\2", "a.txt", InvalidMedia),
        (b"", "a.txt", InvalidMedia),
        (media.plain("red"), "a.pdf", InvalidMedia),
    ],
)
async def test_hostile_documents_are_refused_with_a_reason_and_cost_no_worker(
    pool: DecoderPool, data: bytes, filename: str, expected: type[MultimodalError]
) -> None:
    await asyncio.gather(*(load(pool, source(b"warm up", "a.txt")) for _ in range(4)))
    before = sorted(pool.pids)
    with pytest.raises(expected) as caught:
        await load(pool, source(data, filename))
    assert caught.value.param == "messages.0.content.0"
    assert sorted(pool.pids) == before


async def test_a_page_that_takes_its_parser_minutes_is_ended() -> None:
    pool = DecoderPool(Limits(), LoaderArgs(workers=1, decode_timeout_s=2.0))
    with pytest.raises(DeadlineExceeded, match="longer than the 2 s"):
        await load(pool, source(b"<html>" + b"<div>" * 300_000, "a.html"))
    assert (await load(pool, source(b"still here", "a.txt"))).page_count == 1
    await pool.close()


async def test_uploaded_files_may_have_as_many_pages_as_their_own_limit_says(pool: DecoderPool) -> None:
    data = documents.pdf([PdfPage([(f"This is page number {number}", 12)]) for number in range(4)])
    assert (await load(pool, source(data))).page_count == 4
    content = StoredContent(key="k", sha256=sha256_of(data), size_bytes=len(data))
    sent = MediaSource(kind=MediaKind.DOCUMENT, data=data, param="p", stored=content)
    with pytest.raises(MediaTooLarge, match="3 pages"):
        await load(pool, sent)


@pytest.mark.parametrize("filename", ["report.pdf", "minutes.docx", "prices.xlsx", "churn.pptx"])
async def test_damaged_documents_do_not_harm_the_next_request(pool: DecoderPool, filename: str) -> None:
    random = np.random.default_rng(0)
    for _ in range(10):
        damaged = bytearray(FILES[filename])
        for place in random.integers(0, len(damaged), 20):
            damaged[place] ^= 0xFF
        with suppress(InvalidRequest):
            await load(pool, source(bytes(damaged), filename))
    assert (await load(pool, source(FILES[filename], filename))).page_count == 1
