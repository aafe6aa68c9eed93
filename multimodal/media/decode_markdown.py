"""Markdown: headings, paragraphs, lists, code and tables. What is marked up as HTML is read as such."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise

from markdown_it import MarkdownIt
from markdown_it.token import Token

from multimodal.media.decode_html import html_blocks
from multimodal.media.pages import block_of, row_of
from multimodal.types import TextBlock

_NESTING = 60
"""Quotations within quotations, or lists, that are read; the parser is recursive."""

_FRONT_MATTER = re.compile(r"\A---\n(.*?)\n(?:---|\.\.\.)(?:\n|\Z)", re.DOTALL)
_FRONT_TITLE = re.compile(r"^title:(.*)$", re.MULTILINE)


def markdown_blocks(text: str) -> tuple[str, list[TextBlock]]:
    """The title (of the front matter, else the first heading of the first level) and the blocks."""
    title = ""
    if front := _FRONT_MATTER.match(text):
        text = text[front.end() :]
        named = _FRONT_TITLE.search(front[1])
        title = named[1].strip().strip("\"'") if named else ""
    tokens = MarkdownIt("commonmark", {"maxNesting": _NESTING}).enable("table").parse(text)
    return title or _first_heading(tokens), list(_blocks(tokens))


def _first_heading(tokens: Sequence[Token]) -> str:
    for opening, inline in pairwise(tokens):
        if opening.type == "heading_open" and opening.tag == "h1":
            return _text(inline)
    return ""


def _blocks(tokens: Sequence[Token]) -> Iterator[TextBlock]:
    heading = in_row = False
    row: list[str] = []
    for token in tokens:
        if token.type in ("heading_open", "heading_close"):
            heading = token.nesting == 1
        elif token.type == "tr_open":
            in_row, row = True, []
        elif token.type == "tr_close":
            in_row = False
            yield from block_of(row_of(row))
        elif token.type == "inline" and in_row:
            row.append(_text(token))
        elif token.type == "inline":
            yield from block_of(_text(token), heading=heading)
        elif token.type in ("fence", "code_block"):
            yield from block_of(token.content)
        elif token.type == "html_block":
            yield from html_blocks(token.content)[1]


def _text(inline: Token) -> str:
    """Without marks: of a link its words, of a picture what it shows."""
    parts: list[str] = []
    for token in inline.children or []:
        if token.type in ("softbreak", "hardbreak"):
            parts.append("\n")
        elif token.type != "html_inline":
            parts.append(token.content)
    return "".join(parts)
