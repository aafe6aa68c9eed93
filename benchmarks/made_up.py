"""A library that is made up: files, their segments and questions about them, of any size, always the same.

Clusters are what MiniLM makes of short descriptions such as "a rusty bicycle in the harbour". A segment lies
around the one that it is about: its vectors are that centre and Gaussian noise whose spectrum falls off, as
that of sentence vectors does (about 26 effective dimensions). In noise of equal strength in all 384, all
neighbours would be about equally far away, and no index would find the nearest. Questions are other such
descriptions, so they lie where the segments lie, but nothing in the library was made from them.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray

from multimodal.api.auth import LOCAL_TENANT
from multimodal.identity import segment_id
from multimodal.retrieval.types import Scalar, Segment, SegmentFilter, SegmentPart, Vector
from multimodal.types import MediaKind

VERSION = 3
"""Changes whenever the same numbers would give another library."""

LARGE_TENANT = LOCAL_TENANT
"""Whom HTTP serves without keys: the one that is searched."""
LARGE_SHARE = 0.7
SMALL_TENANTS = 8
"""Share the rest."""

KINDS = (MediaKind.IMAGE, MediaKind.DOCUMENT, MediaKind.AUDIO, MediaKind.VIDEO)
KIND_SHARES = (0.4, 0.3, 0.2, 0.1)
PARTS = {
    MediaKind.IMAGE: SegmentPart.PICTURE,
    MediaKind.DOCUMENT: SegmentPart.TEXT,
    MediaKind.AUDIO: SegmentPart.SPEECH,
    MediaKind.VIDEO: SegmentPart.PICTURE,
}
ALBUMS = 4
"""Values of the key `album` in the user metadata, equally often."""

FILE_SEGMENTS = 10
BATCH_FILES = 100
BATCH = FILE_SEGMENTS * BATCH_FILES
"""Segments that are made at once: 6 MB."""

CLUSTERS = 2000
SPREAD = 0.8
"""Length of the noise beside a centre of length 1: a segment's cosine with its centre is about 0.78."""
VOCABULARY = 20_000
NOISE_WORDS = 40
"""At most, of a segment's text, beside its description. How many differs, and with it how much a word counts.
Frequent words are frequent: density falls with rank^(2/3)."""

_SEED = 20_240_501
_FIRST_S = 1_600_000_000
_SYLLABLES = ("ba", "con", "der", "fil", "gor", "lam", "mer", "nu", "pel", "rin", "sto", "tar", "vi", "zen")

