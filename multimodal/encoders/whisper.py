"""Whisper in memory: the typed part of CTranslate2 and faster-whisper that `audio.py` works with.

Only the two packages' stable parts are used: CTranslate2's documented model class, and faster-whisper's mel
front end and word splitter. Neither package is typed, hence the protocols.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from multimodal.config import AudioArgs
from multimodal.errors import ConfigError
from multimodal.languages import NAMES
from multimodal.types import TranscriptWord

if TYPE_CHECKING:
    from tokenizers import Tokenizer as Vocabulary

WINDOW_FRAMES = 3000
"""Mel frames that Whisper reads at once: 30 s (Radford et al. 2022, section 2.2)."""
HOP_SAMPLES = 160
"""Samples from one mel frame to the next: 10 ms."""
POSITION_S = 0.02
"""Sound behind one position of the encoder: two mel frames."""
MAX_TOKENS = 224
"""Longest text of a window: half of the decoder's context, as in OpenAI's own decoding."""
MAX_PROMPT_TOKENS = MAX_TOKENS - 5
"""Longest prompt: the other half without <|startofprev|> and the start sequence, so that both are whole."""


class Storage(Protocol):
    """A tensor of CTranslate2."""

    @property
    def shape(self) -> list[int]: ...


class Generated(Protocol):
    """What the decoder made of one window."""

    @property
    def sequences_ids(self) -> list[list[int]]: ...

    @property
    def scores(self) -> list[float]: ...

    @property
    def no_speech_prob(self) -> float: ...


class Alignment(Protocol):
    """At which position of the encoder each token was spoken."""

    @property
    def alignments(self) -> list[tuple[int, int]]: ...

    @property
    def text_token_probs(self) -> list[float]: ...


class Whisper(Protocol):
    """The part of `ctranslate2.models.Whisper` that is used."""

    @property
    def is_multilingual(self) -> bool: ...

    @property
    def n_mels(self) -> int: ...

    def encode(self, features: Storage) -> Storage: ...

    def detect_language(self, features: Storage) -> list[list[tuple[str, float]]]: ...

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
    ) -> list[Generated]: ...

    def align(
        self,
        features: Storage,
        start_sequence: list[int],
        text_tokens: list[list[int]],
        num_frames: list[int],
    ) -> list[Alignment]: ...


class Tokenizer(Protocol):
    """The part of `faster_whisper.tokenizer.Tokenizer` that is used."""

    @property
    def eot(self) -> int: ...

    @property
    def no_timestamps(self) -> int: ...

    @property
    def sot_prev(self) -> int: ...

    @property
    def sot_sequence(self) -> list[int]: ...

    def decode(self, tokens: list[int]) -> str: ...

    def split_to_word_tokens(self, tokens: list[int]) -> tuple[list[str], list[list[int]]]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """A Whisper model and what stands around it."""

    whisper: Whisper
    languages: frozenset[str]
    """Codes of those that the model hears."""
    tokenizer: Callable[[str], Tokenizer]
    """Of a language, by its code."""
    spell: Callable[[str], list[int]]
    """Tokens of a text; what looks like a control token in it is spelt out."""
    mel: Callable[[NDArray[np.float32]], NDArray[np.float32]]
    """(n,) samples to (n_mels, n // HOP_SAMPLES) log-mel features."""
    storage: Callable[[NDArray[np.float32]], Storage]


def load_whisper(folder: Path, args: AudioArgs) -> Loaded:
    """Open a model in CTranslate2's format (with `tokenizer.json`). Nothing is fetched.

    Raises ConfigError where the folder holds no such model, or the device cannot run it.
    """
    import ctranslate2  # type: ignore[import-untyped]
    from faster_whisper.feature_extractor import FeatureExtractor  # type: ignore[import-untyped]
    from faster_whisper.tokenizer import Tokenizer as WhisperTokenizer  # type: ignore[import-untyped]
    from tokenizers import Tokenizer as Vocabulary

    if not all((folder / name).is_file() for name in ("model.bin", "tokenizer.json")):
        raise ConfigError(
            "The audio model is not a Whisper model of CTranslate2: model.bin or tokenizer.json is missing."
        )
    try:
        whisper = ctranslate2.models.Whisper(
            str(folder), device=args.device, compute_type=args.compute_type, intra_threads=args.threads
        )
    except (RuntimeError, ValueError) as error:
        raise ConfigError(
            f"The audio model cannot run on device {args.device!r} with compute type {args.compute_type!r}: "
            "check model, device and compute_type under audio."
        ) from error
    vocabulary = Vocabulary.from_file(str(folder / "tokenizer.json"))
    extractor = FeatureExtractor(feature_size=whisper.n_mels)
    return Loaded(
        whisper=cast(Whisper, whisper),
        languages=languages_of(vocabulary) if whisper.is_multilingual else frozenset({"en"}),
        tokenizer=lambda language: cast(
            Tokenizer, WhisperTokenizer(vocabulary, whisper.is_multilingual, "transcribe", language)
        ),
        spell=lambda text: spell(vocabulary, text),
        mel=lambda samples: cast(NDArray[np.float32], extractor(samples)[:, :-1]),
        storage=lambda array: cast(Storage, ctranslate2.StorageView.from_array(array)),
    )


def languages_of(vocabulary: Vocabulary) -> frozenset[str]:
    """Languages that a multilingual model has a token for."""
    return frozenset(code for code in NAMES if vocabulary.token_to_id(f"<|{code}|>") is not None)


def spell(vocabulary: Vocabulary, text: str) -> list[int]:
    """Tokens of a text. Control tokens are not looked for: "<|endoftext|>" is spelt out like any other word.

    Half of a surrogate pair, which has no spelling, becomes a question mark.
    """
    readable = text.encode("utf-8", "replace").decode()
    pieces = vocabulary.pre_tokenizer.pre_tokenize_str(readable)
    return [token.id for piece, _ in pieces for token in vocabulary.model.tokenize(piece)]


def timed_words(tokenizer: Tokenizer, tokens: list[int], alignment: Alignment) -> list[TranscriptWord]:
    """The words of a text with their times in the window. Texts keep the space in front of them."""
    first: dict[int, int] = {}
    for token, position in alignment.alignments:
        first.setdefault(token, position)
    texts, groups = tokenizer.split_to_word_tokens([*tokens, tokenizer.eot])
    edges = accumulate((len(group) for group in groups[:-1]), initial=0)
    return [
        TranscriptWord(
            text=text,
            start_s=first[start] * POSITION_S,
            end_s=first[end] * POSITION_S,
            probability=float(np.mean(alignment.text_token_probs[start:end])),
            tokens=tuple(tokens[start:end]),
        )
        for text, (start, end) in zip(texts[:-1], pairwise(edges), strict=True)
    ]
