"""What bytes are recognised as, and the sentence a client gets when they are something else."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multimodal.errors import InvalidMedia, UnsupportedMedia
from multimodal.media.sniff import EXPECTED, SUPPORTED, require_format, sniff
from multimodal.types import MediaKind
from tests import media

PARAM = "messages.0.content.1"

HEADS = {
    "wav": b"RIFF\x24\0\0\0WAVEfmt ",
    "mp3": b"\xff\xfb\x90\x00",
    "flac": b"fLaC\0\0\0\x22",
    "ogg": b"OggS\0\2" + bytes(22) + b"\x01vorbis",
    "m4a": b"\0\0\0\x1cftypM4A \0\0\0\0",
    "aac": b"\xff\xf1\x50\x80",
    "mp4": b"\0\0\0\x18ftypisom\0\0\2\0",
    "mov": b"\0\0\0\x14ftypqt  \0\0\2\0",
    "webm": b"\x1a\x45\xdf\xa3\x9f\x42\x82\x84webm",
    "mkv": b"\x1a\x45\xdf\xa3\xa3\x42\x82\x88matroska",
    "heic": b"\0\0\0\x18ftypheic\0\0\0\0",
    "avif": b"\0\0\0\x1cftypavif\0\0\0\0",
    "3gp": b"\0\0\0\x14ftyp3gp4\0\0\2\0",
    "avi": b"RIFF\x24\0\0\0AVI LIST",
    "aiff": b"FORM\0\0\0\x24AIFFCOMM",
    "ogv": b"OggS\0\2" + bytes(22) + b"\x80theora",
    "svg": b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg">',
    "html": b"<!DOCTYPE html><html>",
    "pdf": b"%PDF-1.7",
    "zip": b"PK\x03\x04\x14\0",
    "mpegts": (b"\x47" + bytes(187)) * 3,
}


@pytest.mark.parametrize("format", media.PICTURE_FORMATS)
def test_encoded_pictures_are_recognised(format: media.PictureFormat) -> None:
    assert require_format(media.plain("teal", format), MediaKind.IMAGE, PARAM).name == format


@pytest.mark.parametrize(("name", "head"), HEADS.items())
def test_first_bytes_are_recognised(name: str, head: bytes) -> None:
    found = sniff(head + bytes(32))
    assert found is not None
    assert found.name == name


@pytest.mark.parametrize(
    ("behind", "name"),
    [(b"\xff\xfb\x90\x00", "mp3"), (b"fLaC\0\0\0\x22", "flac"), (b"\xff\xf1\x50\x80", "aac")],
)
def test_sound_behind_an_id3_tag_is_recognised(behind: bytes, name: str) -> None:
    tag = b"ID3\x04\0\0" + bytes((0, 0, 1, 2)) + bytes(130)
    found = sniff(tag + behind)
    assert found is not None
    assert found.name == name


@pytest.mark.parametrize("kind", MediaKind)
@pytest.mark.parametrize("data", [b"hello, world", b"BM this is a text", b"\xff\xff\xff\xff", b"\0" * 64])
def test_unknown_bytes_are_invalid(kind: MediaKind, data: bytes) -> None:
    with pytest.raises(InvalidMedia, match=r"not .* of any known format") as caught:
        require_format(data, kind, PARAM)
    assert caught.value.param == PARAM
    assert SUPPORTED[kind] in caught.value.message


@pytest.mark.parametrize("kind", MediaKind)
def test_no_bytes_are_invalid(kind: MediaKind) -> None:
    with pytest.raises(InvalidMedia, match="no data"):
        require_format(b"", kind, PARAM)


@pytest.mark.parametrize(
    ("data", "kind", "found"),
    [
        (media.plain("red"), MediaKind.AUDIO, "a PNG picture"),
        (media.plain("red"), MediaKind.VIDEO, "a PNG picture"),
        (HEADS["wav"], MediaKind.IMAGE, "a WAV recording"),
        (HEADS["mp4"], MediaKind.IMAGE, "an MP4 file"),
        (HEADS["m4a"], MediaKind.VIDEO, "an M4A recording"),
        (HEADS["avi"], MediaKind.IMAGE, "an AVI video"),
        (HEADS["pdf"], MediaKind.IMAGE, "a PDF document"),
    ],
)
def test_another_kind_is_named(data: bytes, kind: MediaKind, found: str) -> None:
    with pytest.raises(InvalidMedia) as caught:
        require_format(data, kind, PARAM)
    assert caught.value.message.startswith(f"This is {found}, not {EXPECTED[kind]}.")


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("svg", MediaKind.IMAGE),
        ("heic", MediaKind.IMAGE),
        ("avif", MediaKind.IMAGE),
        ("aiff", MediaKind.AUDIO),
        ("avi", MediaKind.VIDEO),
        ("ogv", MediaKind.VIDEO),
        ("mpegts", MediaKind.VIDEO),
    ],
)
def test_known_but_unsupported_formats_say_what_is_supported(name: str, kind: MediaKind) -> None:
    with pytest.raises(UnsupportedMedia) as caught:
        require_format(HEADS[name], kind, PARAM)
    assert caught.value.param == PARAM
    assert SUPPORTED[kind] in caught.value.message


@pytest.mark.parametrize("name", ["mp4", "mov", "webm", "mkv"])
def test_sound_may_come_in_a_video_container(name: str) -> None:
    assert require_format(HEADS[name], MediaKind.AUDIO, PARAM).name == name


@given(st.binary(max_size=64))
def test_any_bytes_are_recognised_or_not_but_never_fail(data: bytes) -> None:
    found = sniff(data)
    assert found is None or found.name


@given(st.sampled_from(sorted(HEADS)), st.integers(0, 40))
def test_cut_heads_never_fail(name: str, length: int) -> None:
    sniff(HEADS[name][:length])


def test_a_quicktime_file_without_brand_is_recognised() -> None:
    found = sniff(struct.pack(">I", 8) + b"wide" + bytes(16))
    assert found is not None
    assert found.name == "mov"
