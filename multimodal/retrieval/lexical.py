"""Words to the terms of the sparse vector `lexical`: names and numbers are found by words.

A stored segment carries its half of BM25 (how often a term occurs, against the segment's length), a query the
other half (how rare a term is among the segments of its tenant). So a score depends on one tenant only.

What becomes of a text:
- It is folded: compatibility forms, case, and the accents of European letters do not count.
- Words are letters, digits and marks of any script. What hyphens, dots, slashes, colons, `_`, `@` or `+` join
  (`INV-2024-001`, `jo@example.org`, `example.org/report`) counts as a whole and in pieces.
- Plurals of English words lose their ending (`normalised`).
- Scripts without spaces (Chinese, Japanese) and Korean give pairs of neighbouring characters.
"""

from __future__ import annotations

import hashlib
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache

K1, B = 1.2, 0.75
"""Saturation and length normalisation: the values that Robertson and Zaragoza, The Probabilistic Relevance
Framework: BM25 and Beyond (2009), section 3.4, found good for most collections; Lucene's defaults."""
AVERAGE_TERMS = 64
"""Length of an average segment, terms. Fixed, so that what is stored does not change with what is added: a
chunk of a document has about 100, a sentence that was said about 15."""

MAX_SEGMENT_TERMS = 4096
"""Different terms of one segment; further ones are not found."""
MAX_QUERY_TERMS = 64
"""Different terms of one query; further ones are not looked for."""
_WHOLE_CHARS = 64
"""What is longer when joined counts in pieces only."""

STOP_WORDS = frozenset(
    [
        "a",
        "an",
        "and",
        "are",
        "as",
        "at",
        "be",
        "but",
        "by",
        "for",
        "from",
        "has",
        "have",
        "he",
        "how",
        "i",
        "in",
        "is",
        "it",
        "of",
        "on",
        "or",
        "she",
        "that",
        "the",
        "they",
        "this",
        "to",
        "was",
        "we",
        "were",
        "what",
        "when",
        "where",
        "which",
        "who",
        "will",
        "with",
        "you",
    ]
)
"""Left out of a query that has other words; everything else is left to its rarity."""

_MARKS = "".join(chr(code) for code in range(0x0300, 0x10000) if unicodedata.category(chr(code))[0] == "M")
_WORD = rf"(?:[^\W_]|[{_MARKS}])+"
_JOINED = re.compile(rf"{_WORD}(?:[-_./:@+]{_WORD})*")
_PIECE = re.compile(_WORD)
_EUROPEAN_ACCENTS = re.compile("[\u0300-\u036f]")
_APOSTROPHES = re.compile("['\u2018\u2019\u02bc](?:s\\b)?")
_UNSPACED = re.compile(
    "([\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\U00020000-\U000323af]+)"
)
_ENGLISH = re.compile("[a-z]{4,}")


def terms(text: str) -> Iterator[str]:
    """The terms of a text, in order, repeated ones repeated."""
    for joined in _JOINED.finditer(_fold(text)):
        whole = joined.group()
        pieces = _PIECE.findall(whole)
        if len(pieces) > 1 and len(whole) <= _WHOLE_CHARS:
            yield whole
        for piece in pieces:
            yield from _terms_of_word(piece)


def normalised(word: str) -> str:
    """A word without the ending of an English plural, by Harman's S stemmer (How Effective Is Suffixing?,
    1991). Only words of at least four letters a to z change."""
    if not _ENGLISH.fullmatch(word) or not word.endswith("s"):
        return word
    if word.endswith("ies"):
        return word if word.endswith(("eies", "aies")) else f"{word[:-3]}y"
    if word.endswith("es"):
        return word if word.endswith(("aes", "ees", "oes")) else word[:-1]
    return word if word.endswith(("us", "ss")) else word[:-1]


@lru_cache(maxsize=65_536)
def term_id(term: str) -> int:
    """32 bits that stand for a term, the same in every process. Two terms share theirs once in 2^32."""
    return int.from_bytes(hashlib.blake2b(term.encode("utf-8", "replace"), digest_size=4).digest(), "big")


def document_weights(text: str) -> dict[int, float]:
    """What a segment stores: for each term, its frequency, saturated. Larger than 0, at most K1 + 1."""
    counts = Counter(map(term_id, terms(text)))
    length = K1 * (1 - B + B * counts.total() / AVERAGE_TERMS)
    kept = list(counts.items())[:MAX_SEGMENT_TERMS]
    return {term: count * (K1 + 1) / (count + length) for term, count in kept}


def query_terms(text: str) -> tuple[int, ...]:
    """The different terms of a query, in order, without stop words where others remain."""
    words = list(dict.fromkeys(terms(text)))
    telling = [word for word in words if word not in STOP_WORDS]
    return tuple(dict.fromkeys(map(term_id, telling or words)))[:MAX_QUERY_TERMS]


def query_weights(asked: Iterable[int], frequencies: Mapping[int, int], count: int) -> dict[int, float]:
    """How much each term of a query tells: its inverse document frequency as Lucene computes it, which is
    never negative. Terms that occur in no segment are left out.

    Args:
        asked: terms of the query.
        frequencies: in how many of the tenant's segments each term occurs.
        count: segments of the tenant.
    """
    found = {term: frequencies.get(term, 0) for term in asked}
    # A segment may have come between the two counts.
    return {
        term: math.log1p((max(0, count - number) + 0.5) / (number + 0.5))
        for term, number in found.items()
        if number
    }


def _fold(text: str) -> str:
    decomposed = unicodedata.normalize("NFKD", text).casefold()
    plain = _EUROPEAN_ACCENTS.sub("", unicodedata.normalize("NFKD", decomposed))
    return _APOSTROPHES.sub("", unicodedata.normalize("NFC", plain))


def _terms_of_word(word: str) -> Iterator[str]:
    for index, part in enumerate(_UNSPACED.split(word)):
        if index % 2 == 0:
            if part:
                yield normalised(part)
        elif len(part) == 1:
            yield part
        else:
            yield from (part[start : start + 2] for start in range(len(part) - 1))
