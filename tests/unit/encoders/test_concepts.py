"""The bank of names beside an image tower, and what it calls a picture."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray
from safetensors.numpy import save_file
from safetensors.torch import save_file as save_tensors

from multimodal.encoders.concepts import CONCEPTS_FILE, ConceptBank, load_bank, save_bank
from multimodal.errors import ConfigError

NAMES = ("dog", "cat", "apple", "red circle")
AXES = np.eye(len(NAMES), dtype=np.float32)
TOLD = {"names": json.dumps(NAMES), "known_from": "0.5"}


def at(*cosines: float) -> NDArray[np.float32]:
    """The vector of a picture that is so near the first names of a bank of AXES."""
    vector = np.zeros(len(NAMES), np.float32)
    vector[: len(cosines)] = cosines
    return vector


def unit(values: NDArray[np.float32]) -> NDArray[np.float32]:
    rows: NDArray[np.float32] = values / np.linalg.norm(values, axis=-1, keepdims=True)
    return rows


# --- recognising ---------------------------------------------------------------------------------


def test_the_nearest_names_come_first_with_their_shares_of_the_softmax() -> None:
    found = ConceptBank(NAMES, AXES, known_from=0.5).recognise(at(0.48, 0.6, 0.64), scale=10, most=4)
    assert [one.name for one in found] == ["apple", "cat", "dog", "red circle"]
    weights = np.exp(10 * np.array([0.64, 0.6, 0.48, 0]))
    assert [one.probability for one in found] == pytest.approx(weights / weights.sum(), rel=1e-5)


@pytest.mark.parametrize("most", [1, 2, 3])
def test_no_more_names_are_given_than_are_asked_for_and_their_probabilities_stay(most: int) -> None:
    bank = ConceptBank(NAMES, AXES, known_from=0.0)
    every = bank.recognise(at(0.6, 0.8), scale=5, most=len(NAMES))
    assert bank.recognise(at(0.6, 0.8), scale=5, most=most) == every[:most]


@pytest.mark.parametrize(("nearest", "known"), [(0.75, True), (0.5, True), (0.49, False), (-0.5, False)])
def test_a_picture_that_is_near_no_name_is_not_recognised(nearest: float, known: bool) -> None:
    bank = ConceptBank(NAMES, AXES, known_from=0.5)
    assert bool(bank.recognise(at(nearest, -0.6, -0.6, -0.6), scale=100, most=3)) is known


def test_names_that_are_equally_near_share_in_the_order_of_the_bank() -> None:
    found = ConceptBank(NAMES, AXES, known_from=0.0).recognise(unit(np.ones(4, np.float32)), 100, 4)
    assert [one.name for one in found] == list(NAMES)
    assert [one.probability for one in found] == pytest.approx([0.25] * 4)


VALUES = st.floats(-1, 1, width=32).filter(lambda value: abs(value) > 1e-3)


@given(
    rows=arrays.arrays(np.float32, st.tuples(st.integers(1, 8), st.just(5)), elements=VALUES),
    picture=arrays.arrays(np.float32, 5, elements=VALUES),
    scale=st.floats(1, 100),
)
def test_probabilities_are_ordered_and_sum_to_one(
    rows: NDArray[np.float32], picture: NDArray[np.float32], scale: float
) -> None:
    rows, picture = unit(rows), unit(picture)
    names = [str(number) for number in range(len(rows))]
    found = ConceptBank(names, rows, known_from=-2.0).recognise(picture, scale, len(rows))
    shares = [one.probability for one in found]
    assert sorted(one.name for one in found) == sorted(names)
    assert shares == sorted(shares, reverse=True)
    assert sum(shares) == pytest.approx(1, abs=1e-5)
    assert all(0 <= share <= 1 for share in shares)
    cosines = rows @ picture
    assert cosines[int(found[0].name)] == pytest.approx(cosines.max(), abs=1e-6)


# --- the file ------------------------------------------------------------------------------------


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25, deadline=None)
@given(
    names=st.lists(st.text(), min_size=1, max_size=6),
    known_from=st.floats(0, 0.9),
    seed=st.integers(0, 1000),
)
def test_a_bank_that_was_saved_recognises_what_it_did_before(
    tmp_path: Path, names: list[str], known_from: float, seed: int
) -> None:
    vectors = unit(np.random.default_rng(seed).normal(size=(len(names), 16)).astype(np.float32))
    save_bank(tmp_path, names, vectors, known_from)
    before, after = ConceptBank(names, vectors, known_from), load_bank(tmp_path)
    for number, vector in enumerate(vectors):
        (best,) = after.recognise(vector, 100.0, 1)
        assert best.name == names[number]
        # Vectors are kept in half precision: three decimal digits of a cosine, times the scale.
        assert best.probability == pytest.approx(before.recognise(vector, 100.0, 1)[0].probability, abs=0.1)


@pytest.mark.parametrize("known_from", [0.25, 0.3])
def test_what_is_known_is_kept_with_the_bank(tmp_path: Path, known_from: float) -> None:
    save_bank(tmp_path, NAMES, AXES, known_from)
    bank = load_bank(tmp_path)
    assert bank.recognise(at(known_from + 1e-4), 1, 1)
    assert not bank.recognise(at(known_from - 1e-4), 1, 1)


def test_a_missing_bank_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=rf"{CONCEPTS_FILE}.*Set vision to null, or .* image\.model"
    ) as error:
        load_bank(tmp_path)
    assert str(tmp_path) not in error.value.message


@pytest.mark.parametrize(
    "told",
    [
        None,
        {"names": TOLD["names"]},
        {"known_from": "0.5"},
        {**TOLD, "known_from": "high"},
        {**TOLD, "names": "dog, cat"},
        {**TOLD, "names": "4"},
        {**TOLD, "names": "null"},
        {**TOLD, "names": json.dumps(NAMES[:3])},
        {**TOLD, "names": json.dumps([*NAMES, "tree"])},
    ],
)
def test_names_that_do_not_belong_to_the_vectors_are_an_error(
    tmp_path: Path, told: Mapping[str, str] | None
) -> None:
    save_file({"vectors": AXES}, tmp_path / CONCEPTS_FILE, metadata=dict(told) if told else None)
    with pytest.raises(ConfigError, match="Set vision to null"):
        load_bank(tmp_path)


@pytest.mark.parametrize(
    ("tensors", "names"),
    [
        ({"rows": AXES}, NAMES),
        ({"vectors": AXES[:0]}, ()),
        ({"vectors": AXES[0]}, NAMES),
        ({"vectors": np.array(1.0)}, NAMES[:1]),
    ],
    ids=["no vectors", "none at all", "one vector", "a number"],
)
def test_other_tensors_are_an_error(
    tmp_path: Path, tensors: dict[str, NDArray[np.float32]], names: tuple[str, ...]
) -> None:
    save_file(tensors, tmp_path / CONCEPTS_FILE, metadata={**TOLD, "names": json.dumps(names)})
    with pytest.raises(ConfigError, match="Set vision to null"):
        load_bank(tmp_path)


def test_vectors_in_a_precision_that_numpy_lacks_are_an_error(tmp_path: Path) -> None:
    save_tensors({"vectors": torch.eye(4, dtype=torch.bfloat16)}, tmp_path / CONCEPTS_FILE, metadata=TOLD)
    with pytest.raises(ConfigError, match="Set vision to null"):
        load_bank(tmp_path)


@pytest.mark.parametrize("kept", [0, 7, -1])
def test_a_file_that_is_cut_off_is_an_error(tmp_path: Path, kept: int) -> None:
    save_bank(tmp_path, NAMES, AXES, 0.5)
    content = (tmp_path / CONCEPTS_FILE).read_bytes()
    (tmp_path / CONCEPTS_FILE).write_bytes(content[:kept])
    with pytest.raises(ConfigError, match="Set vision to null"):
        load_bank(tmp_path)
