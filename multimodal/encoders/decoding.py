"""What Whisper makes of sound, and whether it is to be believed: decoding, second attempts, invented words.

Windows of different recordings are decoded together: `Batch` says what they share.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from multimodal.encoders.whisper import (
    HOP_SAMPLES,
    MAX_PROMPT_TOKENS,
    MAX_TOKENS,
    WINDOW_FRAMES,
    Alignment,
    Generated,
    Loaded,
    Storage,
    Tokenizer,
)
from multimodal.types import SAMPLE_RATE_HZ, SpeechWindow

NO_SPEECH_PROBABILITY = 0.6
"""Above it, and below LOG_PROBABILITY, nobody speaks (defaults of Whisper: section 4.5 of the paper)."""
LOG_PROBABILITY = -1.0
"""Mean log-probability of a token, below which a text is not trusted."""
COMPRESSION_RATIO = 2.4
"""Bytes over bytes after zlib, above which a text goes round in circles."""
SPEAKABLE_TOKENS_PER_S = 7.0
"""Nobody speaks faster: very fast English has 5.5. A chorus is slower than this and is left alone, while a
decoder that goes round in circles does so until it has filled its window, 224 tokens for 30 s of sound."""
REPEAT_TOKENS = 5
"""The second attempt at such a text says no run of this many tokens twice."""
LEAST_TEMPERATURE = 0.01
"""Below, the draw is the likeliest token, and dividing by it runs out of float32."""
PROMPT_CHARACTERS = 4000
"""No more of a prompt is looked at: MAX_PROMPT_TOKENS are about 1,000 letters of English."""
MAX_LENGTH = 2 * MAX_TOKENS
"""CTranslate2 keeps half of it for the prompt."""
ONE_STEP = 8
"""Enough for the longest start sequence and a token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """What Whisper made of one window."""

    tokens: list[int]
    text: str
    language: str
    log_probability: float
    no_speech_probability: float
    temperature: float
    is_prompted: bool
    seconds: float
    """Of sound."""

    @property
    def is_trusted(self) -> bool:
        """Whether the words are likely."""
        return self.log_probability >= LOG_PROBABILITY

    @property
    def may_be_silence(self) -> bool:
        """Whether probably nobody speaks."""
        return self.no_speech_probability > NO_SPEECH_PROBABILITY

    @property
    def is_silence(self) -> bool:
        """Whether the words are made up over sound in which nobody speaks."""
        return self.may_be_silence and not self.is_trusted

    @property
    def is_loop(self) -> bool:
        """Whether the text repeats itself as speech does not."""
        is_fast = len(self.tokens) > SPEAKABLE_TOKENS_PER_S * self.seconds
        return is_loop(self.text) and (is_fast or self.is_prompted)


