"""Stretches of speech and their times: sharing them out, counting times back, words to segments.

Pure functions over samples and words: the model that hears the words is in `audio.py`.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import accumulate

import numpy as np

from multimodal.types import (
    SAMPLE_RATE_HZ,
    Audio,
    Spans,
    SpeechHints,
    SpeechWindow,
    TranscriptSegment,
    TranscriptWord,
)

WINDOW_S = 30
"""Sound that Whisper reads at once (Radford et al. 2022, "Robust Speech Recognition", section 2.2)."""
PAUSE_S = 1.0
"""A pause that ends a segment, whatever the punctuation."""

SENTENCE_ENDS = (".", "!", "?", "。", "！", "？")  # noqa: RUF001 (full-width marks are meant)
CLOSING_MARKS = "\"'”’)]}»」』）》"  # noqa: RUF001
OPENING_MARKS = frozenset("「『（《〈“‘([{")  # noqa: RUF001
"""Marks that belong to the word after them, in languages without spaces."""


def pack(spans: Iterable[tuple[int, int]]) -> tuple[Spans, ...]:
    """Share stretches of speech out to as few windows of at most WINDOW_S as their order allows.

    `spans` holds the first sample and the end of each stretch, in order and apart, at SAMPLE_RATE_HZ. A
    stretch longer than a window is divided.
    """
    groups: list[list[tuple[int, int]]] = []
    room = 0
    for start, end in _divided(spans):
        if end - start > room:
            groups.append([])
            room = WINDOW_S * SAMPLE_RATE_HZ
        groups[-1].append((start, end))
        room -= end - start
    return tuple(
        tuple((start / SAMPLE_RATE_HZ, end / SAMPLE_RATE_HZ) for start, end in group) for group in groups
    )


def _divided(spans: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    longest = WINDOW_S * SAMPLE_RATE_HZ
    for start, end in spans:
        for first in range(start, end, longest):
            yield first, min(end, first + longest)


def window_of(audio: Audio, spans: Spans, hints: SpeechHints) -> SpeechWindow:
    """The sound of one window of a plan, sample by sample as `pack` was told."""
    edges = [(round(start * SAMPLE_RATE_HZ), round(end * SAMPLE_RATE_HZ)) for start, end in spans]
    pieces = [audio.samples[start:end] for start, end in edges]
    # Speech without a pause need not be copied.
    samples = pieces[0] if len(pieces) == 1 else np.concatenate(pieces)
    return SpeechWindow(samples=samples, spans_s=spans, hints=hints)


def in_recording(words: Sequence[TranscriptWord], spans_s: Spans) -> list[TranscriptWord]:
    """Words with times counted in the window, counted in the recording instead.

    A word belongs to the stretch of speech that its middle falls into, and stays inside it: where two
    stretches meet, the model may let a word reach into the other one.
    """
    offsets = list(accumulate((end - start for start, end in spans_s), initial=0.0))
    moved = []
    for word in words:
        middle_s = (word.start_s + word.end_s) / 2
        index = min(bisect_right(offsets, middle_s), len(spans_s)) - 1
        low_s, high_s = spans_s[index]
        shift_s = low_s - offsets[index]
        start_s = min(max(word.start_s + shift_s, low_s), high_s)
        end_s = min(max(word.end_s + shift_s, start_s), high_s)
        moved.append(replace(word, start_s=start_s, end_s=end_s))
    return moved


def attach_marks(words: Iterable[TranscriptWord], *, spaced: bool) -> list[TranscriptWord]:
    """Join punctuation, and in languages with spaces the parts of a word, to the word they belong to.

    Texts keep the space in front of them. A mark lends no time to its word: the model gives pauses to marks.
    """
    joined: list[TranscriptWord] = []
    for word in words:
        if joined and _belongs(joined[-1], word, spaced):
            joined[-1] = _join_words(joined[-1], word)
        else:
            joined.append(word)
    return joined


def _belongs(previous: TranscriptWord, word: TranscriptWord, spaced: bool) -> bool:
    if spaced:
        return not word.text.startswith(" ")
    return previous.text in OPENING_MARKS or (_is_mark(word) and word.text not in OPENING_MARKS)


def _is_mark(word: TranscriptWord) -> bool:
    return not any(character.isalnum() for character in word.text)


def _join_words(previous: TranscriptWord, word: TranscriptWord) -> TranscriptWord:
    text, tokens = previous.text + word.text, previous.tokens + word.tokens
    if _is_mark(word):
        return replace(previous, text=text, tokens=tokens)
    if _is_mark(previous):
        return replace(word, text=text, tokens=tokens)
    probability = min(previous.probability, word.probability)
    return replace(previous, text=text, tokens=tokens, end_s=word.end_s, probability=probability)


def segments_of(words: Iterable[TranscriptWord]) -> tuple[TranscriptSegment, ...]:
    """Words in time order, with the space in front of them, as sentences; a long pause ends one, too."""
    groups: list[list[TranscriptWord]] = []
    for word in words:
        if not groups or _ends_segment(groups[-1][-1], word):
            groups.append([])
        groups[-1].append(word)
    return tuple(_segment(group) for group in groups)


def _ends_segment(word: TranscriptWord, following: TranscriptWord) -> bool:
    sentence_ends = word.text.rstrip().rstrip(CLOSING_MARKS).endswith(SENTENCE_ENDS)
    return sentence_ends or following.start_s - word.end_s >= PAUSE_S


def _segment(words: Sequence[TranscriptWord]) -> TranscriptSegment:
    return TranscriptSegment(
        text="".join(word.text for word in words).strip(),
        start_s=words[0].start_s,
        end_s=words[-1].end_s,
        words=tuple(replace(word, text=word.text.strip()) for word in words),
    )
