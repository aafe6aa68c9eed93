"""Lines sight and sound up: which words are heard while which scene of a video is on the screen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from multimodal.types import Scene, TranscriptSegment, TranscriptWord

MIN_WORDS = 3
"""A sentence is not split over two scenes to leave fewer words than this in one of them."""
SNAP_WORDS = 2
"""A split moves this far to fall between two sentences. Times of words are not exact."""
SENTENCE_ENDS = (".", "?", "!", "\u3002", "\uff1f", "\uff01")
NEARBY_S = 1.0
"""Sound this long before the first or after the last scene belongs to it: tracks seldom end together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """Words that are said in one go, within one scene (an index) or outside all (None)."""

    scene: int | None
    start_s: float
    end_s: float
    text: str


@dataclass(frozen=True, slots=True)
class _Run:
    """Successive words in one scene."""

    scene: int | None
    words: tuple[TranscriptWord, ...]


def place(segment: TranscriptSegment, scenes: Sequence[Scene]) -> list[Said]:
    """The pieces of a segment, each with the scene in which it is heard. `scenes` are in the order of time.

    A segment that goes on over a cut is split there, or at the end of a sentence nearby, if its words have
    times. If not, its middle decides.
    """
    runs = _without_scraps(_at_sentences(_runs(segment.words, scenes)))
    if len(runs) > 1:
        return [_said(run) for run in runs]
    middle_s = (segment.start_s + segment.end_s) / 2
    scene = runs[0].scene if runs else scene_at(scenes, middle_s)
    return [Said(scene=scene, start_s=segment.start_s, end_s=segment.end_s, text=segment.text)]


def scene_at(scenes: Sequence[Scene], time_s: float) -> int | None:
    """Index of the scene on the screen at a time; between two scenes, the nearer one.

    None long before the first and long after the last.
    """
    if not scenes or not scenes[0].start_s - NEARBY_S <= time_s <= scenes[-1].end_s + NEARBY_S:
        return None
    return min(range(len(scenes)), key=lambda index: _distance_s(scenes[index], time_s))


def _distance_s(scene: Scene, time_s: float) -> float:
    return max(scene.start_s - time_s, time_s - scene.end_s, 0.0)


def _runs(words: Sequence[TranscriptWord], scenes: Sequence[Scene]) -> list[_Run]:
    runs: list[_Run] = []
    for word in words:
        scene = scene_at(scenes, (word.start_s + word.end_s) / 2)
        if runs and runs[-1].scene == scene:
            runs[-1] = replace(runs[-1], words=(*runs[-1].words, word))
        else:
            runs.append(_Run(scene, (word,)))
    return runs


def _at_sentences(runs: Sequence[_Run]) -> list[_Run]:
    """Move the splits between runs to the nearest end of a sentence, where there is one nearby."""
    snapped = list(runs[:1])
    for run in runs[1:]:
        before = snapped.pop()
        words = before.words + run.words
        split = _nearest_sentence_end(words, len(before.words))
        halves = _Run(before.scene, words[:split]), _Run(run.scene, words[split:])
        snapped += [half for half in halves if half.words]
    return snapped


def _nearest_sentence_end(words: Sequence[TranscriptWord], split: int) -> int:
    """Index after a word that ends a sentence, at most SNAP_WORDS from `split`; `split` if there is none."""
    nearby = sorted(range(split - SNAP_WORDS, split + SNAP_WORDS + 1), key=lambda index: abs(index - split))
    ends = (i for i in nearby if 0 < i <= len(words) and words[i - 1].text.rstrip().endswith(SENTENCE_ENDS))
    return next(ends, split)


def _without_scraps(runs: Sequence[_Run]) -> list[_Run]:
    """Join runs of very few words to the one before, in the scene of the longer of the two."""
    joined: list[_Run] = []
    for run in runs:
        if joined and min(len(joined[-1].words), len(run.words)) < MIN_WORDS:
            before = joined.pop()
            longer = max(before, run, key=lambda one: len(one.words))
            run = _Run(longer.scene, before.words + run.words)
        joined.append(run)
    return joined


def _said(run: _Run) -> Said:
    text = " ".join(word.text.strip() for word in run.words)
    return Said(scene=run.scene, start_s=run.words[0].start_s, end_s=run.words[-1].end_s, text=text)
