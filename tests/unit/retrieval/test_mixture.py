"""Mixtures of parts of a query, as vectors."""

from __future__ import annotations

import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from multimodal.config import ImageArgs
from multimodal.errors import InvalidRequest
from multimodal.retrieval.mixture import Direction, spaces_of
from multimodal.retrieval.types import VectorName

DIMENSIONS = 4
WEIGHTS = st.floats(-1, 1).filter(lambda weight: abs(weight) > 0.01)
ROWS = arrays.arrays(np.float32, (3, DIMENSIONS), elements=st.floats(-1, 1, width=32))


def unit(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    assume((lengths > 0.1).all())
    units: NDArray[np.float32] = (rows / lengths).astype(np.float32)
    return units


def directions(rows: NDArray[np.float32], weights: list[float], names: list[VectorName]) -> list[Direction]:
    return [
        Direction(vectors={name: row}, weight=weight, param=f"query.{index}")
        for index, (row, weight, name) in enumerate(zip(rows, weights, names, strict=True))
    ]


@given(ROWS, st.lists(WEIGHTS, min_size=3, max_size=3), ROWS)
def test_the_cosine_with_a_mixture_is_the_weighted_sum_of_cosines_but_for_one_factor(
    rows: NDArray[np.float32], weights: list[float], segments: NDArray[np.float32]
) -> None:
    rows, segments = unit(rows), unit(segments)
    total = np.asarray(weights) @ rows
    assume(np.linalg.norm(total) > 0.01)
    (space,) = spaces_of(directions(rows, weights, [VectorName.WORDS] * 3), ImageArgs(), 1.0, "query")

    expected = (segments @ rows.T) @ np.asarray(weights) / np.linalg.norm(total)
    np.testing.assert_allclose(segments @ space.vector, expected, atol=1e-4)
    assert np.isclose(np.linalg.norm(space.vector), 1, atol=1e-5)


@given(ROWS, st.lists(WEIGHTS, min_size=3, max_size=3), st.lists(st.sampled_from(VectorName), min_size=3))
def test_in_spaces_of_their_own_no_query_mixes_them(
    rows: NDArray[np.float32], weights: list[float], names: list[VectorName]
) -> None:
    rows, names = unit(rows), names[:3]
    try:
        spaces = spaces_of(directions(rows, weights, names), ImageArgs(space="own"), 2.0, "query")
    except InvalidRequest:
        return
    for space in spaces:
        (name,) = space.names
        inside = [index for index in range(3) if names[index] is name]
        total = np.asarray(weights)[inside] @ rows[inside]
        np.testing.assert_allclose(space.vector, total / np.linalg.norm(total), atol=1e-3)
        assert 0 < space.weight <= 2.0
    assert max(space.weight for space in spaces) == 2.0
