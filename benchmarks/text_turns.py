"""What `text_encoder` asks both sides: turns, and the texts in them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from benchmarks import made_up

OURS, LIBRARY = "ours", "library"
SIDES = (OURS, LIBRARY)

SHORTEST_WORDS, LONGEST_WORDS = 4, 180
"""A question, and a paragraph that the model still reads whole."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """What one side is asked."""

    side: str
    texts: tuple[str, ...] = field(repr=False)
    callers: int = 0
    """Closed loop: each has one text at a time."""
    rate_per_s: float = 0.0
    """Open loop, where there are no callers: texts are due at the times of a Poisson process."""
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Turned:
    """What came of it."""

    seconds: float
    cpu_s: float
    """Of the process, all threads."""
    latencies_ms: list[float] = field(repr=False)
    """From when each was due."""


def mixed_texts(count: int, seed: int) -> tuple[str, ...]:
    """As many short ones as long ones, by octaves: the logarithm of the number of words is uniform."""
    chance, phrases = random.Random(seed), made_up.descriptions()
    edges = np.log(SHORTEST_WORDS), np.log(LONGEST_WORDS)
    lengths = [round(float(np.exp(chance.uniform(*edges)))) for _ in range(count)]
    return tuple(_words(chance, phrases, length) for length in lengths)


def _words(chance: random.Random, phrases: Sequence[str], count: int) -> str:
    found: list[str] = []
    while len(found) < count:
        found += chance.choice(phrases).split()
    return " ".join(found[:count])
