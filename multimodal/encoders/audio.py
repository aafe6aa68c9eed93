"""The model behind AudioEncoder: Silero VAD cuts a recording, Whisper transcribes the pieces.

Windows of different recordings go through Whisper in one batch: every window is padded to the 30 s that
Whisper reads, and carries what is needed to count its times in its own recording.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from multimodal.config import AudioArgs
from multimodal.encoders.speech import WINDOW_S, attach_marks, in_recording, join_parts, pack, segments_of
from multimodal.encoders.whisper import (
    HOP_SAMPLES,
    MAX_TOKENS,
    WINDOW_FRAMES,
    Generated,
    Loaded,
    Storage,
    Tokenizer,
    load_whisper,
    timed_words,
)
from multimodal.types import SAMPLE_RATE_HZ, Audio, SpeechWindow, Transcript, TranscriptWord

NO_SPEECH_PROBABILITY = 0.6
"""Above it, and below LOG_PROBABILITY, nobody speaks (defaults of Whisper: section 4.5 of the paper)."""
LOG_PROBABILITY = -1.0
"""Mean log-probability of a token, below which a text is not trusted."""
COMPRESSION_RATIO = 2.4
"""Bytes over bytes after zlib, above which a text goes round in circles."""
REPEAT_TOKENS = 5
"""The second attempt at such a text says no run of this many tokens twice."""

VAD_BLOCK_S = 300
"""Silero reads a recording block by block: its buffers are larger than the sound itself."""
MIN_SPEECH_MS = 100
MIN_SILENCE_MS = 400
"""Shorter pauses stay in the sound: they are part of speech."""
SPEECH_PAD_MS = 200
"""Sound kept on both sides of a stretch of speech: less loses soft consonants, more blurs the word times."""

UNKNOWN_LANGUAGE = "und"
"""ISO 639-2: undetermined."""
UNSPACED_LANGUAGES = frozenset({"zh", "ja", "th", "lo", "my", "yue"})
"""Languages written without spaces between words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """What Whisper made of one window."""

    tokens: list[int]
    text: str
    language: str
    log_probability: float
    no_speech_probability: float

    @property
    def is_trusted(self) -> bool:
        """Whether the words are likely."""
        return self.log_probability >= LOG_PROBABILITY

    @property
    def is_silent(self) -> bool:
        """Whether the words are made up over sound in which nobody speaks."""
        return self.no_speech_probability > NO_SPEECH_PROBABILITY and not self.is_trusted

    @property
    def is_loop(self) -> bool:
        """Whether the text repeats itself as speech does not."""
        text = self.text.strip().encode()
        return len(text) / len(zlib.compress(text)) > COMPRESSION_RATIO


def speech_spans(samples: NDArray[np.float32]) -> Iterator[tuple[int, int]]:
    """First sample and end of each stretch of speech, by Silero VAD. `samples` is (n,) at SAMPLE_RATE_HZ."""
    from faster_whisper.vad import VadOptions, get_speech_timestamps  # type: ignore[import-untyped]

    options = VadOptions(
        min_speech_duration_ms=MIN_SPEECH_MS,
        min_silence_duration_ms=MIN_SILENCE_MS,
        speech_pad_ms=SPEECH_PAD_MS,
        max_speech_duration_s=WINDOW_S,
    )
    for first in range(0, len(samples), VAD_BLOCK_S * SAMPLE_RATE_HZ):
        block = samples[first : first + VAD_BLOCK_S * SAMPLE_RATE_HZ]
        for span in get_speech_timestamps(block, options):
            yield first + span["start"], first + span["end"]


