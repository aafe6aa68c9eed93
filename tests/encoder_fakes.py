"""Weightless backends whose answers can be checked: for tests of everything around the models.

What a fake reads or hears is put into the medium by the test, in a way that survives lossless formats (PNG,
16-bit wav): `picture_saying("TOTAL 42 EUR")` is read as that line, `sound_saying("hello")` is heard as that
sentence. Vectors are made of hashed words, so texts that share words are similar, and equal texts are equal.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from multimodal.encoders.colours import dominant_colours
from multimodal.encoders.image import ColourEncoder
from multimodal.errors import InvalidRequest
from multimodal.languages import NAMES
from multimodal.stages import Seen
from multimodal.types import (
    SAMPLE_RATE_HZ,
    Audio,
    GeneratorEmbedding,
    Image,
    ImageFeatures,
    ImageText,
    SpeechHints,
    SpeechPlan,
    SpeechWindow,
    TextEmbeddings,
    TextLine,
    Transcript,
    TranscriptSegment,
    TranscriptWord,
    VideoFeatures,
)

DIMENSIONS = 32
LOGIT_SCALE = 10.0
SPECIAL_TOKENS = 2
WINDOW_S = 30
MARK = b"\x02SAYS\x03"
"""What the bytes of words that a test hides in a medium begin with; a zero byte ends them."""
SILENCE = 1e-3
"""Softer samples are silence to the fake."""


def vector_of(text: str) -> NDArray[np.float32]:
    """(DIMENSIONS,) float32, unit length: the direction of the words' sum, whatever their order and case."""
    words = text.casefold().split() or [""]
    total = np.sum([_word_vector(word) for word in words], axis=0)
    unit: NDArray[np.float32] = (total / np.linalg.norm(total)).astype(np.float32)
    return unit


def _word_vector(word: str) -> NDArray[np.float64]:
    seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:8])
    return np.random.default_rng(seed).standard_normal(DIMENSIONS)


class FakeTextEncoder:
    """A token is a word. Vectors are `vector_of` the text."""

    def count_tokens(self, text: str) -> int:
        """Words and two special tokens."""
        return len(text.split()) + SPECIAL_TOKENS

    def encode(self, texts: Sequence[str]) -> list[TextEmbeddings]:
        """One (1, DIMENSIONS) for each text."""
        return [
            TextEmbeddings(vectors=vector_of(text)[None], tokens=self.count_tokens(text)) for text in texts
        ]


class FakeVision:
    """One row for a picture, one for each scene of a video: its vector. Moments change nothing."""

    def see(self, batch: Sequence[tuple[Seen, Sequence[float]]]) -> list[GeneratorEmbedding]:
        """One for each medium; of decoded media, a row of zeros."""
        return [self.connect(seen) for seen, _ in batch]

    def connect(self, features: Seen) -> GeneratorEmbedding:
        """(1, DIMENSIONS) or (scenes, DIMENSIONS)."""
        if not isinstance(features, ImageFeatures | VideoFeatures):
            return GeneratorEmbedding(rows=np.zeros((1, DIMENSIONS), np.float32))
        seen = [features] if isinstance(features, ImageFeatures) else [one.image for one in features.scenes]
        vectors = [np.zeros(DIMENSIONS, np.float32) if one.vector is None else one.vector for one in seen]
        return GeneratorEmbedding(rows=np.stack(vectors))


class FakeImageEncoder:
    """True size and colours. The vector is that of the main colour's name: a red picture is near "red".
    Without a tower there is no vector."""

    def __init__(self, *, has_tower: bool = True) -> None:
        self._has_tower = has_tower

    def encode(self, images: Sequence[Image]) -> list[ImageFeatures]:
        """Features with a vector (DIMENSIONS,)."""
        found = ColourEncoder().encode(images)
        return [_with_vector(features) for features in found] if self._has_tower else found


def _with_vector(features: ImageFeatures) -> ImageFeatures:
    return replace(features, vector=vector_of(features.colours[0].name), logit_scale=LOGIT_SCALE)


# --- reading -------------------------------------------------------------------------------------


def picture_saying(words: str, width: int = 64, height: int = 48, colour: int = 255) -> NDArray[np.uint8]:
    """(height, width, 3) grey pixels that hold the words, one line for each of theirs, at the top."""
    pixels = np.full((height, width, 3), colour, np.uint8)
    _hide(words, pixels.reshape(-1))
    return pixels


