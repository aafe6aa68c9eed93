"""Texts, tables, Markdown and HTML become blocks in the order in which they are read."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multimodal.config import Limits, LoaderArgs
from multimodal.errors import InvalidMedia, MediaTooLarge
from multimodal.media.decoder import decode
from multimodal.types import Document, MediaKind, MediaSource

PARAM = "messages.0.content.0"

ARTICLE = b"""<!doctype html><html><head><title> My
 page </title><style>p {}</style><script>var a = "<p>no</p>"</script></head>
<body><nav>Home | About</nav><h1>The <b>head</b>line</h1>
<p>One <i>two</i>
three.<p>Four<br>five &amp; six</p>
<table><tr><th>Item<th>EUR</tr><tr><td>Coffee<td><p>3.50</p><p>hot</p></td></tr></table>
<ul><li>first</li><li>second <a href="x">link</a></li></ul>
<pre>def f():
    return 1</pre><img src="x" alt="A cat">
<div hidden>secret</div><div aria-hidden="true">too</div><p>tail</p><footer>Imprint</footer></body></html>"""

NOTES = b"""---
title: "Minutes"
tags: [a]
---
# The *meeting*

Ann was [late](https://example.org),
Bob was not.

- one
- two

| Item | EUR |
|------|----:|
| Tea  | 2   |

```python
x = 1
```

<div><p>marked <b>up</b></p></div>
"""


def read(data: bytes, filename: str = "a.txt", first_page: int = 1, **limits: int) -> Document:
    source = MediaSource(
        kind=MediaKind.DOCUMENT, data=data, param=PARAM, filename=filename, first_page=first_page
    )
    found = decode(source, Limits.model_validate(limits), LoaderArgs())
    assert isinstance(found, Document)
    return found


def texts(document: Document) -> list[str]:
    return [block.text for page in document.pages for block in page.blocks]


def headings(document: Document) -> list[str]:
    return [block.text for page in document.pages for block in page.blocks if block.heading]


def test_plain_texts_are_parted_at_empty_lines() -> None:
    found = read(b"One line\nand another.\n\n\nNext.\n \nLast.")
    assert texts(found) == ["One line\nand another.", "Next.", "Last."]
    assert (found.format, found.page_count, found.pages[0].pixels) == ("text", 1, None)


def test_the_lines_of_a_log_are_blocks() -> None:
    lines = [f"2026-01-01 event {number}" for number in range(50)]
    assert texts(read("\n".join(lines).encode(), "server.log")) == lines


def test_long_texts_have_pages_and_each_can_be_begun_with() -> None:
    data = b"\n\n".join(b"Paragraph %d has six words." % number for number in range(300))
    whole = read(data)
    assert whole.page_count >= 3
    assert len(texts(whole)) == 300
    assert read(data, first_page=3).pages == whole.pages[2:]


def test_too_long_texts_are_refused() -> None:
    with pytest.raises(MediaTooLarge, match="2 pages") as caught:
        read(b"word " * 5000, document_pages=2)
    assert caught.value.param == PARAM


def test_texts_of_an_old_encoding_are_read() -> None:
    assert texts(read("Grüße aus Köln".encode("latin-1"))) == ["Grüße aus Köln"]


def test_other_bytes_are_no_document() -> None:
    with pytest.raises(InvalidMedia, match="not a document of any known format"):
        read(b"\0\1\2\3")


def test_html_is_what_a_reader_sees() -> None:
    found = read(ARTICLE, "page.html")
    assert found.title == "My page"
    assert headings(found) == ["The headline"]
    assert texts(found) == [
        "The headline",
        "One two three.",
        "Four\nfive & six",
        "Item | EUR",
        "Coffee | 3.50 hot",
        "first",
        "second link",
        "def f():\n    return 1",
        "A cat",
        "tail",
    ]


def test_html_without_a_title_is_named_by_its_first_heading() -> None:
    assert read(b"<html><h2>Welcome</h2>Text").title == "Welcome"


def test_layout_tables_and_nested_ones_lose_nothing() -> None:
    data = b"<html><table><tr><td><h2>News</h2><table><tr><td>a<td>b</table><p>text</table>"
    assert " ".join(texts(read(data))).split() == ["News", "a", "|", "b", "text"]


@pytest.mark.parametrize("element", [b"<b>", b"<table><tr><td>", b"<ul><li>", b"<span>"])
def test_deeply_nested_html_is_read(element: bytes) -> None:
    assert texts(read(b"<html>" + element * 3000 + b"deep down"))[-1] == "deep down"


def test_markdown_is_read_without_its_marks() -> None:
    found = read(NOTES, "notes.md")
    assert found.title == "Minutes"
    assert headings(found) == ["The meeting"]
    assert texts(found) == [
        "The meeting",
        "Ann was late,\nBob was not.",
        "one",
        "two",
        "Item | EUR",
        "Tea | 2",
        "x = 1",
        "marked up",
    ]


def test_markdown_is_named_by_its_first_heading_of_the_first_level() -> None:
    assert read(b"## Small\n\n# Large\n", "a.md").title == "Large"


def test_deeply_nested_markdown_is_read() -> None:
    assert texts(read(b">" * 20 + b" deep", "a.md")) == ["deep"]
    assert read(b">" * 5000 + b" too deep", "a.md").page_count == 1


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_csv_rows_have_their_header_as_a_heading(delimiter: str) -> None:
    rows = [["Name", "City"], ["Ann", 'says "hi"'], ["Bob", "Köln"]]
    lines = ["Name,City", 'Ann,"says ""hi"""', "Bob,Köln"]
    found = read("\n".join(line.replace(",", delimiter) for line in lines).encode(), "people.csv")
    assert texts(found) == [" | ".join(row) for row in rows]
    assert headings(found) == ["Name | City"]


def test_a_first_row_with_numbers_is_no_header() -> None:
    assert headings(read(b"1,2\n3,4\n", "a.csv")) == []


def test_csv_with_a_quote_that_never_ends_loses_nothing() -> None:
    data = b'a,b\n"never ends,' + b"x,y\n" * 100_000
    found = read(data, "a.csv", document_pages=10_000)
    assert found.pages[0].blocks[0].text.startswith("a | b")
    assert found.page_count > 1


def test_every_page_of_a_long_table_begins_with_its_header() -> None:
    data = b"Name,Amount\n" + b"Ann,17 euros and ten cents\n" * 3000
    found = read(data, "a.csv")
    assert found.page_count > 1
    assert all(page.blocks[0].text == "Name | Amount" for page in found.pages)
    assert sum(len(page.blocks) - 1 for page in found.pages) == 3000


@pytest.mark.parametrize("filename", ["a.txt", "a.md", "a.html", "a.csv"])
@given(text=st.text(min_size=1, max_size=300))
def test_any_text_is_read_or_refused_with_a_reason(filename: str, text: str) -> None:
    with suppress(InvalidMedia):
        found = read(text.encode("utf-8", "replace"), filename)
        assert found.page_count == len(found.pages) == 1
