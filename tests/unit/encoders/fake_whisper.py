"""A Whisper whose answers are written down beforehand, and which minds what CTranslate2 minds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from multimodal.encoders.whisper import (
    HOP_SAMPLES,
    MAX_TOKENS,
    WINDOW_FRAMES,
    Alignment,
    Generated,
    Loaded,
    Storage,
)
from multimodal.types import SAMPLE_RATE_HZ, SpeechHints, SpeechWindow

EOT = 1000
SOT, NO_TIMESTAMPS, SOT_PREV = 2000, 2001, 2002
LANGUAGES = {"en": 3000, "fr": 3001, "ja": 3002}
WORD_S = 0.5
"""Length of each word that the model hears."""


@dataclass(frozen=True)
class Answer:
    """What the model hears in one window, and what it makes of it with a prompt."""

    text: str
    score: float = -0.2
    no_speech_prob: float = 0.01
    language: str = "en"
    prompted: str | None = None


@dataclass
class Tensor:
    """Features, as the model is given them."""

    array: NDArray[np.float32]

    @property
    def shape(self) -> list[int]:
        return list(self.array.shape)

    def sounds(self) -> list[int]:
        """The level of each window: which answer it stands for."""
        return [round(float(level)) for level in self.array[:, 0, 0]]


@dataclass
class Vocabulary:
    """Words by number; those in Latin letters keep the space in front of them."""

    words: list[str] = field(default_factory=list)

    def encode(self, text: str) -> list[int]:
        tokens = []
        for word in text.split():
            written = f" {word}" if word.isascii() else word
            if written not in self.words:
                self.words.append(written)
            tokens.append(self.words.index(written))
        return tokens


@dataclass
class Tokens:
    """A tokenizer: each word is one token."""

    vocabulary: Vocabulary
    sot_sequence: list[int]
    eot: int = EOT
    no_timestamps: int = NO_TIMESTAMPS
    sot_prev: int = SOT_PREV

    def decode(self, tokens: list[int]) -> str:
        return "".join(self.vocabulary.words[token] for token in tokens if token < EOT)

    def split_to_word_tokens(self, tokens: list[int]) -> tuple[list[str], list[list[int]]]:
        texts = ["" if token == EOT else self.vocabulary.words[token] for token in tokens]
        return texts, [[token] for token in tokens]


@dataclass
class Result:
    sequences_ids: list[list[int]]
    scores: list[float]
    no_speech_prob: float


@dataclass
class Aligned:
    alignments: list[tuple[int, int]]
    text_token_probs: list[float]


@dataclass(frozen=True)
class Call:
    """One batch that was decoded."""

    prompts: list[list[int]]
    beam_size: int
    sampling: tuple[int, float]
    """Top k, where 0 is the whole vocabulary, and temperature."""
    no_repeat: int


@dataclass
class Model:
    """Answers by the level of the sound; a second answer is the one without repeats."""

    answers: Mapping[int, Sequence[Answer]]
    vocabulary: Vocabulary = field(default_factory=Vocabulary)
    is_multilingual: bool = False
    n_mels: int = 2
    generated: list[Call] = field(default_factory=list)
    """Without calls of a single step."""
    aligned: list[tuple[list[int], list[list[int]], list[int]]] = field(default_factory=list)
    detected: int = 0

    def loaded(self) -> Loaded:
        return Loaded(
            whisper=self,
            languages=frozenset(LANGUAGES if self.is_multilingual else ["en"]),
            tokenizer=lambda language: Tokens(self.vocabulary, self.start(language)),
            spell=self.vocabulary.encode,
            mel=lambda samples: np.full((self.n_mels, len(samples) // HOP_SAMPLES), samples[0], np.float32),
            storage=Tensor,
        )

    def start(self, language: str) -> list[int]:
        return [SOT, LANGUAGES[language]] if self.is_multilingual else [SOT]

    def encode(self, features: Storage) -> Storage:
        return features

    def detect_language(self, features: Storage) -> list[list[tuple[str, float]]]:
        assert isinstance(features, Tensor)
        self.detected += 1
        return [[(f"<|{self.answers[sound][0].language}|>", 0.9)] for sound in features.sounds()]

    def generate(
        self,
        features: Storage,
        prompts: list[list[int]],
        *,
        beam_size: int,
        max_length: int,
        no_repeat_ngram_size: int,
        sampling_topk: int,
        sampling_temperature: float,
        return_scores: bool,
        return_no_speech_prob: bool,
    ) -> list[Generated]:
        assert isinstance(features, Tensor)
        assert features.shape == [len(prompts), self.n_mels, WINDOW_FRAMES]
        assert return_scores
        assert return_no_speech_prob
        assert len({prompt.index(SOT) for prompt in prompts}) == 1, "CTranslate2 refuses such a batch"
        # CTranslate2 lets a text have half of max_length, and no more than the prompt leaves.
        room = min(max_length // 2, max_length - max(map(len, prompts)) + 1)
        if room >= 10:
            assert room == MAX_TOKENS
            sampling = (sampling_topk, sampling_temperature)
            self.generated.append(Call(prompts, beam_size, sampling, no_repeat_ngram_size))
        attempt = 1 if no_repeat_ngram_size else 0
        answers = [self.answers[sound][attempt] for sound in features.sounds()]
        return [self._result(*each, room) for each in zip(answers, prompts, strict=True)]

    def _result(self, answer: Answer, prompt: list[int], room: int) -> Generated:
        if SOT_PREV not in prompt:
            tokens = self.vocabulary.encode(answer.text)[:room]
            return Result([tokens], [answer.score], answer.no_speech_prob)
        # A prompt makes the model sure of itself.
        text = answer.text if answer.prompted is None else answer.prompted
        return Result([self.vocabulary.encode(text)[:room]], [-0.1], answer.no_speech_prob / 10)

    def align(
        self,
        features: Storage,
        start_sequence: list[int],
        text_tokens: list[list[int]],
        num_frames: list[int],
    ) -> list[Alignment]:
        self.aligned.append((start_sequence, text_tokens, num_frames))
        positions = round(WORD_S / 0.02)
        return [
            Aligned(
                [(index // positions, index) for index in range((len(tokens) + 1) * positions)],
                [0.9] * len(tokens),
            )
            for tokens in text_tokens
        ]


def model(*answers: Answer | tuple[Answer, Answer], multilingual: bool = False) -> Model:
    """Sound of level n is heard as answer n."""
    numbered = {n: answer if isinstance(answer, tuple) else (answer,) for n, answer in enumerate(answers)}
    return Model(answers=numbered, is_multilingual=multilingual)


def window(level: int, *spans_s: tuple[float, float], hints: SpeechHints | None = None) -> SpeechWindow:
    """Sound of one level; 10 s unless said otherwise."""
    spans_s = spans_s or ((0.0, 10.0),)
    length = round(sum(end - start for start, end in spans_s) * SAMPLE_RATE_HZ)
    samples = np.full(length, level, np.float32)
    return SpeechWindow(samples=samples, spans_s=spans_s, hints=hints or SpeechHints())
