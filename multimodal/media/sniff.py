"""Recognise a file format from its first bytes. What the client declares is never trusted."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from multimodal.errors import InvalidMedia, UnsupportedMedia
from multimodal.types import MediaKind

IMAGE, AUDIO, VIDEO = MediaKind.IMAGE, MediaKind.AUDIO, MediaKind.VIDEO

EXPECTED = {IMAGE: "a picture", AUDIO: "a sound recording", VIDEO: "a video"}
"""How an error names what a part should hold."""

SUPPORTED = {
    IMAGE: "PNG, JPEG, WebP, GIF, BMP, TIFF",
    AUDIO: "WAV, MP3, FLAC, Ogg, M4A, AAC, MP4, WebM",
    VIDEO: "MP4, WebM, MOV, Matroska",
}

_ISO_BRANDS = {
    **dict.fromkeys((b"M4A ", b"M4B ", b"M4P ", b"F4A "), "m4a"),
    **dict.fromkeys((b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1"), "heic"),
    **dict.fromkeys((b"avif", b"avis"), "avif"),
    b"qt  ": "mov",
}
"""Major brands of the ISO base media file format that are not plain MP4 (https://mp4ra.org)."""

_SEARCH_BYTES = 1024
"""How far into a file a text marker (SVG, HTML) is looked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaFormat:
    """One file format."""

    name: str
    """Goes into `format` of the decoded medium."""
    label: str
    """How an error names it."""
    kinds: frozenset[MediaKind]
    """Which parts it may stand in; empty for documents and archives."""
    supported: bool


def _known(name: str, label: str, *kinds: MediaKind, supported: bool = False) -> MediaFormat:
    return MediaFormat(name=name, label=label, kinds=frozenset(kinds), supported=supported)


_FORMATS = {
    known.name: known
    for known in (
        _known("png", "a PNG picture", IMAGE, supported=True),
        _known("jpeg", "a JPEG picture", IMAGE, supported=True),
        _known("webp", "a WebP picture", IMAGE, supported=True),
        _known("gif", "a GIF picture", IMAGE, supported=True),
        _known("bmp", "a BMP picture", IMAGE, supported=True),
        _known("tiff", "a TIFF picture", IMAGE, supported=True),
        _known("svg", "an SVG drawing", IMAGE),
        _known("heic", "a HEIC picture", IMAGE),
        _known("avif", "an AVIF picture", IMAGE),
        _known("jxl", "a JPEG XL picture", IMAGE),
        _known("jp2", "a JPEG 2000 picture", IMAGE),
        _known("ico", "an icon", IMAGE),
        _known("psd", "a Photoshop picture", IMAGE),
        _known("wav", "a WAV recording", AUDIO, supported=True),
        _known("mp3", "an MP3 recording", AUDIO, supported=True),
        _known("flac", "a FLAC recording", AUDIO, supported=True),
        _known("ogg", "an Ogg recording", AUDIO, supported=True),
        _known("m4a", "an M4A recording", AUDIO, supported=True),
        _known("aac", "an AAC recording", AUDIO, supported=True),
        _known("aiff", "an AIFF recording", AUDIO),
        _known("amr", "an AMR recording", AUDIO),
        _known("caf", "a CAF recording", AUDIO),
        _known("au", "an AU recording", AUDIO),
        _known("midi", "a MIDI file", AUDIO),
        _known("mp4", "an MP4 file", VIDEO, AUDIO, supported=True),
        _known("mov", "a QuickTime file", VIDEO, AUDIO, supported=True),
        _known("webm", "a WebM file", VIDEO, AUDIO, supported=True),
        _known("mkv", "a Matroska file", VIDEO, AUDIO, supported=True),
        _known("3gp", "a 3GP file", VIDEO, AUDIO),
        _known("avi", "an AVI video", VIDEO),
        _known("ogv", "an Ogg video", VIDEO),
        _known("asf", "a Windows Media file", VIDEO, AUDIO),
        _known("flv", "a Flash video", VIDEO),
        _known("mpeg", "an MPEG program stream", VIDEO),
        _known("mpegts", "an MPEG transport stream", VIDEO),
        _known("pdf", "a PDF document"),
        _known("zip", "a ZIP archive or an office document"),
        _known("gzip", "a gzip archive"),
        _known("html", "an HTML page"),
    )
}

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
    (b"PK\x03\x04", "zip"),
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
    return "mov" if box in (b"moov", b"mdat", b"wide", b"pnot") else None


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
    """Packets of 188 bytes, each beginning with 0x47."""
    return "mpegts" if len(data) > 376 and data[0] == data[188] == data[376] == 0x47 else None


def _markup(data: bytes) -> str | None:
    head = data[:_SEARCH_BYTES].removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if not head.startswith(b"<"):
        return None
    if re.search(rb"<svg[\s>]", head):
        return "svg"
    return "html" if head.startswith((b"<!doctype html", b"<html")) else None


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
)


def sniff(data: bytes) -> MediaFormat | None:
    """The format of these bytes, or None where it is none that we know."""
    for prefix, name in _PREFIXES:
        if data.startswith(prefix):
            return _FORMATS[name]
    for test in _TESTS:
        found = test(data)
        if found is not None:
            return _FORMATS[found]
    return None


def require_format(data: bytes, kind: MediaKind, param: str) -> MediaFormat:
    """The format of a part's bytes.

    Raises:
        InvalidMedia: no bytes, of no known format, or of another kind than the part's.
        UnsupportedMedia: of the right kind, but of a format that is not decoded here.
    """
    wanted = f"Send {EXPECTED[kind]} as one of: {SUPPORTED[kind]}."
    if not data:
        raise InvalidMedia(f"This part holds no data. {wanted}", param=param)
    found = sniff(data)
    if found is None:
        raise InvalidMedia(f"These bytes are not {EXPECTED[kind]} of any known format. {wanted}", param=param)
    if kind not in found.kinds:
        raise InvalidMedia(f"This is {found.label}, not {EXPECTED[kind]}. {wanted}", param=param)
    if not found.supported:
        raise UnsupportedMedia(f"This is {found.label}, which is not supported. {wanted}", param=param)
    return found
