"""Which bytes of a file a request is for (RFC 9110, sections 13 and 14)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from starlette.datastructures import Headers

from multimodal.errors import InvalidRequest

_BYTES = re.compile(r"\s*bytes\s*=\s*(\d{0,19})\s*-\s*(\d{0,19})\s*", re.IGNORECASE | re.ASCII)
"""One range. Several, and what is malformed, may be ignored, and then the whole is sent."""

_TAG = re.compile(r'(?:W/)?("[^"]*")')


class RangeNotSatisfiable(InvalidRequest):
    """A range that begins after the end."""

    status = 416
    code = "range_not_satisfiable"

    @classmethod
    def of(cls, size_bytes: int) -> RangeNotSatisfiable:
        """Says how much there is."""
        return cls(f"The file has {size_bytes} bytes. Ask for a range that begins within them.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Bytes [start, end) of a file."""

    start: int
    end: int

    @property
    def size_bytes(self) -> int:
        """How many there are."""
        return self.end - self.start


def span_of(headers: Headers, etag: str, size_bytes: int) -> Span | None:
    """The range that a GET asks for; None: the whole. Raises RangeNotSatisfiable."""
    found = _BYTES.fullmatch(headers.get("range", ""))
    if found is None or not _still_the_same(headers, etag):
        return None
    first, last = found.groups()
    if not first:
        return _last_bytes(last, size_bytes)
    start = int(first)
    if last and int(last) < start:
        return None  # malformed
    if start >= size_bytes:
        raise RangeNotSatisfiable.of(size_bytes)
    return Span(start=start, end=min(int(last) + 1, size_bytes) if last else size_bytes)


def is_known(headers: Headers, etag: str) -> bool:
    """Whether the client has these bytes already (If-None-Match)."""
    known = headers.get("if-none-match", "")
    return known.strip() == "*" or etag in _TAG.findall(known)


def _last_bytes(count: str, size_bytes: int) -> Span | None:
    if not count:
        return None  # "bytes=-"
    if int(count) == 0:
        raise RangeNotSatisfiable.of(size_bytes)
    return Span(start=max(0, size_bytes - int(count)), end=size_bytes)


def _still_the_same(headers: Headers, etag: str) -> bool:
    """If-Range: a part is of use only with the rest of the same bytes. We send no dates."""
    return headers.get("if-range", etag).strip() == etag
