"""Recognise a file format from its first bytes. What the client declares is never trusted: only texts, which
have no magic bytes, and office documents that begin unusually are told apart by their names."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import PurePosixPath

from multimodal.errors import InvalidMedia, UnsupportedMedia
from multimodal.media.formats import EXPECTED, FORMATS, SUPPORTED, UNKNOWN_TYPE, MediaFormat
from multimodal.media.texts import looks_like_text
from multimodal.types import MediaKind

_ISO_BRANDS = {
    **dict.fromkeys((b"M4A ", b"M4B ", b"M4P ", b"F4A "), "m4a"),
    **dict.fromkeys((b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1"), "heic"),
    **dict.fromkeys((b"avif", b"avis"), "avif"),
    b"qt  ": "mov",
}
"""Major brands of the ISO base media file format that are not plain MP4 (https://mp4ra.org)."""

_SEARCH_BYTES = 1024
"""How far into a file a text marker (SVG, HTML) is looked for."""

_HEAD_BYTES = 64 * 1024
"""How far into a file its parts and tracks, and characters that no text has, are looked for."""

_TEXT_NAMES: Mapping[str, str] = {
    ".md": "markdown",
    ".markdown": "markdown",
    ".html": "html",
    ".htm": "html",
    ".xhtml": "html",
    ".csv": "csv",
    ".tsv": "csv",
}
"""Texts that are more than their lines, by the end of their names."""

_OFFICE_NAMES: Mapping[str, str] = {".docx": "docx", ".xlsx": "xlsx", ".pptx": "pptx"}

_OFFICE_PARTS = (
    (b"word/document", "docx"),
    (b"xl/workbook", "xlsx"),
    (b"ppt/presentation", "pptx"),
)
"""The main part of each (ECMA-376 part 1, where Office puts it), a name in the ZIP archive."""

_PACKAGE_FIRST = (b"[Content_Types].xml", b"_rels/", b"docProps/", b"customXml/", b"word/", b"xl/", b"ppt/")
"""What an office package begins with, and an archive of office documents does not."""

_SOUND_TYPES: Mapping[str, str] = {
    "mp4": "audio/mp4",
    "mov": "audio/mp4",
    "webm": "audio/webm",
    "mkv": "audio/x-matroska",
}
"""MIME types of video containers that hold sound alone."""

_PREFIXES: tuple[tuple[bytes, str], ...] = (
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"\xff\xd8\xff", "jpeg"),
    (b"GIF87a", "gif"),
    (b"GIF89a", "gif"),
    (b"II*\0", "tiff"),
    (b"MM\0*", "tiff"),
    (b"II+\0\x08\0", "tiff"),
    (b"MM\0+\0\x08", "tiff"),
    (b"\0\0\0\x0cJXL ", "jxl"),
    (b"\xff\x0a", "jxl"),
    (b"\0\0\0\x0cjP  ", "jp2"),
    (b"\0\0\x01\0", "ico"),
    (b"8BPS", "psd"),
    (b"fLaC", "flac"),
    (b"#!AMR", "amr"),
    (b"caff", "caf"),
    (b".snd", "au"),
    (b"MThd", "midi"),
    (b"0&\xb2u\x8ef\xcf\x11", "asf"),
    (b"FLV\x01", "flv"),
    (b"\0\0\x01\xba", "mpeg"),
    (b"\0\0\x01\xb3", "mpeg"),
    (b"%PDF-", "pdf"),
    (b"{\\rtf", "rtf"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "ole"),
    (b"\x1f\x8b\x08", "gzip"),
)


def _chunked(data: bytes) -> str | None:
    """RIFF and IFF: the type stands after a four-letter tag and a length."""
    types = {
        (b"RIFF", b"WAVE"): "wav",
        (b"RF64", b"WAVE"): "wav",
        (b"RIFF", b"WEBP"): "webp",
        (b"RIFF", b"AVI "): "avi",
        (b"FORM", b"AIFF"): "aiff",
        (b"FORM", b"AIFC"): "aiff",
    }
    return types.get((data[:4], data[8:12]))


def _iso(data: bytes) -> str | None:
    """ISO base media (MP4 and its family), and QuickTime files from before there were brands."""
    box, brand = data[4:8], data[8:12]
    if box == b"ftyp":
        return _ISO_BRANDS.get(brand, "3gp" if brand.startswith((b"3gp", b"3g2")) else "mp4")
    # Where a size is so large that it is four letters, this is a text.
    return "mov" if box in (b"moov", b"mdat", b"wide", b"pnot") and data[0] < ord(" ") else None


def _matroska(data: bytes) -> str | None:
    if not data.startswith(b"\x1a\x45\xdf\xa3"):
        return None
    return "webm" if b"webm" in data[:64] else "mkv"


def _ogg(data: bytes) -> str | None:
    if not data.startswith(b"OggS"):
        return None
    return "ogv" if b"\x80theora" in data[:_SEARCH_BYTES] else "ogg"


def _bmp(data: bytes) -> str | None:
    """`BM` alone is too little: the length of the second header has few legal values."""
    sizes = (12, 40, 52, 56, 64, 108, 124)
    return "bmp" if data.startswith(b"BM") and int.from_bytes(data[14:18], "little") in sizes else None


