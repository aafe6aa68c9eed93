"""The fenced code blocks of a Markdown file, and what a test may do with each.

The line before a fence may be a marker, which a reader of the page does not see:

    <!-- test: run -->             the block works against a running server, from the root of the repository
    <!-- test: skip REASON -->     it does not work in a test, and why
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

SHELL = frozenset({"bash", "sh", "shell", "console"})
PYTHON = frozenset({"python", "py"})
COMMANDS = SHELL | PYTHON
"""Languages of blocks that a reader pastes: each of these blocks needs a marker."""

_FENCE = re.compile(r"(?P<indent>\s*)(?P<ticks>`{3,}|~{3,})(?P<info>[^`]*)")
_MARKER = re.compile(r"\s*<!-- test: (?P<word>run|skip)(?: (?P<reason>.*\S))? -->\s*")
_LIKE_A_MARKER = re.compile(r"\s*<!--\s*test\b", re.IGNORECASE)


class Marker(StrEnum):
    """What a test does with a block."""

    RUN = "run"
    SKIP = "skip"


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One fenced code block."""

    language: str
    """First word behind the fence, lower case; empty where there is none."""
    text: str
    """The lines between the fences, without the indentation of the fence, each with its line end."""
    marker: Marker | None
    reason: str | None
    """Why it is skipped."""
    line: int
    """Line of the opening fence, counted from 1."""

    @property
    def is_command(self) -> bool:
        """Whether a reader would paste it into a shell or run it with Python."""
        return self.language in COMMANDS


def readme_blocks(path: Path) -> list[Block]:
    """Every fenced block of a file, in order.

    Raises ValueError, naming the line, for a fence that is not closed and for a marker that is misspelt or
    does not stand directly before a fence.
    """
    return list(_blocks(path.read_text(encoding="utf-8").split("\n"), path.name))


def _blocks(lines: list[str], name: str) -> Iterator[Block]:
    number = 0
    marker: re.Match[str] | None = None
    while number < len(lines):
        opening = _FENCE.fullmatch(lines[number])
        if opening is None:
            if marker is not None:
                raise ValueError(f"{name}:{number}: a marker must stand directly before a fence")
            marker = _marker(lines[number], f"{name}:{number + 1}")
            number += 1
            continue
        end = _closing(lines, number, opening, name)
        indent = opening["indent"]
        yield Block(
            language=(opening["info"].split() or [""])[0].lower(),
            text="".join(f"{line.removeprefix(indent)}\n" for line in lines[number + 1 : end]),
            marker=Marker(marker["word"]) if marker else None,
            reason=marker["reason"] if marker else None,
            line=number + 1,
        )
        number, marker = end + 1, None
    if marker is not None:
        raise ValueError(f"{name}: a marker stands at the end, before no fence")


def _marker(line: str, place: str) -> re.Match[str] | None:
    found = _MARKER.fullmatch(line)
    if found is None and _LIKE_A_MARKER.match(line):
        raise ValueError(f"{place}: a marker reads `<!-- test: run -->` or `<!-- test: skip REASON -->`")
    return found


def _closing(lines: list[str], start: int, opening: re.Match[str], name: str) -> int:
    """Index of the line that closes a fence: as many of the same sign at least, and nothing else."""
    ticks = opening["ticks"]
    for index in range(start + 1, len(lines)):
        line = lines[index].strip()
        if line.startswith(ticks) and not line.strip(ticks[0]):
            return index
    raise ValueError(f"{name}:{start + 1}: this fence is not closed")
