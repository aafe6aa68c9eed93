"""How much of what was said was heard: word errors."""

from __future__ import annotations

from collections.abc import Sequence


def word_errors(said: Sequence[str], heard: Sequence[str]) -> int:
    """Fewest insertions, deletions and replacements of words that make one of the other (Levenshtein)."""
    row = list(range(len(heard) + 1))
    for number, word in enumerate(said, start=1):
        diagonal, row[0] = row[0], number
        for column, other in enumerate(heard, start=1):
            replaced = diagonal + (word != other)
            diagonal = row[column]
            row[column] = min(replaced, row[column] + 1, row[column - 1] + 1)
    return row[-1]


def error_rate(errors: Sequence[int], words: Sequence[int]) -> float:
    """Percent of all words of all recordings. Raises ValueError without words."""
    if not sum(words):
        raise ValueError("Nothing was said.")
    return 100 * sum(errors) / sum(words)
