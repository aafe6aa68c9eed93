"""Addresses of uploaded files, relative to the server."""

from __future__ import annotations

from urllib.parse import quote

FILES = "/v1/files"


def content_url(
    file_id: str, *, start_s: float | None = None, end_s: float | None = None, page: int | None = None
) -> str:
    """A file's bytes, with the place in them as a fragment (W3C Media Fragments; RFC 8118 for pages)."""
    url = f"{FILES}/{quote(file_id, safe='')}/content"
    if start_s is not None:
        return f"{url}#t={_seconds(start_s)}" + ("" if end_s is None else f",{_seconds(end_s)}")
    return url if page is None else f"{url}#page={page}"


def thumbnail_url(file_id: str, ordinal: int) -> str:
    """A small picture of a segment."""
    return f"{FILES}/{quote(file_id, safe='')}/thumbnails/{ordinal}"


def _seconds(value: float) -> str:
    return f"{value:.3f}".rstrip("0").rstrip(".")