LOOKS = (
    *("red", "rusty", "wooden", "broken", "golden", "tiny", "ancient", "wet", "striped", "burning", "frozen"),
    *("empty", "painted", "heavy", "blue", "crowded", "silver", "old", "shiny", "dusty", "green", "folded"),
    *("torn", "round", "white", "hidden", "noisy", "warm", "modern", "plastic"),
)
THINGS = (
    *("bicycle", "invoice", "violin", "helicopter", "sunflower", "kettle", "owl", "bridge", "passport"),
    *("lighthouse", "keyboard", "tractor", "umbrella", "cake", "map", "candle", "horse", "server", "piano"),
    *("ladder", "boat", "contract", "microscope", "guitar", "train", "chair", "camera", "tomato", "clock"),
    *("statue", "tent", "engine", "letter", "dog", "fountain", "rocket", "dress", "window", "drum", "cactus"),
)
PLACES = (
    *("in the harbour", "on a beach", "at the board meeting", "in a museum", "under a tree", "in the snow"),
    *("on the roof", "in the kitchen", "at night", "behind the school", "in a hospital", "at the airport"),
    *("in the desert", "on a table", "near the river", "in the warehouse", "at a wedding", "in the garage"),
    *("on stage", "in the library", "at the market", "in a tunnel", "on the island", "by the fire"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeFile:
    """An uploaded file that never was."""

    id: str
    number: int
    tenant: str
    kind: MediaKind
    metadata: dict[str, Scalar]
    created_s: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is looked for, and where."""

    text: str
    vector: Vector = field(repr=False)
    filter: SegmentFilter


def descriptions() -> list[str]:
    """All that there can be, in an order that has nothing to do with their words. The first CLUSTERS are what
    the library is about."""
    found = [f"a {look} {thing} {place}" for look, thing, place in itertools.product(LOOKS, THINGS, PLACES)]
    random.Random(_SEED).shuffle(found)
    return found


class Library:
    """Batches of segments.

    Args:
        centres: (CLUSTERS, dimensions), unit length: the first descriptions, encoded.
    """

    def __init__(self, centres: NDArray[np.float32]) -> None:
        self._centres = centres
        self._topics = descriptions()[: len(centres)]
        strengths = np.arange(1, centres.shape[1] + 1, dtype=np.float32) ** -0.5
        self._noise = SPREAD * strengths / np.linalg.norm(strengths)

    def segments(self, batch: int) -> list[Segment]:
        """All of one batch; each has both vectors, a text and a perceptual hash."""
        rng = np.random.default_rng((_SEED, batch, 1))
        topics = rng.integers(0, len(self._centres), BATCH)
        pictures, words = self._around(topics, rng), self._around(topics, rng)
        ranks = (VOCABULARY * rng.random((BATCH, NOISE_WORDS)) ** 3).astype(int)
        lengths = rng.integers(0, NOISE_WORDS + 1, BATCH)
        looks = rng.integers(0, 2**64, BATCH, dtype=np.uint64)
        return [
            Segment(
                id=segment_id(file.id, content_hash(file), ordinal),
                tenant=file.tenant,
                file_id=file.id,
                sha256=content_hash(file),
                kind=file.kind,
                part=PARTS[file.kind],
                ordinal=ordinal,
                text=f"{self._topics[topics[row]]} {' '.join(map(pseudo_word, ranks[row][: lengths[row]]))}",
                created_s=file.created_s,
                metadata=file.metadata,
                perceptual_hash=int(looks[row]),
                picture=pictures[row],
                words=words[row],
            )
            for row, (file, ordinal) in enumerate(itertools.product(files(batch), range(FILE_SEGMENTS)))
        ]

    def _around(self, topics: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.float32]:
        noise = rng.standard_normal((len(topics), self._centres.shape[1]), dtype=np.float32)
        rows: NDArray[np.float32] = self._centres[topics] + noise * self._noise
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        return rows


def files(batch: int) -> list[MadeFile]:
    """The files of one batch."""
    rng = np.random.default_rng((_SEED, batch, 0))
    kinds = rng.choice(len(KINDS), BATCH_FILES, p=KIND_SHARES)
    albums = rng.integers(0, ALBUMS, BATCH_FILES)
    small = rng.integers(0, SMALL_TENANTS, BATCH_FILES)
    is_large = rng.random(BATCH_FILES) < LARGE_SHARE
    found = []
    for row in range(BATCH_FILES):
        number = batch * BATCH_FILES + row
        found.append(
            MadeFile(
                id=f"file-{number:032x}",
                number=number,
                tenant=LARGE_TENANT if is_large[row] else f"tenant-{small[row]}",
                kind=KINDS[kinds[row]],
                metadata={"album": album(int(albums[row])), "number": number},
                created_s=_FIRST_S + number,
            )
        )
    return found


def content_hash(file: MadeFile) -> str:
    """SHA-256 of bytes that there are not."""
    return sha256(file.id.encode()).hexdigest()


def album(number: int) -> str:
    """A value of that key."""
    return f"album {number}"


def pseudo_word(rank: int) -> str:
    """The word of this rank; no two share one."""
    rest, word = int(rank), ""
    for _ in range(4):
        rest, syllable = divmod(rest, len(_SYLLABLES))
        word += _SYLLABLES[syllable]
    return word


class Questions:
    """Questions that were not asked before, each with the filter that `filters` draws."""

    def __init__(self, encode: Callable[[Sequence[str]], NDArray[np.float32]], seed: int) -> None:
        self._encode = encode
        self._random = random.Random(seed)
        texts = descriptions()[CLUSTERS:]
        self._random.shuffle(texts)
        self._texts: Iterator[str] = itertools.cycle(texts)

    def draw(self, count: int, make_filter: Callable[[random.Random], SegmentFilter]) -> list[Question]:
        """So many new ones."""
        texts = list(itertools.islice(self._texts, count))
        return [
            Question(text=text, vector=vector, filter=make_filter(self._random))
            for text, vector in zip(texts, self._encode(texts), strict=True)
        ]


def anything(_: random.Random) -> SegmentFilter:
    """All of the tenant's segments."""
    return SegmentFilter()


def of_a_kind(chance: random.Random) -> SegmentFilter:
    """10 to 40 % of them."""
    return SegmentFilter(kinds=(chance.choice(KINDS),))


def in_an_album(chance: random.Random) -> SegmentFilter:
    """2.5 to 10 % of them: by kind and user metadata."""
    wanted = (album(chance.randrange(ALBUMS)),)
    return SegmentFilter(kinds=(chance.choice(KINDS),), equal=(("album", wanted),))
