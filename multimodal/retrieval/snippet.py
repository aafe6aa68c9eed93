"""The stretch of a text that shows best why it was found."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence, Set

from multimodal.retrieval.lexical import STOP_WORDS, terms

SNIPPET_CHARACTERS = 300
CUT = "..."
"""Stands where something was left out."""

_WORD = re.compile(r"\w+")
_Place = tuple[int, int, str]
"""Begin and end of a word in the text, and the term of the query that it is."""


class Snippets:
    """Snippets of texts for the words of one query, which may be long: its terms are found once."""

    def __init__(self, words: str) -> None:
        self._wanted = frozenset(terms(words)) - STOP_WORDS

    def __call__(self, text: str, limit: int = SNIPPET_CHARACTERS) -> str:
        """At most `limit` characters (10 or more) of a text, as one line: where most of the words stand
        together, words that are rare in the text before others, else its beginning. Cut at word ends where it
        has any.
        """
        flat = " ".join(text.split())
        if len(flat) <= limit:
            return flat
        room = limit - 2 * (len(CUT) + 1)
        begin, end = _best(list(_places(flat, self._wanted)), room)
        begin = max(0, min(begin - (room - (end - begin)) // 2, len(flat) - room))
        end = min(len(flat), begin + room)
        begin, end = _at_word_ends(flat, begin, end)
        before = f"{CUT} " if begin else ""
        after = f" {CUT}" if end < len(flat) else ""
        return f"{before}{flat[begin:end]}{after}"


def _places(flat: str, wanted: Set[str]) -> Iterator[_Place]:
    """Where the words stand, as lexical search finds them."""
    for match in _WORD.finditer(flat) if wanted else ():
        term = next((term for term in terms(match[0]) if term in wanted), None)
        if term is not None:
            yield match.start(), match.end(), term


def _best(places: Sequence[_Place], room: int) -> tuple[int, int]:
    """The first of the stretches of at most `room` characters whose distinct words weigh most."""
    counts = Counter(term for _, _, term in places)
    inside: Counter[str] = Counter()
    heaviest, best, first = 0.0, (0, 0), 0
    for start, end, term in places:
        inside[term] += 1
        while end - places[first][0] > room and places[first][0] < start:
            inside[places[first][2]] -= 1
            first += 1
        weight = sum(1 / counts[one] for one, times in inside.items() if times)
        if weight > heaviest + 1e-9:
            begin = places[first][0]
            heaviest, best = weight, (begin, min(end, begin + room))
    return best


def _at_word_ends(flat: str, begin: int, end: int) -> tuple[int, int]:
    """Without the halves of words at both ends, unless that leaves nothing."""
    inner, outer = begin, end
    if begin and not flat[begin - 1].isspace():
        inner = flat.find(" ", begin, end) + 1 or begin
    if end < len(flat) and not flat[end].isspace():
        outer = flat.rfind(" ", begin, end)
    if outer <= inner:
        return begin, end
    return inner, outer
