"""Word, Excel and PowerPoint documents: text in order, pages, places, and what hostile ones come to."""

from __future__ import annotations

import datetime
import io
import zipfile

import pytest
from docx import Document as WordDocument
from docx.oxml import OxmlElement
from openpyxl import Workbook  # type: ignore[import-untyped]
from pptx import Presentation
from pptx.util import Inches

from multimodal.config import Limits, LoaderArgs
from multimodal.errors import InvalidMedia, InvalidRequest, MediaTooLarge
from multimodal.media import package
from multimodal.media.decoder import decode
from multimodal.types import Document, MediaKind, MediaSource
from tests import documents, media

PARAM = "messages.0.content.0"


def read(data: bytes, first_page: int = 1, max_pages: int = 32, **limits: int) -> Document:
    source = MediaSource(kind=MediaKind.DOCUMENT, data=data, param=PARAM, first_page=first_page)
    found = decode(source, Limits.model_validate(limits), LoaderArgs(max_pages=max_pages))
    assert isinstance(found, Document)
    return found


def texts(document: Document) -> list[list[str]]:
    return [[block.text for block in page.blocks] for page in document.pages]


def headings(document: Document) -> list[str]:
    return [block.text for page in document.pages for block in page.blocks if block.heading]


# --- Word ----------------------------------------------------------------------------------------


def test_word_text_comes_in_the_order_of_the_document() -> None:
    data = documents.docx(["# Minutes", "Ann was late.", "Item | EUR", "After the table."], title="Meeting")
    found = read(data)
    assert (found.format, found.title, found.page_count) == ("docx", "Meeting", 1)
    assert texts(found) == [["Minutes", "Ann was late.", "Item | EUR", "After the table."]]
    assert headings(found) == ["Minutes"]


def test_word_pages_end_where_their_author_ends_them() -> None:
    found = read(documents.docx(["One.", "\f", "Two.", "\f", "Three."]))
    assert texts(found) == [["One."], ["Two."], ["Three."]]
    assert texts(read(documents.docx(["One.", "\f", "Two."]), first_page=2)) == [["Two."]]


def test_word_pages_end_where_they_were_laid_out_to_end() -> None:
    document = WordDocument()
    run = document.add_paragraph("Before ").add_run()
    run._r.append(OxmlElement("w:lastRenderedPageBreak"))
    run.add_text("and after.")
    document.add_page_break()  # type: ignore[no-untyped-call]
    document.add_paragraph("Also after.")
    buffer = io.BytesIO()
    document.save(buffer)
    assert texts(read(buffer.getvalue())) == [["Before"], ["and after.", "Also after."]]


def test_long_word_documents_have_pages() -> None:
    found = read(documents.docx([f"Paragraph {number} has six words." for number in range(300)]))
    assert found.page_count > 1
    assert sum(map(len, texts(found))) == 300


def test_word_content_controls_links_and_text_boxes_are_read() -> None:
    whole = documents.docx(["Plain."])
    name = "word/document.xml"
    with zipfile.ZipFile(io.BytesIO(whole)) as archive:
        body = archive.read(name)
    more = (
        b"<w:sdt><w:sdtContent><w:p><w:r><w:t>Controlled.</w:t></w:r></w:p></w:sdtContent></w:sdt>"
        b"<w:p><w:hyperlink><w:r><w:t>Linked</w:t></w:r></w:hyperlink><w:r><w:tab/><w:t>tabbed</w:t></w:r>"
        b"<w:del><w:r><w:delText>deleted</w:delText></w:r></w:del></w:p>"
    )
    found = read(documents.with_part(whole, name, body.replace(b"<w:sectPr", more + b"<w:sectPr", 1)))
    assert texts(found) == [["Plain.", "Controlled.", "Linked\ttabbed"]]


def test_deeply_nested_tables_are_damage() -> None:
    whole, name = documents.docx(["Plain."]), "word/document.xml"
    with zipfile.ZipFile(io.BytesIO(whole)) as archive:
        body = archive.read(name)
    nested = b"<w:tbl><w:tr><w:tc>" * 5000 + b"</w:tc></w:tr></w:tbl>" * 5000
    with pytest.raises(InvalidMedia, match="damaged"):
        read(documents.with_part(whole, name, body.replace(b"<w:sectPr", nested + b"<w:sectPr", 1)))


# --- Excel ---------------------------------------------------------------------------------------


def test_sheets_are_pages_with_their_name_and_header_on_top() -> None:
    rows: list[list[documents.Cell]] = [
        ["Item", "EUR", "When"],
        ["Coffee", 3.5, datetime.datetime(2026, 1, 2)],
        ["Tea", 2, None],
    ]
    found = read(documents.xlsx({"Prices": rows, "Empty": []}))
    assert found.format == "xlsx"
    assert texts(found) == [
        ["Prices", "Item | EUR | When", "Coffee | 3.5 | 2026-01-02", "Tea | 2"],
        ["Empty"],
    ]
    assert headings(found) == ["Prices", "Item | EUR | When", "Empty"]


def test_what_a_sheet_says_of_its_size_is_not_believed() -> None:
    whole, name = documents.xlsx({"Small": [["a", "b"], [1, 2]]}), "xl/worksheets/sheet1.xml"
    with zipfile.ZipFile(io.BytesIO(whole)) as archive:
        sheet = archive.read(name)
    assert b'ref="A1:B2"' in sheet
    huge = documents.with_part(whole, name, sheet.replace(b'ref="A1:B2"', b'ref="A1:XFD1048576"'))
    assert texts(read(huge)) == [["Small", "a | b", "1 | 2"]]