def is_loop(text: str) -> bool:
    """Whether a text goes round in circles."""
    data = text.strip().encode()
    return len(data) / len(zlib.compress(data)) > COMPRESSION_RATIO


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Windows that are decoded at once."""

    features: NDArray[np.float32] = field(repr=False)
    """(windows, n_mels, WINDOW_FRAMES)."""
    encoded: Storage
    seconds: list[float]
    """Of sound in each."""
    languages: list[str]
    prompts: list[list[int]]
    """What comes before each text. CTranslate2 wants all of one length."""
    temperature: float


class Decoder:
    """Turns windows of sound into tokens, and those into times."""

    def __init__(self, model: Loaded, beam_size: int) -> None:
        self._model = model
        self._beam_size = beam_size

    def prompt(self, text: str) -> list[int]:
        """What stands for a client's prompt before a text: its last tokens, as OpenAI's decoding has it.

        Empty for a blank prompt, and for one that goes round in circles, or is a long list of much the same:
        tiny.en was seen to go on with such prompts whatever was said.
        """
        words = text[-PROMPT_CHARACTERS:].strip()
        if not words:
            return []
        tokenizer = self._model.tokenizer("en")
        # With a space in front, as words in the middle of a text have it.
        tokens = self._model.spell(f" {words}")[-MAX_PROMPT_TOKENS:]
        return [] if is_loop(tokenizer.decode(tokens)) else [tokenizer.sot_prev, *tokens]

    def batch(
        self,
        features: NDArray[np.float32],
        windows: Sequence[SpeechWindow],
        prompts: list[list[int]],
    ) -> Batch:
        """Windows of one temperature, with prompts of one length, ready for the decoder."""
        encoded = self._encode(features)
        languages = [window.hints.language for window in windows]
        return Batch(
            features=features,
            encoded=encoded,
            seconds=[len(window.samples) / SAMPLE_RATE_HZ for window in windows],
            languages=self._languages(encoded, languages),
            prompts=prompts,
            temperature=windows[0].hints.temperature,
        )

    def _encode(self, features: NDArray[np.float32]) -> Storage:
        return self._model.whisper.encode(self._model.storage(features))

    def _languages(self, encoded: Storage, wanted: Sequence[str | None]) -> list[str]:
        if not self._model.whisper.is_multilingual:
            return ["en" for _ in wanted]
        if None not in wanted:
            return [language for language in wanted if language is not None]
        rankings = self._model.whisper.detect_language(encoded)
        heard = [ranking[0][0].strip("<|>") for ranking in rankings]
        return [language or detected for language, detected in zip(wanted, heard, strict=True)]

    def attempts(self, batch: Batch) -> list[Attempt]:
        """The text of every window; without tokens where it is not to be believed.

        A prompt makes its words likely over any sound: where probably nobody speaks, the text without the
        prompt counts. A text that goes round in circles is decoded once more, without prompt and repeats.
        """
        attempts = self._decode(batch)
        prompted = [i for i, attempt in enumerate(attempts) if attempt.is_prompted and attempt.may_be_silence]
        for index, attempt in self._again(batch, prompted):
            attempts[index] = attempt
        loops = [i for i, attempt in enumerate(attempts) if attempt.is_loop]
        for index, attempt in self._again(batch, loops, no_repeat=REPEAT_TOKENS):
            is_better = attempt.is_trusted and not attempt.is_loop
            attempts[index] = attempt if is_better else replace(attempt, tokens=[])
        return [replace(attempt, tokens=[]) if attempt.is_silence else attempt for attempt in attempts]

    def _again(
        self, batch: Batch, chosen: Sequence[int], no_repeat: int = 0
    ) -> Iterator[tuple[int, Attempt]]:
        if chosen:
            yield from zip(chosen, self._decode(self._unprompted(batch, chosen), no_repeat), strict=True)

    def _unprompted(self, batch: Batch, chosen: Sequence[int]) -> Batch:
        features = batch.features[chosen]
        return replace(
            batch,
            features=features,
            encoded=self._encode(features),
            seconds=[batch.seconds[index] for index in chosen],
            languages=[batch.languages[index] for index in chosen],
            prompts=[[] for _ in chosen],
        )

    def _decode(self, batch: Batch, no_repeat: int = 0) -> list[Attempt]:
        tokenizers = [self._model.tokenizer(language) for language in batch.languages]
        starts = [[*tokenizer.sot_sequence, tokenizer.no_timestamps] for tokenizer in tokenizers]
        prompted = [[*prompt, *start] for prompt, start in zip(batch.prompts, starts, strict=True)]
        results = self._generate(batch, prompted, MAX_LENGTH, no_repeat)
        # A prompt persuades the model that somebody speaks: one step without it says whether that is so.
        alone = self._generate(batch, starts, ONE_STEP) if any(batch.prompts) else results
        return [
            _attempt(batch, index, tokenizers[index], result, alone[index].no_speech_prob)
            for index, result in enumerate(results)
        ]

    def _generate(
        self, batch: Batch, prompts: list[list[int]], max_length: int, no_repeat: int = 0
    ) -> list[Generated]:
        """Beam search at temperature 0, above it a draw from the whole vocabulary, as OpenAI's decoding."""
        is_drawn = batch.temperature >= LEAST_TEMPERATURE
        return self._model.whisper.generate(
            batch.encoded,
            prompts,
            beam_size=1 if is_drawn else self._beam_size,
            sampling_topk=0 if is_drawn else 1,
            sampling_temperature=batch.temperature if is_drawn else 1.0,
            max_length=max_length,
            no_repeat_ngram_size=no_repeat,
            return_scores=True,
            return_no_speech_prob=True,
        )

    def align(
        self, batch: Batch, attempts: Sequence[Attempt], windows: Sequence[SpeechWindow]
    ) -> list[Alignment | None]:
        """When each token was spoken; None for an attempt without tokens.

        One call for each language, as CTranslate2 takes one start sequence.
        """
        frames = [max(2, min(WINDOW_FRAMES, len(window.samples) // HOP_SAMPLES)) for window in windows]
        aligned: list[Alignment | None] = [None for _ in attempts]
        for language in {attempt.language for attempt in attempts if attempt.tokens}:
            texts = [attempt.tokens if attempt.language == language else [] for attempt in attempts]
            start = self._model.tokenizer(language).sot_sequence
            alignments = self._model.whisper.align(batch.encoded, start, texts, frames)
            for index, alignment in enumerate(alignments):
                if texts[index]:
                    aligned[index] = alignment
        return aligned


def _attempt(
    batch: Batch, index: int, tokenizer: Tokenizer, result: Generated, no_speech_probability: float
) -> Attempt:
    ids = result.sequences_ids[0]
    tokens = [token for token in ids if token < tokenizer.eot]
    text = tokenizer.decode(tokens)
    return Attempt(
        tokens=tokens if text.strip() else [],
        text=text,
        language=batch.languages[index],
        # CTranslate2 divides by the tokens, Whisper counts the end of the text as one more.
        log_probability=result.scores[0] * len(ids) / (len(ids) + 1),
        no_speech_probability=no_speech_probability,
        temperature=batch.temperature,
        is_prompted=bool(batch.prompts[index]),
        seconds=batch.seconds[index],
    )
