"""How long a text is to a language model, and where it can be cut."""

from __future__ import annotations

import re
from collections.abc import Iterator

_TOKENS = re.compile(
    r"[\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff]"  # stand for a word each
    r"|[^\W\d_\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff]{1,5}"
    r"|\d{1,2}"
    r"|[^\w\s]|_"
)
"""About what a word piece tokenizer makes of a text: five letters, two figures, one sign."""

_SENTENCE_END = re.compile(r"(?<=[.!?;:])[\"')\]]*\s+|(?<=[\u3002\uff01\uff1f])|\n+")


def words_in(text: str) -> int:
    """Words of a text. One that tokenizers take apart counts for several: one for every two tokens begun.

    Adds up: two texts with white space between them have as many words as both.
    """
    return sum(map(_weight, text.split()))


def _weight(word: str) -> int:
    return max(1, (len(_TOKENS.findall(word)) + 1) // 2)


def split_text(text: str, limit: int) -> list[str]:
    """The text in pieces of at most `limit` words, cut at the ends of lines and sentences where that is
    possible, else between words, else within them. Nothing but white space is lost."""
    pieces: list[str] = []
    room = 0
    for part, words in _parts(text, limit):
        if words <= room:
            pieces[-1] += part
            room -= words
        else:
            pieces.append(part)
            room = limit - words
    return [piece.strip() for piece in pieces]


def _parts(text: str, limit: int) -> Iterator[tuple[str, int]]:
    """Sentences with the white space behind them, or words of long ones, or pieces of long words; and how
    many words each has."""
    for sentence in _cut(text, _SENTENCE_END):
        words = words_in(sentence)
        if words <= limit:
            yield sentence, words
            continue
        for word in re.findall(r"\S+\s*", sentence):
            yield from _word_parts(word, limit)


def _word_parts(word: str, limit: int) -> Iterator[tuple[str, int]]:
    if (words := _weight(word.strip())) <= limit:
        yield word, words
        return
    # No token is shorter than a character, and each two make a word.
    for start in range(0, len(word), limit):
        piece = word[start : start + limit]
        if piece.strip():
            yield piece, words_in(piece)


def _cut(text: str, border: re.Pattern[str]) -> Iterator[str]:
    """The text cut behind each border, parts of white space alone left out."""
    start = 0
    for found in border.finditer(text):
        if text[start : found.end()].strip():
            yield text[start : found.end()]
            start = found.end()
    if text[start:].strip():
        yield text[start:]
