from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks import made_up
from benchmarks.made_up import Library, Questions, pseudo_word

DIMENSIONS = 16


def vectors(count: int) -> NDArray[np.float32]:
    """Unit length."""
    rows = np.random.default_rng(0).standard_normal((count, DIMENSIONS), dtype=np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows


def encode(texts: Sequence[str]) -> NDArray[np.float32]:
    return vectors(len(texts))


def test_a_batch_is_always_the_same_whatever_was_made_before() -> None:
    one, other = Library(vectors(50)), Library(vectors(50))
    one.segments(0)
    for a, b in zip(one.segments(3)[:20], other.segments(3)[:20], strict=True):
        assert (a.id, a.text, a.metadata, a.perceptual_hash) == (b.id, b.text, b.metadata, b.perceptual_hash)
        assert np.array_equal(a.picture, b.picture)  # type: ignore[arg-type]


def test_segments_lie_around_their_descriptions() -> None:
    centres = vectors(50)
    segments = Library(centres).segments(0)
    words = np.stack([one.words for one in segments if one.words is not None])
    assert np.linalg.norm(words, axis=1) == pytest.approx(1, abs=1e-5)
    topics = made_up.descriptions()[:50]
    own = [topics.index(next(topic for topic in topics if one.text.startswith(topic))) for one in segments]
    cosines = (words * centres[own]).sum(axis=1)
    assert np.median(cosines) == pytest.approx(1 / np.sqrt(1 + made_up.SPREAD**2), abs=0.1)


def test_batches_share_no_segment_and_tenants_share_no_file() -> None:
    library = Library(vectors(50))
    segments = [*library.segments(0), *library.segments(1)]
    assert len({one.id for one in segments}) == len(segments) == 2 * made_up.BATCH
    owners: dict[str, str] = {}
    assert all(owners.setdefault(one.file_id, one.tenant) == one.tenant for one in segments)
    large = sum(one.tenant == made_up.LARGE_TENANT for one in segments) / len(segments)
    assert large == pytest.approx(made_up.LARGE_SHARE, abs=0.1)


def test_no_two_ranks_share_a_word() -> None:
    assert len({pseudo_word(rank) for rank in range(made_up.VOCABULARY)}) == made_up.VOCABULARY


def test_questions_are_about_nothing_that_the_library_was_made_from() -> None:
    asked = Questions(encode, seed=1).draw(500, made_up.in_an_album)
    texts = {one.text for one in asked}
    assert len(texts) == 500
    assert not texts & set(made_up.descriptions()[: made_up.CLUSTERS])


def test_filters_name_what_there_is() -> None:
    segments = Library(vectors(50)).segments(0)
    there = {(one.kind, one.metadata["album"]) for one in segments}
    for number in range(20):
        wanted = made_up.in_an_album(random.Random(number))
        ((key, values),) = wanted.equal
        assert key == "album"
        assert (wanted.kinds[0], values[0]) in there
