"""Find media that are cut short by what their own structure promises.

Decoders are lenient: half a recording decodes to half a recording without an error. Here each container is
walked, without decoding anything, to see whether the bytes that it announces are present.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from multimodal.errors import InvalidMedia
from multimodal.media.sniff import after_id3

_WAV_STREAMED = 0x7FFF0000
"""Sizes from here on are place-holders of programs that wrote into a pipe."""

_KBITS_MPEG1 = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
_KBITS_MPEG2 = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
_ISO_BOXES = (b"ftyp", b"moov", b"mdat", b"moof", b"free", b"skip", b"wide", b"uuid", b"sidx", b"mfra")
_EBML_SEGMENT = 0x18538067
"""Id of the element that holds everything else in a Matroska file (RFC 9559)."""


def check_complete(data: bytes, *, format_name: str, param: str) -> None:
    """Raises InvalidMedia where a container announces more bytes than there are."""
    walk = _WALKS.get(format_name)
    if walk is not None and not walk(data):
        raise cut_short(param)


def cut_short(param: str) -> InvalidMedia:
    """The error for media that end too early."""
    return InvalidMedia("This file is cut short: it announces more than it has. Send it whole.", param=param)


def announced_s(data: bytes, format_name: str) -> float | None:
    """Seconds that a FLAC header announces (RFC 9639 section 8.2), or None."""
    info = data[after_id3(data) + 8 :][:34] if format_name == "flac" else b""
    bits = int.from_bytes(info[10:18], "big")
    rate_hz, samples = bits >> 44, bits & 0xFFFFFFFFF
    return samples / rate_hz if samples and rate_hz else None


def announced_packets(data: bytes, format_name: str) -> int | None:
    """MPEG frames that the Xing or Info header of an MP3 announces, itself not counted, or None."""
    if format_name != "mp3":
        return None
    start = after_id3(data)
    head = data[start : start + 64]
    tag = max(head.find(b"Xing"), head.find(b"Info"))
    if tag < 0 or len(head) < tag + 12 or not head[tag + 7] & 1:
        return None
    return int.from_bytes(head[tag + 8 : tag + 12], "big") or None


def _riff(data: bytes) -> bool:
    """Chunks: four letters, a little-endian size, the content, a byte of padding where that is odd."""
    if data.startswith(b"RF64"):
        return True
    at = 12
    while at + 8 <= len(data):
        name, size = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
        if name == b"data":
            return size >= _WAV_STREAMED or at + 8 + size <= len(data)
        at += 8 + size + size % 2
    return False


def _iso(data: bytes) -> bool:
    """Boxes: a big-endian size that counts itself (1: it follows the name; 0: to the end), four letters."""
    at = 0
    while at + 8 <= len(data):
        size, name = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        if size == 1:
            size = int.from_bytes(data[at + 8 : at + 16], "big")
        if size < 8 or name not in _ISO_BOXES:
            return True
        at += size
    return at <= len(data)


def _ogg(data: bytes) -> bool:
    """Pages: a header of 27 bytes, a table with the size of each segment, the segments."""
    at = 0
    while data[at : at + 4] == b"OggS":
        segments = data[at + 27 : at + 27 + data[at + 26]] if at + 27 <= len(data) else b""
        if at + 27 > len(data) or len(segments) < data[at + 26]:
            return False
        at += 27 + len(segments) + sum(segments)
    return at <= len(data)


def _adts(data: bytes) -> bool:
    """Frames: a 13-bit size that counts the header, from bit 30 on."""
    at = after_id3(data)
    while at + 7 <= len(data) and data[at] == 0xFF:
        size = int.from_bytes(data[at + 3 : at + 6], "big") >> 5 & 0x1FFF
        if size < 7:
            return False
        at += size
    return at <= len(data)


def _mp3(data: bytes) -> bool:
    """Frames, as long as they follow each other: behind them may stand tags of many kinds."""
    at = after_id3(data)
    while size := _mpeg_frame_bytes(data[at : at + 4]):
        at += size
    return at <= len(data)


def _mpeg_frame_bytes(header: bytes) -> int:
    """Length of a layer III frame by its four-byte header (ISO 11172-3 and 13818-3); 0 where it is none."""
    if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE6 != 0xE2:
        return 0
    version, rate, bit_rate = header[1] >> 3 & 3, header[2] >> 2 & 3, header[2] >> 4
    if version == 1 or rate == 3 or bit_rate in (0, 15):
        return 0
    rate_hz = (44_100, 48_000, 32_000)[rate] >> {3: 0, 2: 1, 0: 2}[version]
    kbits = _KBITS_MPEG1[bit_rate] if version == 3 else _KBITS_MPEG2[bit_rate]
    return (144 if version == 3 else 72) * kbits * 1000 // rate_hz + (header[2] >> 1 & 1)


def _ebml(data: bytes) -> bool:
    """Elements: an id, a size, the content. Live recordings leave the size of the segment unknown."""
    at = 0
    while at < len(data) and data[at]:
        name, at = _vint(data, at)
        size, at = _vint(data, at)
        if at > len(data):
            return False
        unknown = size & (size + 1) == 0
        if name == _EBML_SEGMENT and unknown:
            continue
        if unknown:
            return True
        at += size ^ (1 << size.bit_length() - 1)
        if name == _EBML_SEGMENT:
            break
    return at <= len(data)


def _vint(data: bytes, at: int) -> tuple[int, int]:
    """An EBML number with its length marker, and the offset behind it; all ones mean "unknown"."""
    length = 9 - data[at].bit_length() if at < len(data) else 1
    return int.from_bytes(data[at : at + length], "big"), at + length


_WALKS: Mapping[str, Callable[[bytes], bool]] = {
    "wav": _riff,
    "mp4": _iso,
    "mov": _iso,
    "m4a": _iso,
    "ogg": _ogg,
    "aac": _adts,
    "mp3": _mp3,
    "webm": _ebml,
    "mkv": _ebml,
}
