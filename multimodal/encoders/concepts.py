"""What a picture shows, in words: the known concepts that its vector is nearest to.

An image tower ends in a vector, and a language model reads words. Between them stands a bank of names whose
text vectors lie in the tower's own space. A picture that is near none of them is not recognised.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from multimodal.errors import ConfigError

if TYPE_CHECKING:
    from numpy.typing import NDArray

CONCEPTS_FILE = "concepts.safetensors"
"""Beside the weights of an image tower: `vectors`, and in its metadata `names` and `known_from`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """Something that a picture may show."""

    name: str
    probability: float
    """Among all names of the bank, in [0, 1]."""


class ConceptBank:
    """Names, and where they lie in the space of an image tower."""

    def __init__(self, names: Sequence[str], vectors: NDArray[np.float32], known_from: float) -> None:
        """`vectors` (names, dimensions), unit length; below the cosine `known_from` nothing is known."""
        self._names, self._vectors, self._known_from = tuple(names), vectors, known_from

    def recognise(self, vector: NDArray[np.float32], scale: float, most: int) -> list[Candidate]:
        """At most so many candidates for a picture's unit vector (dimensions,), likeliest first.

        `scale` multiplies cosines before the softmax. No candidate where the nearest name is too far away.
        """
        if len(vector) != self._vectors.shape[1]:
            raise ConfigError(
                "The bank of names is not in the image tower's space. Take both from one model."
            )
        cosines = self._vectors @ vector
        if cosines.max() < self._known_from:
            return []
        shares = softmax(scale * cosines.astype(np.float64))
        best = np.argsort(-shares, kind="stable")[:most]
        return [Candidate(name=self._names[row], probability=float(shares[row])) for row in best]


def softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n,) exp(logit) as shares of their sum; large logits do not overflow."""
    powers = np.exp(logits - logits.max())
    shares: NDArray[np.float64] = powers / powers.sum()
    return shares


def load_bank(folder: Path) -> ConceptBank:
    """The bank of an image tower's folder. Raises ConfigError where the folder has none, or a damaged one."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(folder / CONCEPTS_FILE, framework="np") as file:
            vectors = file.get_tensor("vectors").astype(np.float32)
            told = file.metadata() or {}
        names: list[str] = json.loads(told["names"])
        known_from = float(told["known_from"])
        if vectors.ndim != 2 or len(names) != len(vectors) or not names:
            raise ValueError("names and vectors differ in number")
    except (OSError, KeyError, TypeError, ValueError, SafetensorError) as error:
        raise ConfigError(
            f"The image tower's folder has no readable {CONCEPTS_FILE}: its pictures cannot be named. "
            "Set vision to null, or take another image.model."
        ) from error
    return ConceptBank(names, vectors, known_from)


def save_bank(folder: Path, names: Sequence[str], vectors: NDArray[np.float32], known_from: float) -> None:
    """Write what `load_bank` reads; vectors in half precision."""
    from safetensors.numpy import save_file

    told = {"names": json.dumps(list(names)), "known_from": repr(known_from)}
    save_file({"vectors": vectors.astype(np.float16)}, folder / CONCEPTS_FILE, metadata=told)
