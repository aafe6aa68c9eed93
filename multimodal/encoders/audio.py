"""The model behind AudioEncoder: Silero VAD finds the speech, Whisper transcribes it window by window.

Windows of different recordings go through Whisper in one batch: every window is padded to the 30 s that
Whisper reads, and carries what is needed to count its times in its own recording.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from multimodal.config import AudioArgs
from multimodal.encoders.decoding import Attempt, Decoder
from multimodal.encoders.speech import WINDOW_S, attach_marks, in_recording, pack, segments_of
from multimodal.encoders.whisper import WINDOW_FRAMES, Alignment, Loaded, load_whisper, timed_words
from multimodal.errors import InvalidRequest
from multimodal.languages import UNKNOWN, UNSPACED
from multimodal.types import (
    SAMPLE_RATE_HZ,
    Audio,
    SpeechHints,
    SpeechPlan,
    SpeechWindow,
    Transcript,
    TranscriptSegment,
)

VAD_BLOCK_S = 300
"""Silero reads a recording block by block: its buffers are larger than the sound itself."""
MIN_SPEECH_MS = 100
MIN_SILENCE_MS = 1000
"""Shorter pauses stay in the sound: they tell Whisper where sentences end. Longer ones go, as words beside
them would get times inside of them."""
SPEECH_PAD_MS = 400
"""Sound kept on both sides of a stretch of speech. With half of it, and pauses from 0.4 s on taken out,
11.7 % of the words of 26 recordings of `python -m benchmarks.speech` were heard wrong; as it is, 8.8 %."""


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
        self._model = load(folder, args)
        self._decoder = Decoder(self._model, args.beam_size)

    def plan(self, audio: Audio, hints: SpeechHints) -> SpeechPlan:
        """Stretches of speech, in windows of at most 30 s; none for silence and noise."""
        self._check_language(hints.language)
        unheard = UNKNOWN if self._model.whisper.is_multilingual else "en"
        return SpeechPlan(
            windows=pack(speech_spans(audio.samples)),
            language=hints.language or unheard,
            duration_s=audio.duration_s,
        )

    def _check_language(self, language: str | None) -> None:
        if language is None or language in self._model.languages:
            return
        if not self._model.whisper.is_multilingual:
            raise InvalidRequest(
                'The speech model knows English only: leave language out, or set it to "en".',
                param="language",
            )
        raise InvalidRequest(
            "The speech model does not know this language: leave language out to have it detected, "
            "or set it to another ISO 639-1 code.",
            param="language",
        )

    def transcribe(self, windows: Sequence[SpeechWindow]) -> list[Transcript]:
        """One transcript for each window. The windows may be of different recordings with different hints.

        Those with the same temperature and with prompts of the same length go through the model at once.
        """
        prompts = [self._decoder.prompt(window.hints.prompt) for window in windows]
        groups: dict[tuple[float, int], list[int]] = {}
        for index, (window, prompt) in enumerate(zip(windows, prompts, strict=True)):
            groups.setdefault((window.hints.temperature, len(prompt)), []).append(index)
        heard: dict[int, Transcript] = {}
        for group in groups.values():
            parts = self._transcribe([windows[i] for i in group], [prompts[i] for i in group])
            heard.update(zip(group, parts, strict=True))
        return [heard[index] for index in range(len(windows))]

    def _transcribe(self, windows: Sequence[SpeechWindow], prompts: list[list[int]]) -> list[Transcript]:
        batch = self._decoder.batch(self._features(windows), windows, prompts)
        attempts = self._decoder.attempts(batch)
        alignments = self._decoder.align(batch, attempts, windows)
        return list(map(self._transcript, windows, attempts, alignments))

    def _features(self, windows: Sequence[SpeechWindow]) -> NDArray[np.float32]:
        """(windows, n_mels, WINDOW_FRAMES), zero after the end of each window, as OpenAI pads them."""
        features = np.zeros((len(windows), self._model.whisper.n_mels, WINDOW_FRAMES), np.float32)
        for row, window in zip(features, windows, strict=True):
            mel = self._model.mel(window.samples)[:, :WINDOW_FRAMES]
            row[:, : mel.shape[1]] = mel
        return features

    def _transcript(self, window: SpeechWindow, attempt: Attempt, alignment: Alignment | None) -> Transcript:
        return Transcript(
            segments=() if alignment is None else self._segments(window, attempt, alignment),
            language=attempt.language,
            duration_s=len(window.samples) / SAMPLE_RATE_HZ,
        )

    def _segments(
        self, window: SpeechWindow, attempt: Attempt, alignment: Alignment
    ) -> tuple[TranscriptSegment, ...]:
        words = timed_words(self._model.tokenizer(attempt.language), attempt.tokens, alignment)
        words = attach_marks(words, spaced=attempt.language not in UNSPACED)
        return tuple(
            replace(
                segment,
                log_probability=attempt.log_probability,
                no_speech_probability=attempt.no_speech_probability,
                temperature=attempt.temperature,
            )
            for segment in segments_of(in_recording(words, window.spans_s))
        )
