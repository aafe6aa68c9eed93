"""Data URLs (RFC 2397) and plain base64: the ways in which media stand in a request.

Remote URLs are never fetched: a server that fetches what strangers name is a proxy into its own network.
Sizes are checked from the length of the text, before anything is decoded.
"""

from __future__ import annotations

import binascii
import re

from multimodal.errors import InvalidMedia, MediaTooLarge, RemoteUrlRefused
from multimodal.media.limits import readable_bytes

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_HEADER_CHARS = 1024
"""How far the comma of a data URL may stand from its beginning."""


def parse_data_url(url: str, *, limit_bytes: int, param: str) -> tuple[str | None, bytes]:
    """The declared MIME type (lower case, without parameters; None where there is none) and the bytes.

    Raises:
        RemoteUrlRefused: an http, https, file or any other URL that is not a data URL.
        InvalidMedia: no URL, no data, not base64, or damaged base64.
        MediaTooLarge: more than `limit_bytes` when decoded; nothing is decoded then.
    """
    header, payload = _split(url, param)
    declared, *parameters = header.lower().split(";")
    if not parameters or parameters[-1].strip() != "base64":
        raise InvalidMedia("A data URL must hold base64 here (data:<type>;base64,...).", param=param)
    data = parse_base64(_unescaped(payload), limit_bytes=limit_bytes, param=param)
    return declared.strip() or None, data


def parse_base64(text: str, *, limit_bytes: int, param: str) -> bytes:
    """Strictly decoded base64 (RFC 4648 section 4: padded, no line breaks).

    Raises:
        InvalidMedia: no data, or damaged base64.
        MediaTooLarge: more than `limit_bytes` when decoded; nothing is decoded then.
    """
    if not text:
        raise InvalidMedia("This part holds no data.", param=param)
    _check_size(len(text) // 4 * 3 - text[-2:].count("="), limit_bytes, param)
    try:
        if len(text) % 4:
            raise ValueError("not a multiple of four")
        return binascii.a2b_base64(text, strict_mode=True)
    except ValueError as error:
        raise InvalidMedia(
            "This is not valid base64. Use the standard alphabet with padding, and no spaces or line breaks.",
            param=param,
        ) from error


def _split(url: str, param: str) -> tuple[str, str]:
    """Header and payload of a data URL."""
    if url[:5].lower() != "data:":
        if _SCHEME.match(url) or url.startswith("//"):
            raise RemoteUrlRefused(
                "Only data URLs are taken, no other URL is fetched. Send the data (data:<type>;base64,...).",
                param=param,
            )
        raise InvalidMedia("This is not a data URL. Send one: data:<type>;base64,...", param=param)
    comma = url.find(",", 5, _HEADER_CHARS)
    if comma < 0:
        raise InvalidMedia(
            "This data URL has no comma between its type and its data (data:<type>;base64,...).", param=param
        )
    return url[5:comma], url[comma + 1 :]


def _unescaped(payload: str) -> str:
    """Some clients escape `+`, `/` and `=` although they need not."""
    if "%" in payload:
        for code, char in (("%2B", "+"), ("%2F", "/"), ("%3D", "=")):
            payload = payload.replace(code, char).replace(code.lower(), char)
    return payload


def _check_size(size_bytes: int, limit_bytes: int, param: str) -> None:
    if size_bytes > limit_bytes:
        raise MediaTooLarge(
            f"These data have {readable_bytes(size_bytes)}, allowed are {readable_bytes(limit_bytes)}. "
            "Send a smaller or more compressed file.",
            param=param,
        )
