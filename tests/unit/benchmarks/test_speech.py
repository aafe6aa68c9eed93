from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from benchmarks.speech import Heard, check_weights, checks, findings, rates
from benchmarks.speech_sides import DEFAULTS, OURS, SAME_SEARCH, Recording
from benchmarks.whisper_weights import Variables
from benchmarks.words import error_rate, word_errors
from multimodal.errors import ConfigError


@pytest.mark.parametrize(
    ("said", "heard", "errors"),
    [
        ("a b c", "a b c", 0),
        ("a b c", "a x c", 1),
        ("a b c", "a c", 1),
        ("a b c", "a b b c", 1),
        ("a b c", "", 3),
        ("", "a", 1),
        ("a b c d", "b c d e", 2),
    ],
)
def test_word_errors(said: str, heard: str, errors: int) -> None:
    assert word_errors(said.split(), heard.split()) == errors


def test_the_error_rate_is_of_all_words_together() -> None:
    assert error_rate([1, 0], [10, 30]) == pytest.approx(2.5)
    with pytest.raises(ValueError, match="Nothing"):
        error_rate([], [])


def heard(seconds: float, errors: int) -> list[Heard]:
    return [Heard(said_s=40.0, seconds=seconds, cpu_s=2 * seconds, words=100, errors=errors)] * 2


TURNS = {OURS: heard(2.0, 3), SAME_SEARCH: heard(10.0, 4), DEFAULTS: heard(5.0, 2)}


def test_cost_comes_first_and_both_ways_of_the_library_are_shown() -> None:
    found = findings(TURNS)
    assert [one.ratio.value for one in found] == pytest.approx([0.2, 0.4, 5.0, 2.5, 97 / 96, 97 / 98])
    assert (found[0].first, found[2].first) == (100.0, 20.0)
    assert [one.met for one in found] == [None, None, True, None, None, None]


def test_errors_are_counted_against_those_of_the_library() -> None:
    assert rates(TURNS) == {OURS: 3.0, SAME_SEARCH: 4.0, DEFAULTS: 2.0}
    assert [(one["value"], one["met"]) for one in checks(TURNS)] == [(-1.0, True), (1.0, False)]


def test_other_weights_are_refused() -> None:
    sound = Recording(text="", samples=np.zeros(1, np.float32))

    many = " ".join(["word"] * 40)
    assert check_weights(lambda _: many, lambda _: many, sound, str.split) == 0
    with pytest.raises(RuntimeError, match="not the same model"):
        check_weights(lambda _: "other words", lambda _: many, sound, str.split)


def string(text: str) -> bytes:
    return struct.pack("<H", len(text) + 1) + text.encode() + b"\0"


def variable(name: str, array: np.ndarray[tuple[int, ...], np.dtype[np.generic]], kind: int) -> bytes:
    shape = struct.pack(f"<B{array.ndim}I", array.ndim, *array.shape)
    return string(name) + shape + struct.pack("<BI", kind, array.nbytes) + array.tobytes()


def written(folder: Path, head: bytes) -> Path:
    half = np.asarray([[1, 2, 3], [4, 5, 6.5]], np.float16)
    path = folder / "model.bin"
    body = variable("encoder/layer_0/ffn/weight", half, 4) + variable("encoder/whole", np.ones(2, np.int8), 1)
    path.write_bytes(head + struct.pack("<I", 2) + body + struct.pack("<I", 0))
    return path


HEAD = struct.pack("<I", 6) + string("WhisperSpec") + struct.pack("<I", 3)


def test_variables_are_read_with_their_shapes(tmp_path: Path) -> None:
    found = Variables(written(tmp_path, HEAD))
    assert found.tensor("encoder/layer_0/ffn/weight").tolist() == [[1, 2, 3], [4, 5, 6.5]]
    assert (found.layers("encoder"), found.layers("decoder")) == (1, 0)
    for name in ("encoder/whole", "missing"):
        with pytest.raises(ConfigError, match=name):
            found.tensor(name)


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="OtherSpec"):
        Variables(written(tmp_path, struct.pack("<I", 6) + string("OtherSpec") + struct.pack("<I", 1)))
    path = written(tmp_path, HEAD)
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(ConfigError, match="too early"):
        Variables(path)
