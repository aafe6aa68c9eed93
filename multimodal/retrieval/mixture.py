"""Parts of a query as vectors, and several of them as one query for each space.

Where texts and pictures share a space, a mixture is one vector: the sum of its parts' unit vectors by their
weights, brought to unit length. Its cosine with a segment is the weighted sum of the parts' cosines with it,
divided by a number that is the same for all segments: the order is exactly that of their weighted mean.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from multimodal.config import ImageArgs
from multimodal.embedding import SEEN, apart, mean_direction
from multimodal.errors import InvalidRequest
from multimodal.retrieval.types import Segment, SpaceQuery, Vector, VectorName
from multimodal.types import MediaKind

CANCELLED = 1e-4
"""Length of a mixture, as a share of its weights, below which its direction is that of rounding errors."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Direction:
    """What one part of a query looks for."""

    vectors: Mapping[VectorName, Vector] = field(repr=False)
    """At least one, by the space it belongs to. Where all lie in one space, only the first counts."""
    param: str
    """Where the part stood in the request."""
    weight: float = 1.0
    """In [-1, 1], not 0; negative: away from it."""
    tokens: int = 0
    """That were read for it."""


def spaces_of(
    directions: Sequence[Direction], image: ImageArgs, weight: float, param: str, gain: float = 1.0
) -> tuple[SpaceQuery, ...]:
    """One query for each space that the directions are in; `param` is that of all of them.

    In a space of texts and pictures, cosines across the two count `gain` times (`cross_modal_gain`), as far
    as the query is of the other kind.

    Where the spaces are different ones, that with the largest sum of positive weights has `weight`, and the
    others less in proportion. Raises InvalidRequest for directions that cancel each other out, for one that
    only leads away from something in a space, and where vectors of different spaces meet.
    """
    if image.space == "own":
        return _by_space(directions, weight, param)
    names = (VectorName.WORDS,) if image.model is None else (VectorName.PICTURE, VectorName.WORDS)
    vectors = [next(iter(one.vectors.values())) for one in directions]
    gains = tuple(1 + (gain - 1) * _share_of_others(directions, name) for name in names)
    vector = _mixed(directions, vectors, param)
    return (SpaceQuery(vector=vector, names=names, gains=gains, weight=weight),)


def _share_of_others(directions: Sequence[Direction], name: VectorName) -> float:
    """How much of the query is of the other kind than the vectors of this name, in [0, 1]."""
    total = sum(abs(one.weight) for one in directions)
    return sum(abs(one.weight) for one in directions if next(iter(one.vectors)) is not name) / total


def _by_space(directions: Sequence[Direction], weight: float, param: str) -> tuple[SpaceQuery, ...]:
    pulls = {name: _pull(directions, name) for name in VectorName}
    wanted = [name for name in VectorName if pulls[name] > 0]
    for one in directions:
        if not any(name in one.vectors for name in wanted):
            raise InvalidRequest(
                "On this server pictures and texts have vectors of different spaces: a part with a negative "
                "weight needs one of its kind with a positive weight beside it.",
                param=one.param,
            )
    queries = []
    for name in wanted:
        inside = [one for one in directions if name in one.vectors]
        vector = _mixed(inside, [one.vectors[name] for one in inside], param)
        share = pulls[name] / max(pulls.values())
        queries.append(SpaceQuery(vector=vector, names=(name,), weight=weight * share))
    return tuple(queries)


def _pull(directions: Sequence[Direction], name: VectorName) -> float:
    return sum(max(0.0, one.weight) for one in directions if name in one.vectors)


def _mixed(directions: Sequence[Direction], vectors: Sequence[Vector], param: str) -> Vector:
    """(dimensions,), unit length."""
    for one, vector in zip(directions, vectors, strict=True):
        if vector.shape != vectors[0].shape:
            raise apart(one.param)
    weights = np.asarray([one.weight for one in directions])
    rows = np.stack(vectors)
    if np.linalg.norm(weights @ rows) < CANCELLED * np.abs(weights).sum():
        raise InvalidRequest(
            "The parts of the query cancel each other out. Change their weights.", param=param
        )
    return mean_direction(rows, weights.tolist())


def vectors_of_file(segments: Sequence[Segment], kind: MediaKind) -> dict[VectorName, Vector]:
    """Mean directions of what is stored of a file, that of its kind first: for pictures and videos how they
    look, for recordings and documents what they say. Empty where nothing of it has a vector.

    Scenes count by their sampled frames, texts by their words, as they do where the file is encoded.
    """
    means = {
        VectorName.PICTURE: _mean([(one.picture, len(one.frames_s)) for one in segments]),
        VectorName.WORDS: _mean([(one.words, len(one.text.split())) for one in segments]),
    }
    main = VectorName.PICTURE if kind in SEEN else VectorName.WORDS
    names = sorted(means, key=lambda name: name is not main)
    return {name: vector for name in names if (vector := means[name]) is not None}


def _mean(weighted: Sequence[tuple[Vector | None, int]]) -> Vector | None:
    present = [(vector, max(1, weight)) for vector, weight in weighted if vector is not None]
    if not present:
        return None
    mean = mean_direction(np.stack([vector for vector, _ in present]), [weight for _, weight in present])
    return mean if mean.any() else None