def test_a_cell_far_away_is_found() -> None:
    workbook = Workbook()
    workbook.active["A1"] = "near"
    workbook.active["XFD1048576"] = "far"
    buffer = io.BytesIO()
    workbook.save(buffer)
    (page,) = texts(read(buffer.getvalue()))
    assert page[1] == "near"
    assert page[-1].endswith("far")


def test_too_many_sheets_are_refused() -> None:
    with pytest.raises(MediaTooLarge, match="3 pages"):
        read(documents.xlsx({f"Sheet {number}": [["a"]] for number in range(4)}), document_pages=3)


# --- PowerPoint ----------------------------------------------------------------------------------


def test_slides_are_pages_with_title_text_table_and_notes() -> None:
    slide = documents.Slide("Churn", "It fell\nby half.", notes="Say why.", table=[["Q1", "Q2"], ["9", "4"]])
    found = read(documents.pptx([slide, documents.Slide("End", "Thanks")], title="Review"))
    assert (found.format, found.title, found.page_count) == ("pptx", "Review", 2)
    assert texts(found)[0] == ["Churn", "It fell\nby half.", "Q1 | Q2", "9 | 4", "Say why."]
    assert headings(found) == ["Churn", "End"]


def test_what_stands_on_a_slide_has_its_place() -> None:
    slide = documents.Slide("Churn", "It fell.", notes="Say why.", table=[["Q1"]])
    blocks = read(documents.pptx([slide])).pages[0].blocks
    assert blocks[2].box == pytest.approx((0.1, 5 / 7.5, 0.5, 6 / 7.5))
    assert blocks[3].box is None
    assert all(block.box is not None for block in blocks[:3])


def test_shapes_in_groups_have_their_place_on_the_slide() -> None:
    show = Presentation()
    shapes = show.slides.add_slide(show.slide_layouts[6]).shapes
    group = shapes.add_group_shape()
    group.shapes.add_textbox(Inches(2), Inches(3), Inches(4), Inches(1.5)).text_frame.text = "In a group"
    # Twice as large as its own coordinates say, and moved.
    group.left, group.top, group.width, group.height = Inches(1), Inches(1.5), Inches(8), Inches(3)
    buffer = io.BytesIO()
    show.save(buffer)
    (block,) = read(buffer.getvalue()).pages[0].blocks
    assert block.text == "In a group"
    assert block.box == pytest.approx((0.1, 0.2, 0.9, 0.6))


def test_only_the_slides_of_the_window_are_read() -> None:
    data = documents.pptx([documents.Slide(f"Slide {number}", "text") for number in range(1, 6)])
    found = read(data, first_page=2, max_pages=2)
    assert ([page.number for page in found.pages], found.page_count) == ([2, 3], 5)
    with pytest.raises(InvalidRequest, match="no page 6"):
        read(data, first_page=6)


def test_a_show_without_slides_is_an_empty_page() -> None:
    assert texts(read(documents.pptx([]))) == [[]]


# --- all of them ---------------------------------------------------------------------------------

WHOLE = {
    "docx": documents.docx(["# Minutes", "Ann was late."]),
    "xlsx": documents.xlsx({"Prices": [["Item", "EUR"], ["Coffee", 3.5]]}),
    "pptx": documents.pptx([documents.Slide("Churn", "It fell.")]),
}
ROOTS = {
    "docx": ("word/document.xml", "w:document", b"Ann was late."),
    "xlsx": ("xl/worksheets/sheet1.xml", "worksheet", b"3.5"),
    "pptx": ("ppt/slides/slide1.xml", "p:sld", b"It fell."),
}


@pytest.mark.parametrize("format", WHOLE)
@pytest.mark.parametrize("keep", [0.3, 0.7, 0.99])
def test_documents_that_are_cut_short_are_refused(format: str, keep: float) -> None:
    with pytest.raises(InvalidMedia) as caught:
        read(media.truncated(WHOLE[format], keep))
    assert caught.value.param == PARAM


@pytest.mark.parametrize("format", WHOLE)
def test_parts_that_are_no_xml_are_damage(format: str) -> None:
    name = ROOTS[format][0]
    with pytest.raises(InvalidMedia, match="damaged"):
        read(documents.with_part(WHOLE[format], name, b"<a><b></a>"))


@pytest.mark.parametrize("format", WHOLE)
@pytest.mark.parametrize("kind", ["file", "lol9"])
def test_parsers_resolve_no_entities_themselves(
    format: str, kind: str, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Declarations are refused before; this is what would happen if one slipped through."""
    monkeypatch.setattr(package, "_check_prologue", lambda *_: None)
    secret = tmp_path_factory.mktemp("home") / "secret"
    secret.write_text("TOP-SECRET")
    name, root, words = ROOTS[format]
    before = documents.external_entity(root, str(secret)) if kind == "file" else documents.laughs(root)
    with zipfile.ZipFile(io.BytesIO(WHOLE[format])) as archive:
        part = archive.read(name)
    assert words in part
    hostile = documents.with_part(WHOLE[format], name, part.replace(words, f"&{kind};".encode()))
    try:
        found = read(documents.with_part(hostile, name, before=before))
    except InvalidMedia:
        return
    told = repr(texts(found))
    assert "TOP-SECRET" not in told
    assert len(told) < 1000