def _mpeg_sound(data: bytes) -> str | None:
    """Frame headers of ADTS (layer bits 00) and MPEG layer III (layer bits 01), reserved values excluded."""
    if len(data) < 4 or data[0] != 0xFF:
        return None
    if data[1] & 0xF6 == 0xF0:
        return "aac"
    layer3 = data[1] & 0xE6 == 0xE2 and data[1] & 0x18 != 0x08
    return "mp3" if layer3 and data[2] & 0xF0 != 0xF0 and data[2] & 0x0C != 0x0C else None


def _tagged_sound(data: bytes) -> str | None:
    """Sound behind an ID3v2 tag."""
    if not data.startswith(b"ID3"):
        return None
    start = after_id3(data)
    return "flac" if data[start : start + 4] == b"fLaC" else _mpeg_sound(data[start : start + 4]) or "mp3"


def after_id3(data: bytes) -> int:
    """Offset of what follows an ID3v2 tag (whose size has seven bits in each byte); 0 where there is none."""
    if not data.startswith(b"ID3") or len(data) < 10:
        return 0
    size = 0
    for byte in data[6:10]:
        size = size << 7 | byte & 0x7F
    return 10 + size


def _transport_stream(data: bytes) -> str | None:
    """Packets of 188 bytes, each beginning with 0x47, an upper-case G; texts have no bytes below 9."""
    return "mpegts" if len(data) > 376 and set(data[:377:188]) == {0x47} and min(data[:188]) < 9 else None


def _markup(data: bytes) -> str | None:
    head = data[:_SEARCH_BYTES].removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    found = re.search(rb"<(svg|html|!doctype html)[\s>]", head) if head.startswith(b"<") else None
    if found is None:
        return None
    return "svg" if found[1] == b"svg" else "html"


def _archive(data: bytes) -> str | None:
    """ZIP archives, office documents among them. An OpenDocument file and a book say first what they are."""
    if not data.startswith(b"PK\x03\x04"):
        return None
    first = data[30 : 30 + int.from_bytes(data[26:28], "little")]
    if first == b"mimetype":
        said = data[38:][:64]
        return "epub" if said.startswith(b"application/epub") else "odf" if b"opendocument" in said else "zip"
    if not first.startswith(_PACKAGE_FIRST):
        return "zip"
    ends = (data[:_HEAD_BYTES], data[-_HEAD_BYTES:])
    return next((name for part, name in _OFFICE_PARTS if any(part in end for end in ends)), "zip")


_TESTS: tuple[Callable[[bytes], str | None], ...] = (
    _chunked,
    _iso,
    _matroska,
    _ogg,
    _bmp,
    _mpeg_sound,
    _tagged_sound,
    _transport_stream,
    _markup,
    _archive,
)


def sniff(data: bytes) -> MediaFormat | None:
    """The format of these bytes, or None where it is none that we know. Texts have no magic bytes."""
    for prefix, name in _PREFIXES:
        if data.startswith(prefix):
            return FORMATS[name]
    for test in _TESTS:
        found = test(data)
        if found is not None:
            return FORMATS[found]
    return None


def sniff_document(data: bytes, filename: str) -> MediaFormat | None:
    """The same, of a file that may also be a text. The name says which kind of text it is."""
    ending = PurePosixPath(filename).suffix.lower()
    found = sniff(data)
    if found is None and data and looks_like_text(data[:_HEAD_BYTES]):
        return FORMATS[_TEXT_NAMES.get(ending, "text")]
    if found is FORMATS["zip"] and ending in _OFFICE_NAMES:
        return FORMATS[_OFFICE_NAMES[ending]]
    return found


def recognise(head: bytes, filename: str) -> tuple[MediaKind | None, str]:
    """What a file can be searched as, and its MIME type.

    Args:
        head: its first bytes, 64 KiB or all there are.
        filename: tells texts apart; never trusted for more than that.

    Returns (None, "application/octet-stream") for what is not decoded here.
    """
    found = sniff_document(head, filename)
    if found is None or not found.supported or not found.kinds:
        return None, UNKNOWN_TYPE
    if found.name in _SOUND_TYPES and _holds_sound_alone(head):
        return MediaKind.AUDIO, _SOUND_TYPES[found.name]
    return found.kinds[0], found.media_type


def _holds_sound_alone(head: bytes) -> bool:
    """Whether the first bytes of a video container show tracks of sound, and none of pictures."""
    tracks = set(re.findall(rb"hdlr.{8}(soun|vide)|\x86[\x80-\xff]([AV])_[A-Z]", head, re.DOTALL))
    return bool(tracks) and not tracks & {(b"vide", b""), (b"", b"V")}


def require_format(data: bytes, kind: MediaKind, param: str, filename: str | None = None) -> MediaFormat:
    """The format of a part's bytes. The filename tells texts apart, where the part is a document.

    Raises:
        InvalidMedia: no bytes, of no known format, or of another kind than the part's.
        UnsupportedMedia: of the right kind, but of a format that is not decoded here.
    """
    wanted = f"Send {EXPECTED[kind]} as one of: {SUPPORTED[kind]}."
    if not data:
        raise InvalidMedia(f"This part holds no data. {wanted}", param=param)
    found = sniff_document(data, filename or "") if kind is MediaKind.DOCUMENT else sniff(data)
    if found is None:
        raise InvalidMedia(f"These bytes are not {EXPECTED[kind]} of any known format. {wanted}", param=param)
    if kind not in found.kinds:
        raise InvalidMedia(f"This is {found.label}, not {EXPECTED[kind]}. {wanted}", param=param)
    if not found.supported:
        raise UnsupportedMedia(f"This is {found.label}, which is not supported. {wanted}", param=param)
    return found
