"""Office documents are ZIP archives of XML: what they may unpack to, checked before anything is parsed."""

from __future__ import annotations

import io
import re
import zipfile

from multimodal.config import MIB
from multimodal.errors import InvalidMedia, MediaTooLarge
from multimodal.media.limits import readable_bytes

UNPACKED_MAX_BYTES = 512 * MIB
"""All parts of a package together."""

XML_MAX_BYTES = 128 * MIB
"""One part that is parsed; its tree takes several times as much."""

MAX_PARTS = 20_000

_PROLOGUE_BYTES = 16 * 1024
"""How far into a part its root element may begin."""

_ROOT = re.compile(rb"(?>\s+|<\?.*?\?>|<!--.*?-->)*+<[^!?]", re.DOTALL)
"""The root element behind all that may stand before it but a document type (XML 1.0, production 22)."""

_DRAWING = ".svg"
"""Pictures are not parsed. These have document types, some of them."""


def check_package(data: bytes, param: str) -> None:
    """Look through an office document before it is parsed.

    Raises:
        InvalidMedia: no ZIP archive, with encrypted parts, or with document types: office documents have none
            (ECMA-376 part 2, section 7.2), and entities are declared in them.
        MediaTooLarge: more parts than allowed, or they unpack to more.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            parts = archive.infolist()
            _check_sizes(parts, param)
            for part in parts:
                if not part.filename.lower().endswith(_DRAWING):
                    _check_prologue(archive, part, param)
    except (zipfile.BadZipFile, EOFError, NotImplementedError) as error:
        raise InvalidMedia("This document is damaged or cut short. Send it again.", param=param) from error


def _check_sizes(parts: list[zipfile.ZipInfo], param: str) -> None:
    """By what the archive says; zipfile unpacks no part further than that."""
    if len(parts) > MAX_PARTS:
        raise MediaTooLarge(f"This document has more than {MAX_PARTS:,} parts.", param=param)
    if any(part.flag_bits & 1 for part in parts):
        raise InvalidMedia("This document is encrypted. Send it without a password.", param=param)
    unpacked = sum(part.file_size for part in parts)
    largest = max((part.file_size for part in parts if not _is_medium(part)), default=0)
    for size, limit in ((unpacked, UNPACKED_MAX_BYTES), (largest, XML_MAX_BYTES)):
        if size > limit:
            raise MediaTooLarge(
                f"Unpacked, this document has {readable_bytes(size)}, allowed are {readable_bytes(limit)}. "
                "Send it in parts.",
                param=param,
            )


def _is_medium(part: zipfile.ZipInfo) -> bool:
    """Pictures and clips are kept as they are, and not looked into."""
    return "/media/" in part.filename


def _check_prologue(archive: zipfile.ZipFile, part: zipfile.ZipInfo, param: str) -> None:
    """Whatever its name is, since that does not say what it is parsed as."""
    with archive.open(part) as file:
        head = file.read(_PROLOGUE_BYTES)
    if head.startswith((b"\xff\xfe", b"\xfe\xff", b"<\0", b"\0<")):
        head = head.replace(b"\0", b"").lstrip(b"\xff\xfe")
    head = head.removeprefix(b"\xef\xbb\xbf")
    if head.lstrip().startswith(b"<") and not _ROOT.match(head):
        raise InvalidMedia(
            "A part of this document begins with declarations that office documents may not have. "
            "Save it anew and send it again.",
            param=param,
        )
