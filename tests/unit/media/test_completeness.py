"""Containers that announce more than they hold."""

from __future__ import annotations

import struct
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multimodal.errors import InvalidMedia
from multimodal.media.completeness import announced_packets, announced_s, check_complete
from tests import media

WALKED = ("wav", "mp4", "mov", "m4a", "ogg", "aac", "mp3", "webm", "mkv")

EBML = b"\x1a\x45\xdf\xa3\x84webm"
CLUSTER = b"\x1f\x43\xb6\x75"
SEGMENT = b"\x18\x53\x80\x67"
UNKNOWN = b"\x01" + b"\xff" * 7


def page(body: bytes) -> bytes:
    """An Ogg page with one segment."""
    return b"OggS" + bytes(22) + b"\x01" + bytes((len(body),)) + body


def box(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", 8 + len(body)) + name + body


def adts(body: bytes) -> bytes:
    size = 7 + len(body)
    return b"\xff\xf1\x50" + bytes((size >> 11, size >> 3 & 0xFF, (size & 7) << 5, 0)) + body


WHOLE = {
    "wav": media.tone(0.1),
    "ogg": page(b"abc") + page(b"x" * 200),
    "mp4": box(b"ftyp", b"isom") + box(b"mdat", b"x" * 40),
    "m4a": box(b"ftyp", b"M4A ") + struct.pack(">I4sQ", 1, b"mdat", 24) + b"x" * 8,
    "aac": adts(b"x" * 10) + adts(b"y" * 3000),
    "mp3": b"ID3\x04\0\0\0\0\0\x05" + bytes(5) + (b"\xff\xfb\x90\x00" + b"x" * 413) * 2,
    "webm": EBML + SEGMENT + b"\x88" + CLUSTER + b"\x83abc",
    "mkv": EBML + SEGMENT + UNKNOWN + CLUSTER + b"\x83abc" + CLUSTER + b"\x40\x82" + b"x" * 130,
}


@pytest.mark.parametrize("format", WHOLE)
def test_whole_files_pass(format: str) -> None:
    check_complete(WHOLE[format], format_name=format, param="p")


@pytest.mark.parametrize("format", WHOLE)
@pytest.mark.parametrize("missing", [1, 2, 3])
def test_files_that_end_early_are_cut_short(format: str, missing: int) -> None:
    with pytest.raises(InvalidMedia, match="cut short") as caught:
        check_complete(WHOLE[format][:-missing], format_name=format, param="p")
    assert caught.value.param == "p"


def test_a_wav_without_a_data_chunk_is_cut_short() -> None:
    with pytest.raises(InvalidMedia, match="cut short"):
        check_complete(media.tone(0.1)[:36], format_name="wav", param="p")


@pytest.mark.parametrize("size", [0xFFFFFFFF, 0x7FFFF000])
def test_a_wav_that_was_written_into_a_pipe_passes(size: int) -> None:
    recording = bytearray(media.tone(0.1))
    recording[40:44] = struct.pack("<I", size)
    check_complete(bytes(recording), format_name="wav", param="p")


def test_boxes_may_reach_to_the_end() -> None:
    check_complete(box(b"ftyp", b"isom") + b"\0\0\0\0mdatxxxx", format_name="mp4", param="p")


def test_live_recordings_of_unknown_size_pass() -> None:
    check_complete(EBML + SEGMENT + UNKNOWN + CLUSTER + UNKNOWN + b"xyz", format_name="webm", param="p")


@pytest.mark.parametrize("format", WHOLE)
def test_trailing_zeros_are_no_damage(format: str) -> None:
    check_complete(WHOLE[format] + bytes(64), format_name=format, param="p")


@given(st.sampled_from(WALKED), st.binary(max_size=200))
def test_any_bytes_are_judged(format: str, data: bytes) -> None:
    head = WHOLE.get(format, b"")[:12]
    for candidate in (data, head + data):
        with suppress(InvalidMedia):
            check_complete(candidate, format_name=format, param="p")


def test_a_flac_header_announces_its_seconds() -> None:
    packed = 44_100 << 44 | 1 << 41 | 15 << 36 | 88_200
    info = bytes(10) + struct.pack(">Q", packed) + bytes(16)
    assert announced_s(b"fLaC\x80\0\0\x22" + info, "flac") == pytest.approx(2.0)
    assert announced_s(b"fLaC\x80\0\0\x22" + bytes(34), "flac") is None
    assert announced_s(b"fLaC", "flac") is None
    assert announced_s(b"RIFF", "wav") is None


def test_an_mp3_header_announces_its_frames() -> None:
    frame = b"\xff\xfb\x90\x00" + bytes(32) + b"Xing" + struct.pack(">II", 3, 77) + bytes(100)
    assert announced_packets(frame, "mp3") == 77
    assert announced_packets(b"ID3\x04\0\0\0\0\0\x05" + bytes(5) + frame, "mp3") == 77
    assert announced_packets(frame.replace(b"\0\0\0\x03", b"\0\0\0\x02"), "mp3") is None
    assert announced_packets(b"\xff\xfb\x90\x00" + bytes(200), "mp3") is None
    assert announced_packets(frame, "wav") is None
