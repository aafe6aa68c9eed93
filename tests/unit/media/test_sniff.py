"""What bytes are recognised as, and the sentence a client gets when they are something else."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multimodal.errors import InvalidMedia, UnsupportedMedia
from multimodal.media.formats import EXPECTED, SUPPORTED
from multimodal.media.sniff import recognise, require_format, sniff
from multimodal.types import MediaKind
from tests import documents, media

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
    "rtf": rb"{\rtf1\ansi",
    "ole": b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
    "odf": b"PK\x03\x04" + bytes(22) + b"\x08\0\0\0mimetypeapplication/vnd.oasis.opendocument.text",
    "epub": b"PK\x03\x04" + bytes(22) + b"\x08\0\0\0mimetypeapplication/epub+zip",
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
@pytest.mark.parametrize(
    "data", [b"hello\0world", b"BM this is no picture\x01", b"\xff\xff\xff\xff", b"\0" * 64]
)
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


# --- uploaded files ------------------------------------------------------------------------------

OFFICE = "application/vnd.openxmlformats-officedocument."
DOCX, XLSX, PPTX = (
    documents.docx(["Words"]),
    documents.xlsx({"Sheet": [["a"]]}),
    documents.pptx([documents.Slide("a", "b")]),
)
SOUND_TRACK = b"\x86\x86A_OPUS"
PICTURE_TRACK = b"\x86\x85V_VP8"


@pytest.mark.parametrize(
    ("head", "filename", "kind", "media_type"),
    [
        (media.plain("red"), "holiday.txt", MediaKind.IMAGE, "image/png"),
        (media.plain("red", "jpeg"), "", MediaKind.IMAGE, "image/jpeg"),
        (HEADS["wav"], "a.wav", MediaKind.AUDIO, "audio/wav"),
        (HEADS["m4a"], "a.mp4", MediaKind.AUDIO, "audio/mp4"),
        (HEADS["mp4"], "a.m4a", MediaKind.VIDEO, "video/mp4"),
        (HEADS["mov"], "a", MediaKind.VIDEO, "video/quicktime"),
        (HEADS["webm"] + SOUND_TRACK + PICTURE_TRACK, "a", MediaKind.VIDEO, "video/webm"),
        (HEADS["webm"] + SOUND_TRACK, "a.webm", MediaKind.AUDIO, "audio/webm"),
        (HEADS["mkv"], "a.mkv", MediaKind.VIDEO, "video/x-matroska"),
        (HEADS["pdf"], "a.txt", MediaKind.DOCUMENT, "application/pdf"),
        (HEADS["html"], "a", MediaKind.DOCUMENT, "text/html"),
        (b"<p>a part of a page</p>", "part.HTM", MediaKind.DOCUMENT, "text/html"),
        (b"# A heading", "notes.md", MediaKind.DOCUMENT, "text/markdown"),
        (b"a,b\n1,2\n", "table.csv", MediaKind.DOCUMENT, "text/csv"),
        (b'{"a": 1}', "data.json", MediaKind.DOCUMENT, "text/plain"),
        (b"2026-01-01 started", "server.log", MediaKind.DOCUMENT, "text/plain"),
        (b"The wide river", "", MediaKind.DOCUMENT, "text/plain"),
        ("Grüße aus Köln".encode("latin-1"), "brief", MediaKind.DOCUMENT, "text/plain"),
        ("日本語".encode("utf-16"), "a.txt", MediaKind.DOCUMENT, "text/plain"),
        ("cut within é".encode()[:-1], "a.txt", MediaKind.DOCUMENT, "text/plain"),
        (DOCX[:65536], "a.zip", MediaKind.DOCUMENT, OFFICE + "wordprocessingml.document"),
        (XLSX[:65536], "", MediaKind.DOCUMENT, OFFICE + "spreadsheetml.sheet"),
        (PPTX[:65536], "a.docx", MediaKind.DOCUMENT, OFFICE + "presentationml.presentation"),
        (HEADS["zip"] + bytes(30), "a.xlsx", MediaKind.DOCUMENT, OFFICE + "spreadsheetml.sheet"),
    ],
)
def test_files_are_recognised(head: bytes, filename: str, kind: MediaKind, media_type: str) -> None:
    assert recognise(head, filename) == (kind, media_type)


@pytest.mark.parametrize(
    ("head", "filename"),
    [
        (b"", "a.txt"),
        (b"\0\1\2\3", "a.txt"),
        (b"text with a zero\0", "a.md"),
        (HEADS["zip"] + bytes(30), "a.zip"),
        (HEADS["svg"], "a.svg"),
        (HEADS["heic"], "a.jpg"),
        (HEADS["ole"], "a.docx"),
        (HEADS["odf"], "a.docx"),
        (HEADS["avi"], "a.avi"),
        (b"\x7fELF\x02\x01\x01", "a.pdf"),
    ],
)
def test_what_cannot_be_searched_has_no_kind(head: bytes, filename: str) -> None:
    assert recognise(head, filename) == (None, "application/octet-stream")


@given(st.binary(max_size=300), st.text(max_size=20))
def test_any_file_is_recognised_or_not_but_never_fails(head: bytes, filename: str) -> None:
    kind, media_type = recognise(head, filename)
    assert (kind is None) == (media_type == "application/octet-stream")


@given(st.text(min_size=1, max_size=300).filter(lambda text: text.isprintable()), st.integers(0, 3))
def test_texts_are_documents_wherever_their_head_ends(text: str, cut: int) -> None:
    head = f"A text: {text}".encode()
    assert recognise(head[: len(head) - cut], "note")[0] is MediaKind.DOCUMENT


def test_what_recognise_calls_a_document_can_be_required_as_one() -> None:
    for data, name in ((DOCX, "docx"), (XLSX, "xlsx"), (PPTX, "pptx"), (b"plain words", "text")):
        assert require_format(data, MediaKind.DOCUMENT, PARAM).name == name
    assert require_format(b"a,b", MediaKind.DOCUMENT, PARAM, "a.csv").name == "csv"


def test_an_archive_of_office_documents_is_none_of_them() -> None:
    nested = HEADS["zip"] + bytes(20) + b"\x06\0\0\0a.docx" + DOCX
    assert recognise(nested[:65536], "papers.zip") == (None, "application/octet-stream")


def test_old_office_documents_are_named() -> None:
    with pytest.raises(UnsupportedMedia, match="old format, or one with a password"):
        require_format(HEADS["ole"], MediaKind.DOCUMENT, PARAM, "a.doc")
