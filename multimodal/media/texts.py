"""Texts: whether bytes are one, and what they say, in whatever encoding."""

from __future__ import annotations

import codecs
import re

_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
"""Byte order marks, the longer of two that begin alike first."""

_CONTROLS = re.compile(rb"[\x00-\x06\x0e-\x1a\x1c-\x1f]")
"""C0 controls that no text holds: bell, backspace, white space and the escape of terminals remain."""

_SAMPLE_BYTES = 64 * 1024
"""How much of a text its encoding is guessed from."""

_GUESSES = ["utf_16", "utf_16_le", "utf_16_be", "utf_32", "utf_32_le", "utf_32_be", "utf_7"]
"""Encodings that are never guessed: without a mark they fit nearly any bytes."""


def looks_like_text(head: bytes) -> bool:
    """Whether a file that begins with these bytes is a text. They may end within a character."""
    return encoding_of(head) is not None


def encoding_of(head: bytes) -> str | None:
    """The encoding of a text, by its first bytes; None where this is none."""
    for mark, name in _BOMS:
        if head.startswith(mark):
            return name if _decodes(head, name) else None
    if _CONTROLS.search(head):
        return None
    if _decodes(head, "utf-8"):
        return "utf-8"
    return _guessed(head)


def decode_text(data: bytes) -> str | None:
    """A text with plain line ends, what cannot be read replaced; None where these bytes are none."""
    encoding = encoding_of(data[:_SAMPLE_BYTES])
    if encoding is None:
        return None
    text = data.decode(encoding, errors="replace")
    return text.replace("\r\n", "\n").replace("\r", "\n").replace("\0", "")


def _decodes(head: bytes, encoding: str) -> bool:
    """Whether these are the first bytes of a text in this encoding, without zeros."""
    try:
        return "\0" not in codecs.getincrementaldecoder(encoding)().decode(head)
    except UnicodeDecodeError:
        return False


def _guessed(head: bytes) -> str | None:
    """An encoding of before Unicode. Bytes without a single ASCII character are taken for no text."""
    from charset_normalizer import from_bytes

    if not re.search(rb"[\t\n\x20-\x7e]", head):
        return None
    best = from_bytes(head[:_SAMPLE_BYTES], cp_exclusion=_GUESSES).best()
    return None if best is None else best.encoding
