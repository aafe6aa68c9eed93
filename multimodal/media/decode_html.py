"""HTML pages: what a reader sees, without scripts, styles and navigation."""

from __future__ import annotations

import re
from collections.abc import Iterator

from selectolax.lexbor import LexborHTMLParser, LexborNode

from multimodal.media.pages import block_of, one_line
from multimodal.types import TextBlock

_DROPPED = re.compile(
    "head|script|style|noscript|template|nav|footer|iframe|object|embed|svg|canvas|audio|video|button|select"
    "|textarea|dialog|[-_!].*"
)
_HEADINGS = frozenset(("h1", "h2", "h3", "h4", "h5", "h6"))
_INLINE = re.compile(
    "a|abbr|acronym|b|bdi|bdo|big|cite|code|data|del|dfn|em|font|i|img|input|ins|kbd|label|mark|meter|output"
    "|picture|progress|q|ruby|rb|rp|rt|s|samp|small|source|span|strike|strong|sub|sup|time|tt|u|var|wbr"
)
"""Elements that text flows through; every other one begins a block of its own."""
_CELLS = frozenset(("td", "th"))


def html_blocks(text: str) -> tuple[str, list[TextBlock]]:
    """The title (else the first heading) and the blocks of a page."""
    tree = LexborHTMLParser(text)
    walk = _Walk()
    if tree.body is not None:
        walk.over(tree.body)
    named = tree.css_first("title")
    title = one_line(named.text()) if named is not None else ""
    return title or next((block.text for block in walk.blocks if block.heading), ""), walk.blocks


class _Walk:
    """Over the tree, without recursion: pages may be nested as deeply as they like."""

    def __init__(self) -> None:
        self.blocks: list[TextBlock] = []
        self._words: list[str] = []
        self._rows = 0
        """Table rows that the walk is in."""
        self._heading = False
        self._verbatim = 0

    def over(self, root: LexborNode) -> None:
        """Collect the blocks within an element."""
        for node, enters in _steps(root):
            if node.tag == "-text":
                self._words.append(self._shown(node.text_content or ""))
            elif node.tag in ("br", "img"):
                self._words += [_stands_for(node)] if enters else []
            elif not _INLINE.fullmatch(node.tag or ""):
                self._border(node.tag or "", enters)
        self._flush()

    def _shown(self, text: str) -> str:
        """White space is as good as a space, unless it is shown as it is."""
        if self._verbatim or not text:
            return text
        words = " ".join(text.split())
        before = " " if text[0].isspace() else ""
        after = " " if words and text[-1].isspace() else ""
        return before + words + after

    def _border(self, tag: str, enters: bool) -> None:
        """An element begins or ends that does not stand in a line."""
        if tag in _CELLS and self._rows:
            self._words.append(" | " if enters and self._begun() else " ")
        elif self._rows and tag not in ("tr", "table", *_HEADINGS):
            self._words.append(" ")
        else:
            self._flush()
        if tag == "pre":
            self._verbatim += 1 if enters else -1
        if tag == "tr":
            self._rows += 1 if enters else -1
        if tag in _HEADINGS:
            self._heading = enters

    def _begun(self) -> bool:
        return any(word and not word.isspace() for word in self._words)

    def _flush(self) -> None:
        text = "".join(self._words)
        self._words.clear()
        if not self._verbatim:
            text = "\n".join(" ".join(line.split()) for line in text.split("\n"))
        self.blocks += block_of(text, heading=self._heading)


def _steps(root: LexborNode) -> Iterator[tuple[LexborNode, bool]]:
    """Each node as it is entered and, where it is no text, as it is left."""
    node: LexborNode | None = root.child
    while node is not None:
        if _is_shown(node):
            yield node, True
            if node.child is not None:
                node = node.child
                continue
            if node.tag != "-text":
                yield node, False
        while node.next is None:
            parent = node.parent
            if parent is None or parent.mem_id == root.mem_id:
                return
            node = parent
            yield node, False
        node = node.next


def _stands_for(node: LexborNode) -> str:
    """What a line break or a picture is in words."""
    return "\n" if node.tag == "br" else node.attributes.get("alt") or ""


def _is_shown(node: LexborNode) -> bool:
    if node.tag == "-text":
        return True
    return not _DROPPED.fullmatch(node.tag or "") and not _is_hidden(node)


def _is_hidden(node: LexborNode) -> bool:
    attributes = node.attributes
    return "hidden" in attributes or attributes.get("aria-hidden") == "true"
