"""Office documents that unpack to too much, or declare entities, are refused before they are parsed."""

from __future__ import annotations

from pathlib import Path

import pytest

from multimodal.config import MIB
from multimodal.errors import InvalidMedia, MediaTooLarge
from multimodal.media import package
from multimodal.media.package import check_package
from tests import documents, media

PARAM = "messages.0.content.1"
DOCX = documents.docx(["Words"])
PACKAGES = {
    "word/document.xml": (DOCX, "w:document"),
    "ppt/slides/slide1.xml": (documents.pptx([documents.Slide("a", "b")]), "p:sld"),
    "xl/worksheets/sheet1.xml": (documents.xlsx({"Sheet": [["a"]]}), "worksheet"),
}


@pytest.mark.parametrize("part", PACKAGES)
def test_real_documents_pass(part: str) -> None:
    check_package(PACKAGES[part][0], PARAM)


@pytest.mark.parametrize("part", PACKAGES)
def test_a_billion_laughs_are_refused(part: str) -> None:
    whole, root = PACKAGES[part]
    with pytest.raises(InvalidMedia, match="declarations") as caught:
        check_package(documents.with_part(whole, part, before=documents.laughs(root)), PARAM)
    assert caught.value.param == PARAM


@pytest.mark.parametrize("part", PACKAGES)
def test_external_entities_are_refused(part: str, tmp_path: Path) -> None:
    whole, root = PACKAGES[part]
    before = documents.external_entity(root, str(tmp_path / "secret"))
    with pytest.raises(InvalidMedia, match="declarations"):
        check_package(documents.with_part(whole, part, before=before), PARAM)


@pytest.mark.parametrize(
    "content",
    [
        b"<!DOCTYPE a [<!ENTITY b 'c'>]><a/>",
        b"\xef\xbb\xbf<?xml version='1.0'?><!-- a > b --> <!DOCTYPE a><a/>",
        "<?xml version='1.0' encoding='utf-16'?><!DOCTYPE a><a/>".encode("utf-16"),
        "<!DOCTYPE a><a/>".encode("utf-16-le"),
        b" " * 20_000 + b"<!DOCTYPE a><a/>",
        b"<!--" + b"-" * 20_000 + b"--><!DOCTYPE a><a/>",
        b"<!----><!---->" * 2000 + b"<!DOCTYPE a><a/>",
    ],
)
def test_declarations_are_found_however_they_are_hidden(content: bytes) -> None:
    try:
        check_package(documents.with_part(DOCX, "word/any.name", content), PARAM)
    except InvalidMedia:
        return
    # A part whose root cannot be seen is refused, unless it does not look like XML at all.
    assert content.startswith(b" " * 20_000)


def test_comments_and_instructions_before_the_root_are_fine() -> None:
    content = b"<?xml version='1.0'?>\n<!-- made by hand --><?mso-application progid='x'?>\n<a/>"
    check_package(documents.with_part(DOCX, "word/extra.xml", content), PARAM)


def test_parts_that_unpack_to_too_much_are_refused() -> None:
    bomb = documents.zip_bomb(DOCX, 600 * MIB)
    assert len(bomb) < MIB
    with pytest.raises(MediaTooLarge, match="512 MiB") as caught:
        check_package(bomb, PARAM)
    assert caught.value.param == PARAM


def test_parts_that_are_parsed_may_be_less_large_than_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(package, "XML_MAX_BYTES", 500_000)
    check_package(documents.with_part(DOCX, "word/media/a.png", bytes(600_000)), PARAM)
    with pytest.raises(MediaTooLarge):
        check_package(documents.with_part(DOCX, "word/a.xml", b"<a>" + b" " * 600_000), PARAM)


def test_too_many_parts_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(package, "MAX_PARTS", 5)
    with pytest.raises(MediaTooLarge, match="5 parts"):
        check_package(DOCX, PARAM)


@pytest.mark.parametrize("keep", [0.0, 0.5, 0.99])
def test_cut_documents_are_damaged(keep: float) -> None:
    with pytest.raises(InvalidMedia, match="damaged or cut short"):
        check_package(media.truncated(DOCX, keep), PARAM)


def test_encrypted_parts_are_refused() -> None:
    locked = bytearray(DOCX)
    for start in range(len(locked) - 4):
        if locked[start : start + 4] == b"PK\x01\x02":
            locked[start + 8] |= 1
    with pytest.raises(InvalidMedia, match="encrypted"):
        check_package(bytes(locked), PARAM)
