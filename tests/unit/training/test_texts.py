"""The caption bank."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from multimodal.training.concepts import Concept
from multimodal.training.questions import QUESTIONS
from multimodal.training.texts import encode_cached, make_bank


def test_shares_sum_to_one_and_texts_are_unique(concepts: list[Concept]) -> None:
    bank = make_bank(concepts, seed=1)
    assert len(set(bank.texts)) == len(bank.texts)
    assert all(shares.sum() == pytest.approx(1) for shares in bank.shares)


def test_a_tag_of_many_concepts_counts_for_less(concepts: list[Concept]) -> None:
    bank = make_bank(concepts, seed=1)
    shares = dict(zip((bank.texts[row] for row in bank.rows[0]), bank.shares[0], strict=True))
    assert shares["thing"] < shares["dogish"] < shares["dog"]


def test_texts_are_encoded_once(tmp_path: Path) -> None:
    calls = []

    def encode(texts: object) -> npt.NDArray[np.float32]:
        calls.append(texts)
        return np.ones((2, 384), np.float32)

    for _ in range(2):
        assert encode_cached(["a", "b"], tmp_path, encode).shape == (2, 384)
    assert len(calls) == 1


def test_there_are_enough_questions_and_no_two_alike() -> None:
    assert len(QUESTIONS) >= 200
    assert len({query.casefold() for query, _ in QUESTIONS}) == len(QUESTIONS)
    assert not any(
        query.casefold() in (label.casefold() for label in answers) for query, answers in QUESTIONS
    )
