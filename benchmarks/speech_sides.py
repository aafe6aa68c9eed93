"""What `speech` compares: sides that hear a recording, and the recordings."""

from __future__ import annotations

import random
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray

from benchmarks import limits, made_up
from benchmarks.whisper_weights import openai_model
from multimodal.config import AudioArgs
from multimodal.encoders.audio import WhisperBackend
from multimodal.encoders.speech import window_of
from multimodal.hearing import join
from multimodal.types import SAMPLE_RATE_HZ, Audio, SpeechHints

if TYPE_CHECKING:
    import torch

Samples = NDArray[np.float32]
Hears = Callable[[Samples], str]

HINTS = SpeechHints()
OURS, SAME_SEARCH, DEFAULTS = "ours", "library", "library, greedy"
SIDES = (OURS, SAME_SEARCH, DEFAULTS)

VOICES = ("en-us", "en-gb", "en-us+f3", "en-us+m3", "en-gb+f2")
WORDS_PER_MINUTE = (130, 170)
SENTENCES_PER_S = 0.27
"""About what espeak-ng says at such speeds."""

FRAMES = (
    *("We looked for {} all morning.", "My sister told me about {}.", "I have never seen {} before."),
    *("They wanted to sell {}.", "The children were afraid of {}.", "Please tell him that I found {}."),
    *("Nobody could explain {}.", "Her story begins with {}.", "She took a picture of {}."),
    *("The old man remembered {}.", "Our neighbours complain about {}.", "Last year they lost {}."),
    *("You should write about {}.", "He asked the police to remove {}.", "Someone had forgotten {}."),
    *("Is it true that they bought {}?", "The report mentions {}.", "Why would anyone paint {}?"),
)
"""Sentences with little in common: of one that is heard wrong each time, chance decides by the recording."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """A synthetic voice, and what it says."""

    text: str
    samples: Samples = field(repr=False)
    """(n,) at SAMPLE_RATE_HZ."""

    @property
    def seconds(self) -> float:
        """Of sound."""
        return len(self.samples) / SAMPLE_RATE_HZ


def recordings(seconds: float, seed: int) -> Iterator[Recording]:
    """Different ones without end, of about so many seconds. RuntimeError without espeak-ng or ffmpeg."""
    from whisper.audio import load_audio  # type: ignore[import-untyped]

    chance, phrases = random.Random(seed), made_up.descriptions()
    while True:
        chosen = chance.sample(phrases, round(seconds * SENTENCES_PER_S))
        text = " ".join(chance.choice(FRAMES).format(phrase) for phrase in chosen)
        voice = ["-v", chance.choice(VOICES), "-s", str(chance.randint(*WORDS_PER_MINUTE))]
        with TemporaryDirectory() as folder:
            path = Path(folder, "speech.wav")
            try:
                subprocess.run(["espeak-ng", *voice, "-w", str(path), text], check=True)
                yield Recording(text=text, samples=load_audio(str(path)))
            except FileNotFoundError as error:
                raise RuntimeError("This benchmark needs espeak-ng and ffmpeg.") from error


class Ours:
    """What AudioEncoder does with one recording: speech is looked for, cut into windows, heard and timed."""

    def __init__(self, folder: Path, args: AudioArgs) -> None:
        self._backend = WhisperBackend(folder, args)
        self._batch_windows = args.batch_windows

    def __call__(self, samples: Samples) -> str:
        audio = _audio(samples)
        plan = self._backend.plan(audio, HINTS)
        windows = [window_of(audio, spans, HINTS) for spans in plan.windows]
        batches = range(0, len(windows), self._batch_windows)
        heard = [
            part
            for first in batches
            for part in self._backend.transcribe(windows[first : first + self._batch_windows])
        ]
        return " ".join(segment.text for segment in join(plan, heard).segments)

    def whole(self, samples: Samples) -> str:
        """30 s at most as they are, in one window."""
        audio = _audio(samples)
        (heard,) = self._backend.transcribe([window_of(audio, ((0.0, audio.duration_s),), HINTS)])
        return heard.text


def _audio(samples: Samples) -> Audio:
    return Audio(sha256="", samples=samples, duration_s=len(samples) / SAMPLE_RATE_HZ, format="wav")


class Library:
    """openai-whisper's `transcribe`, in float32. It gives times of segments, not of words."""

    def __init__(self, folder: Path) -> None:
        self._model = openai_model(folder)

    def greedy(self, samples: Samples) -> str:
        """As it is by default."""
        return self._transcribe(samples, None)

    def with_beams(self, samples: Samples, beams: int) -> str:
        """With as many hypotheses as ours."""
        return self._transcribe(samples, beams)

    def whole(self, samples: Samples, beams: int) -> str:
        """30 s at most as they are, without times, as `Ours.whole` hears them."""
        from whisper import DecodingOptions, decode  # type: ignore[import-untyped]
        from whisper.audio import N_FRAMES, log_mel_spectrogram, pad_or_trim

        mel = pad_or_trim(log_mel_spectrogram(samples), N_FRAMES)
        options = DecodingOptions(language="en", beam_size=beams, without_timestamps=True, fp16=False)
        return cast(str, decode(self._model, mel, options).text)

    def _transcribe(self, samples: Samples, beams: int | None) -> str:
        found = self._model.transcribe(samples, fp16=False, language="en", beam_size=beams)
        return cast("dict[str, str]", found)["text"]

    def flops(self, tokens: int) -> tuple[int, int]:
        """Of one window: the encoder's, and the decoder's for one hypothesis of so many tokens."""
        import torch

        dims = self._model.dims
        mel = torch.zeros(1, dims.n_mels, 2 * dims.n_audio_ctx)
        sound = torch.zeros(1, dims.n_audio_ctx, dims.n_audio_state)
        text = torch.zeros(1, tokens, dtype=torch.long)
        encoder = cast("torch.nn.Module", self._model.encoder)
        decoder = cast("torch.nn.Module", self._model.decoder)
        return limits.flops(lambda: encoder(mel)), limits.flops(lambda: decoder(text, sound))


def sides(folder: Path, args: AudioArgs, library: Library) -> Mapping[str, Hears]:
    """All of them, by name."""
    return {
        OURS: Ours(folder, args),
        SAME_SEARCH: lambda samples: library.with_beams(samples, args.beam_size),
        DEFAULTS: library.greedy,
    }
