"""The caption bank: every text that a picture may be compared with, and its vector from the text tower."""

from __future__ import annotations

import hashlib
import math
import os
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

from multimodal.training.captions import TEMPLATES, with_article
from multimodal.training.concepts import Concept

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float32]
    Halves = npt.NDArray[np.float16]
    Encode = Callable[[Sequence[str]], Floats]

LABEL_SHARE, TEMPLATE_SHARE, NAME_SHARE, TAG_SHARE, KIND_SHARE = 0.3, 0.2, 0.2, 0.2, 0.1
"""How a picture's target is divided among the texts of its concept."""
TEMPLATES_EACH = 3


@dataclass(frozen=True, slots=True)
class Bank:
    """Unique texts, and for each concept which of them are true of it and how much they count."""

    texts: tuple[str, ...]
    rows: tuple[npt.NDArray[np.int64], ...]
    """For each concept: indices into `texts`."""
    shares: tuple[Floats, ...]
    """For each concept: weights of those, which sum to one."""


def make_bank(concepts: Sequence[Concept], seed: int) -> Bank:
    """The bank of these concepts, the same for the same arguments."""
    used = Counter(tag for concept in concepts for tag in set(concept.tags))
    rng = random.Random(seed)
    index: dict[str, int] = {}
    rows, shares = [], []
    for concept in concepts:
        weighed = _texts_of(concept, used, rng)
        rows.append(np.array([index.setdefault(text, len(index)) for text in weighed], np.int64))
        weights = np.array(list(weighed.values()), np.float32)
        shares.append(weights / weights.sum())
    return Bank(tuple(index), tuple(rows), tuple(shares))


def _texts_of(concept: Concept, used: Counter[str], rng: random.Random) -> dict[str, float]:
    """Text to weight, not normalised. Tags that many concepts share count for less."""
    noun = with_article(concept.label)
    templates = [template.format(a=noun) for template in rng.sample(TEMPLATES, TEMPLATES_EACH)]
    kinds = [*concept.kinds, *(f"{concept.label}, {with_article(kind)}" for kind in concept.kinds[:1])]
    tags = {tag: 1 / math.sqrt(used[tag]) for tag in concept.tags if tag != concept.label}
    total = sum(tags.values())
    found: dict[str, float] = {concept.label: LABEL_SHARE}
    for group, share in ((templates, TEMPLATE_SHARE), (concept.names, NAME_SHARE), (kinds, KIND_SHARE)):
        for text in group:
            found[text] = found.get(text, 0) + share / len(group)
    for tag, weight in tags.items():
        found[tag] = found.get(tag, 0) + TAG_SHARE * weight / total
    return found


def encoder(folder: Path, threads_batch: int = 256) -> Encode:
    """Unit vectors (n, 384) float32 of texts, by the product's own text tower."""
    import torch

    from multimodal.encoders.text_tower import load_tower

    tower, tokens = load_tower(folder)

    def encode(texts: Sequence[str]) -> Floats:
        order = sorted(range(len(texts)), key=lambda one: len(texts[one]))
        found = np.zeros((len(texts), 384), np.float32)
        with torch.inference_mode():
            for start in range(0, len(order), threads_batch):
                part = order[start : start + threads_batch]
                vectors = tower(tokens.ids([texts[one] for one in part])).float()
                found[part] = torch.nn.functional.normalize(vectors, dim=-1).numpy()
        return found

    return encode


def encode_cached(texts: Sequence[str], folder: Path, encode: Encode) -> Halves:
    """(n, 384) float16, kept in `folder` under the hash of the texts."""
    digest = hashlib.sha256("\n".join(texts).encode()).hexdigest()[:16]
    path = folder / f"texts-{digest}.npy"
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial.npy")
        np.save(partial, encode(texts).astype(np.float16))
        os.replace(partial, path)
    return cast("Halves", np.load(path))
