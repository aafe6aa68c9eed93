"""Decode a document into pages of text, and pictures of them where the format has a look of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from multimodal.config import Limits, LoaderArgs
from multimodal.errors import InvalidMedia, MultimodalError
from multimodal.media.pages import Contents, Window
from multimodal.types import Document


def decode_document(
    data: bytes,
    *,
    format_name: str,
    first_page: int,
    limits: Limits,
    args: LoaderArgs,
    sha256: str,
    param: str,
) -> Document:
    """Decode a run of pages.

    It ends before `args.max_pages` where more pages would have to be rendered for Reader than
    `args.max_page_images`: read on from the page behind the last one.

    Args:
        data: the encoded document.
        format_name: what `sniff_document` says it is: no other decoder is tried.
        first_page: the page to begin with, from 1.
        limits: `document_pages` holds for the whole document.
        args: how many pages, and how large their pictures become.
        sha256: digest of `data`.
        param: names the part in errors.

    Raises:
        MediaTooLarge: more pages or text than allowed, or parts that unpack to too much.
        InvalidMedia: damaged, cut short, or encrypted.
        InvalidRequest: there is no such page.
    """
    window = Window(first=first_page, most=args.max_pages, limits=limits, param=param)
    with _one_meaning(param):
        contents = _decode(data, format_name, window, args)
    return Document(
        sha256=sha256,
        format=format_name,
        title=contents.title,
        pages=contents.pages,
        page_count=contents.page_count,
    )


def _decode(data: bytes, format_name: str, window: Window, args: LoaderArgs) -> Contents:
    """The decoders are imported where they are needed: all together they are large."""
    if format_name == "pdf":
        from multimodal.media.decode_pdf import decode_pdf

        return decode_pdf(data, window, args)
    if format_name in ("docx", "xlsx", "pptx"):
        return _decode_office(data, format_name, window)
    from multimodal.media.decode_text import decode_text_format

    return decode_text_format(data, format_name, window)


def _decode_office(data: bytes, format_name: str, window: Window) -> Contents:
    from multimodal.media.package import check_package

    check_package(data, window.param)
    if format_name == "docx":
        from multimodal.media.decode_docx import decode_docx

        return decode_docx(data, window)
    if format_name == "pptx":
        from multimodal.media.decode_pptx import decode_pptx

        return decode_pptx(data, window)
    from multimodal.media.decode_xlsx import decode_xlsx

    return decode_xlsx(data, window)


@contextmanager
def _one_meaning(param: str) -> Iterator[None]:
    """Parsers meet damaged documents with every kind of exception; all of them mean the same."""
    try:
        yield
    except (MultimodalError, MemoryError):
        raise
    except Exception as error:
        raise InvalidMedia(
            "This document is damaged or cut short. Save it anew and send it again.", param=param
        ) from error