class WhisperBackend:
    """AudioBackend with Whisper. An English model hears English, a multilingual one detects the language."""

    def __init__(
        self, folder: Path, args: AudioArgs, *, load: Callable[[Path, AudioArgs], Loaded] = load_whisper
    ) -> None:
        self._args = args
        self._model = load(folder, args)

    def cut(self, audio: Audio) -> list[SpeechWindow]:
        """Stretches of speech, joined to windows of at most 30 s; none for silence and noise."""
        return pack(audio.samples, speech_spans(audio.samples))

    def transcribe(self, windows: Sequence[SpeechWindow]) -> list[Transcript]:
        """One transcript for each window, in one batch. The windows may be of different recordings."""
        if not windows:
            return []
        features = self._features(windows)
        encoded = self._encode(features)
        attempts = self._attempts(features, encoded)
        words = self._words(encoded, windows, attempts)
        return [
            Transcript(
                segments=segments_of(in_recording(heard, window.spans_s)),
                language=attempt.language,
                duration_s=len(window.samples) / SAMPLE_RATE_HZ,
            )
            for window, attempt, heard in zip(windows, attempts, words, strict=True)
        ]

    def join(self, audio: Audio, parts: Sequence[Transcript]) -> Transcript:
        """All segments in time order, each once."""
        return join_parts(audio, parts, UNKNOWN_LANGUAGE if self._model.whisper.is_multilingual else "en")

    def _features(self, windows: Sequence[SpeechWindow]) -> NDArray[np.float32]:
        """(windows, n_mels, WINDOW_FRAMES), zero after the end of each window, as OpenAI pads them."""
        features = np.zeros((len(windows), self._model.whisper.n_mels, WINDOW_FRAMES), np.float32)
        for row, window in zip(features, windows, strict=True):
            mel = self._model.mel(window.samples)[:, :WINDOW_FRAMES]
            row[:, : mel.shape[1]] = mel
        return features

    def _encode(self, features: NDArray[np.float32]) -> Storage:
        return self._model.whisper.encode(self._model.storage(features))

    def _attempts(self, features: NDArray[np.float32], encoded: Storage) -> list[Attempt]:
        """Decode every window, and those whose text goes round in circles once more, without repeats."""
        languages = self._languages(encoded, len(features))
        attempts = self._decode(encoded, languages)
        loops = [index for index, attempt in enumerate(attempts) if attempt.is_loop]
        if loops:
            encoded = self._encode(features[loops])
            again = self._decode(encoded, [languages[index] for index in loops], no_repeat=REPEAT_TOKENS)
            for index, attempt in zip(loops, again, strict=True):
                is_better = attempt.is_trusted and not attempt.is_loop
                attempts[index] = attempt if is_better else replace(attempt, tokens=[])
        return [replace(attempt, tokens=[]) if attempt.is_silent else attempt for attempt in attempts]

    def _languages(self, encoded: Storage, count: int) -> list[str]:
        if not self._model.whisper.is_multilingual:
            return ["en"] * count
        return [ranking[0][0].strip("<|>") for ranking in self._model.whisper.detect_language(encoded)]

    def _decode(self, encoded: Storage, languages: Sequence[str], no_repeat: int = 0) -> list[Attempt]:
        tokenizers = [self._model.tokenizer(language) for language in languages]
        prompts = [[*tokenizer.sot_sequence, tokenizer.no_timestamps] for tokenizer in tokenizers]
        results = self._model.whisper.generate(
            encoded,
            prompts,
            beam_size=self._args.beam_size,
            max_length=2 * MAX_TOKENS,  # CTranslate2 keeps half of it for the prompt
            no_repeat_ngram_size=no_repeat,
            return_scores=True,
            return_no_speech_prob=True,
        )
        return [_attempt(*each) for each in zip(results, tokenizers, languages, strict=True)]

    def _words(
        self, encoded: Storage, windows: Sequence[SpeechWindow], attempts: Sequence[Attempt]
    ) -> list[list[TranscriptWord]]:
        """Words of each window, counted in it. One call for each language, as `align` takes one prompt."""
        frames = [max(2, min(WINDOW_FRAMES, len(window.samples) // HOP_SAMPLES)) for window in windows]
        words: list[list[TranscriptWord]] = [[] for _ in attempts]
        for language in {attempt.language for attempt in attempts if attempt.tokens}:
            tokenizer = self._model.tokenizer(language)
            texts = [attempt.tokens if attempt.language == language else [] for attempt in attempts]
            alignments = self._model.whisper.align(encoded, tokenizer.sot_sequence, texts, frames)
            for index, (tokens, alignment) in enumerate(zip(texts, alignments, strict=True)):
                if tokens:
                    heard = timed_words(tokenizer, tokens, alignment)
                    words[index] = attach_marks(heard, spaced=language not in UNSPACED_LANGUAGES)
        return words


def _attempt(result: Generated, tokenizer: Tokenizer, language: str) -> Attempt:
    ids = result.sequences_ids[0]
    tokens = [token for token in ids if token < tokenizer.eot]
    text = tokenizer.decode(tokens)
    return Attempt(
        tokens=tokens if text.strip() else [],
        text=text,
        language=language,
        # CTranslate2 divides by the tokens, Whisper counts the end of the text as one more.
        log_probability=result.scores[0] * len(ids) / (len(ids) + 1),
        no_speech_probability=result.no_speech_prob,
    )
