"""WhisperBackend over a model whose answers are written down beforehand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from multimodal.config import AudioArgs
from multimodal.encoders.audio import WhisperBackend
from multimodal.encoders.whisper import (
    HOP_SAMPLES,
    MAX_TOKENS,
    WINDOW_FRAMES,
    Alignment,
    Generated,
    Loaded,
    Storage,
    load_whisper,
)
from multimodal.errors import ConfigError
from multimodal.types import SAMPLE_RATE_HZ, Audio, SpeechWindow, Transcript

EOT = 1000
SOT = 2000
NO_TIMESTAMPS = 2001
LANGUAGES = {"en": 3000, "fr": 3001, "ja": 3002}
WORD_S = 0.5
"""Length of each word that the model hears."""


@dataclass(frozen=True)
class Answer:
    """What the model hears in one window."""

    text: str
    score: float = -0.2
    no_speech_prob: float = 0.01
    language: str = "en"


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


@dataclass
class Model:
    """Answers by the level of the sound; a second answer is the one without repeats."""

    answers: Mapping[int, Sequence[Answer]]
    vocabulary: Vocabulary
    is_multilingual: bool = False
    n_mels: int = 2
    generated: list[tuple[list[list[int]], int]] = field(default_factory=list)
    aligned: list[tuple[list[int], list[list[int]], list[int]]] = field(default_factory=list)

    def encode(self, features: Storage) -> Storage:
        return features

    def detect_language(self, features: Storage) -> list[list[tuple[str, float]]]:
        assert isinstance(features, Tensor)
        return [[(f"<|{self.answers[sound][0].language}|>", 0.9)] for sound in features.sounds()]

    def generate(
        self,
        features: Storage,
        prompts: list[list[int]],
        *,
        beam_size: int,
        max_length: int,
        no_repeat_ngram_size: int,
        return_scores: bool,
        return_no_speech_prob: bool,
    ) -> list[Generated]:
        assert isinstance(features, Tensor)
        assert features.shape == [len(prompts), self.n_mels, WINDOW_FRAMES]
        # CTranslate2 lets a text have half of max_length.
        assert max_length // 2 == MAX_TOKENS
        assert beam_size == 3
        assert return_scores
        assert return_no_speech_prob
        self.generated.append((prompts, no_repeat_ngram_size))
        attempt = 1 if no_repeat_ngram_size else 0
        answers = [self.answers[sound][attempt] for sound in features.sounds()]
        return [self._result(answer) for answer in answers]

    def _result(self, answer: Answer) -> Generated:
        tokens = self.vocabulary.encode(answer.text)
        return Result([tokens], [answer.score], answer.no_speech_prob)

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


def backend(model: Model) -> WhisperBackend:
    def prompt(language: str) -> list[int]:
        return [SOT, LANGUAGES[language]] if model.is_multilingual else [SOT]

    loaded = Loaded(
        whisper=model,
        tokenizer=lambda language: Tokens(model.vocabulary, prompt(language)),
        mel=lambda samples: np.full((model.n_mels, len(samples) // HOP_SAMPLES), samples[0], np.float32),
        storage=Tensor,
    )
    return WhisperBackend(Path("unused"), AudioArgs(beam_size=3), load=lambda folder, args: loaded)


def model(*answers: Answer | tuple[Answer, Answer], multilingual: bool = False) -> Model:
    """Sound of level n is heard as answer n."""
    numbered = {n: answer if isinstance(answer, tuple) else (answer,) for n, answer in enumerate(answers)}
    return Model(answers=numbered, vocabulary=Vocabulary(), is_multilingual=multilingual)


def window(level: int, *spans_s: tuple[float, float]) -> SpeechWindow:
    spans_s = spans_s or ((0.0, 10.0),)
    length = round(sum(end - start for start, end in spans_s) * SAMPLE_RATE_HZ)
    return SpeechWindow(samples=np.full(length, level, np.float32), spans_s=spans_s)


def texts(transcripts: Sequence[Transcript]) -> list[str]:
    return [transcript.text for transcript in transcripts]


def test_windows_of_different_recordings_go_through_the_model_at_once() -> None:
    whisper = model(Answer("hello there."), Answer("good bye."))
    heard = backend(whisper).transcribe([window(1), window(0), window(1)])
    assert texts(heard) == ["good bye.", "hello there.", "good bye."]
    assert len(whisper.generated) == len(whisper.aligned) == 1


def test_words_have_times_of_the_recording() -> None:
    whisper = model(Answer("one two three four"))
    (heard,) = backend(whisper).transcribe([window(0, (10.0, 11.0), (20.0, 22.0))])
    words = [word for segment in heard.segments for word in segment.words]
    assert [(word.text, word.start_s, word.end_s) for word in words] == [
        ("one", 10.0, 10.5),
        ("two", 10.5, 11.0),
        ("three", 20.0, 20.5),
        ("four", 20.5, 21.0),
    ]
    assert words[0].probability == pytest.approx(0.9)
    assert [segment.text for segment in heard.segments] == ["one two", "three four"]


def test_words_are_looked_for_in_the_sound_of_the_window_alone() -> None:
    whisper = model(Answer("one"))
    backend(whisper).transcribe([window(0, (0.0, 30.0)), window(0, (5.0, 6.0)), window(0, (0.0, 0.005))])
    assert [frames for _, _, frames in whisper.aligned] == [[3000, 100, 2]]


def test_nothing_to_transcribe_does_not_call_the_model() -> None:
    whisper = model()
    assert backend(whisper).transcribe([]) == []
    assert whisper.generated == []


# --- invented words ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("score", "no_speech_prob", "heard"),
    [(-2.0, 0.9, ""), (-2.0, 0.1, "Thank you."), (-0.2, 0.9, "Thank you."), (-0.2, 0.1, "Thank you.")],
)
def test_unlikely_words_where_probably_nobody_speaks_are_dropped(
    score: float, no_speech_prob: float, heard: str
) -> None:
    whisper = model(Answer("Thank you.", score, no_speech_prob), Answer("Real words."))
    assert texts(backend(whisper).transcribe([window(0), window(1)])) == [heard, "Real words."]


LOOP = Answer("I do not know. " * 20)


def test_a_text_that_goes_round_in_circles_is_decoded_again_without_repeats() -> None:
    whisper = model(Answer("first."), (LOOP, Answer("I do not know.")), Answer("last."))
    heard = backend(whisper).transcribe([window(0), window(1), window(2)])
    assert texts(heard) == ["first.", "I do not know.", "last."]
    prompts, no_repeat = whisper.generated[1]
    assert (len(prompts), no_repeat > 0) == (1, True)


@pytest.mark.parametrize("again", [LOOP, Answer("zebra piano", score=-3.0)])
def test_a_text_that_cannot_be_had_without_repeats_is_dropped(again: Answer) -> None:
    whisper = model((LOOP, again), Answer("Real words."))
    assert texts(backend(whisper).transcribe([window(0), window(1)])) == ["", "Real words."]


def test_blank_text_is_no_segment() -> None:
    (heard,) = backend(model(Answer(""))).transcribe([window(0)])
    assert heard.segments == ()


# --- languages ---------------------------------------------------------------------------------


def test_an_english_model_is_prompted_without_a_language() -> None:
    whisper = model(Answer("hello"))
    (heard,) = backend(whisper).transcribe([window(0)])
    assert heard.language == "en"
    assert whisper.generated[0][0] == [[SOT, NO_TIMESTAMPS]]


def test_a_multilingual_model_hears_each_window_in_its_own_language() -> None:
    whisper = model(Answer("bonjour", language="fr"), Answer("hello", language="en"), multilingual=True)
    heard = backend(whisper).transcribe([window(0), window(1), window(0)])
    assert [(each.language, each.text) for each in heard] == [
        ("fr", "bonjour"),
        ("en", "hello"),
        ("fr", "bonjour"),
    ]
    french, english = ([SOT, LANGUAGES[code], NO_TIMESTAMPS] for code in ("fr", "en"))
    assert [prompts for prompts, _ in whisper.generated] == [[french, english, french]]
    assert sorted(start for start, _, _ in whisper.aligned) == [[SOT, 3000], [SOT, 3001]]


def test_words_of_a_language_without_spaces_stay_apart() -> None:
    whisper = model(Answer("今日 は", language="ja"), multilingual=True)
    (heard,) = backend(whisper).transcribe([window(0)])
    assert [word.text for segment in heard.segments for word in segment.words] == ["今日", "は"]


@pytest.mark.parametrize(("multilingual", "language"), [(False, "en"), (True, "und")])
def test_a_recording_without_speech_has_an_empty_transcript(multilingual: bool, language: str) -> None:
    recording = Audio(sha256="s", samples=np.zeros(0, np.float32), duration_s=3.0, format="wav")
    whole = backend(model(multilingual=multilingual)).join(recording, [])
    assert whole == Transcript(segments=(), language=language, duration_s=3.0)


# --- loading -----------------------------------------------------------------------------------


def test_a_folder_without_a_model_is_a_configuration_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"model\.bin") as error:
        load_whisper(tmp_path, AudioArgs())
    assert str(tmp_path) not in error.value.message


def test_a_broken_model_is_a_configuration_error(tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(b"not a model")
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ConfigError, match="cannot run") as error:
        load_whisper(tmp_path, AudioArgs())
    assert str(tmp_path) not in error.value.message
