"""Names of uploaded files. The server and `multimodal ingest` make them the same way, so that a file is
recognised by its name. A leaf module: it imports nothing local."""

from __future__ import annotations

import unicodedata

MAX_CHARS = 255
"""What most filesystems allow, in bytes; more would not be a name."""

UNNAMED = "upload"
"""A file that came without a name. What HTTP clients call it, too."""


def clean_filename(name: str) -> str:
    """A name that can be shown, stored and sent in headers: no folders, no control characters, no quotes.

    Applying it twice changes nothing. The ending survives where the name is too long.
    """
    encoded = name.encode("utf-8", "replace").decode()
    last = encoded.replace("\\", "/").rstrip("/").rpartition("/")[2]
    kept = "".join("_" if _is_unfit(character) else character for character in last).strip()
    if kept in ("", ".", ".."):
        return UNNAMED
    return kept if len(kept) <= MAX_CHARS else _shortened(kept)


def _is_unfit(character: str) -> bool:
    """Control and format characters (line breaks, changes of direction), unassigned ones, and quotes."""
    return character == '"' or unicodedata.category(character) in ("Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp")


def _shortened(name: str) -> str:
    stem, dot, ending = name.rpartition(".")
    tail = dot + ending if stem and len(ending) <= 16 else ""
    return name[: MAX_CHARS - len(tail)].rstrip() + tail