class FakeReader:
    """Reads the words that `picture_saying` hid. In other pictures it reads the main colour, and nothing
    where that is white."""

    def read(self, images: Sequence[Image]) -> list[ImageText]:
        """The hidden lines, stacked from top to bottom."""
        return [ImageText(lines=_stack(_words_in(image))) for image in images]


def _words_in(image: Image) -> list[str]:
    hidden = _find(image.pixels.reshape(-1))
    if hidden is not None:
        return hidden.splitlines()
    colour = dominant_colours(image.pixels)[0].name
    return [] if colour == "white" else [colour]


def _stack(texts: Sequence[str]) -> tuple[TextLine, ...]:
    step = 1 / max(len(texts), 1)
    return tuple(
        TextLine(text=text, confidence=1.0, box=(0.0, i * step, 1.0, (i + 1) * step))
        for i, text in enumerate(texts)
    )


# --- hearing -------------------------------------------------------------------------------------


def sound_saying(words: str, seconds: float = 2.0) -> NDArray[np.float32]:
    """(n,) samples that hold the words and are otherwise a quiet hum."""
    samples = np.full(int(seconds * SAMPLE_RATE_HZ), 128, np.uint8)
    _hide(words, samples)
    # Whole steps of 16-bit sound, far from zero: exact in a wav, and never silence.
    return ((samples.astype(np.float32) + 64) * 64 / 32768).astype(np.float32)


class FakeAudioEncoder:
    """Hears the words that `sound_saying` hid, spread evenly over the sound, in the language it is told, else
    English. In other sound it hears "2.0 seconds of sound", or "2.0 seconds of <prompt>" where there is a
    prompt, and nobody in silence."""

    def plan(self, audio: Audio, hints: SpeechHints) -> SpeechPlan:
        """Windows of WINDOW_S seconds, without those that are silent. Knows Whisper's languages."""
        if hints.language not in (None, *NAMES):
            raise InvalidRequest("This language is not known. Name another one.", param="language")
        size = WINDOW_S * SAMPLE_RATE_HZ
        blocks = [audio.samples[start : start + size] for start in range(0, len(audio.samples), size)]
        return SpeechPlan(
            windows=tuple(
                ((float(i * WINDOW_S), i * WINDOW_S + len(block) / SAMPLE_RATE_HZ),)
                for i, block in enumerate(blocks)
                if np.abs(block).max() > SILENCE
            ),
            language=hints.language or "en",
            duration_s=audio.duration_s,
        )

    def transcribe(self, windows: Sequence[SpeechWindow]) -> list[Transcript]:
        """One segment with words for each window."""
        return [_transcript(window) for window in windows]


def _transcript(window: SpeechWindow) -> Transcript:
    start_s, end_s = window.spans_s[0]
    levels = window.samples * (32768 / 64) - 64
    hidden = _find(np.clip(np.round(levels), 0, 255).astype(np.uint8))
    text = f"{end_s - start_s:.1f} seconds of {window.hints.prompt or 'sound'}" if hidden is None else hidden
    words = text.split()
    times = np.linspace(start_s, end_s, len(words) + 1).tolist()
    segment = TranscriptSegment(
        text=text,
        start_s=start_s,
        end_s=end_s,
        words=tuple(
            TranscriptWord(text=word, start_s=times[i], end_s=times[i + 1], probability=1.0, tokens=(i,))
            for i, word in enumerate(words)
        ),
        log_probability=-0.25,
        no_speech_probability=0.125,
        temperature=window.hints.temperature,
    )
    language = window.hints.language or "en"
    return Transcript(segments=(segment,), language=language, duration_s=end_s - start_s)


# --- hiding words --------------------------------------------------------------------------------


def _hide(words: str, levels: NDArray[np.uint8]) -> None:
    """Write words over the first of some levels. Raises ValueError where there is no room."""
    data = MARK + words.encode() + b"\0"
    if len(data) > len(levels):
        raise ValueError(f"{len(data)} bytes do not fit into {len(levels)}")
    levels[: len(data)] = np.frombuffer(data, np.uint8)


def _find(levels: NDArray[np.uint8]) -> str | None:
    """The words that `_hide` wrote; None where there are none."""
    data = levels.tobytes()
    if not data.startswith(MARK):
        return None
    return data[len(MARK) : data.index(0)].decode()
