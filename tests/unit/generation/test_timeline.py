from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multimodal.generation.timeline import NEARBY_S, Said, place, scene_at
from multimodal.types import Scene, TranscriptSegment
from tests.unit.generation.features import scene, segment

THREE = (scene(0, 3), scene(3, 6), scene(6, 10))


def placed(said: TranscriptSegment, scenes: tuple[Scene, ...] = THREE) -> list[tuple[int | None, str]]:
    return [(piece.scene, piece.text.strip()) for piece in place(said, scenes)]


def test_a_sentence_within_a_scene_is_not_split() -> None:
    assert placed(segment("the meeting starts at nine", 3.2, 5.5)) == [(1, "the meeting starts at nine")]


def test_a_sentence_over_a_cut_is_split_at_the_cut_where_its_words_have_times() -> None:
    assert placed(segment("one two three four five six seven eight", 1, 5)) == [
        (0, "one two three four"),
        (1, "five six seven eight"),
    ]


def test_the_pieces_carry_the_times_of_their_words() -> None:
    pieces = place(segment("one two three four five six seven eight", 1, 5), THREE)
    assert [(piece.start_s, piece.end_s) for piece in pieces] == [(1, 3), (3, 5)]


def test_without_times_of_words_the_middle_of_a_sentence_decides() -> None:
    assert placed(segment("one two three four five six", 2, 5, timed_words=False)) == [
        (1, "one two three four five six")
    ]


@pytest.mark.parametrize(
    ("start_s", "end_s", "in_scene"),
    [(2.4, 6.0, 1), (0.5, 3.6, 0)],
)
def test_a_word_or_two_on_the_other_side_of_a_cut_stay_with_their_sentence(
    start_s: float, end_s: float, in_scene: int
) -> None:
    said = "one two three four five six"
    assert placed(segment(said, start_s, end_s)) == [(in_scene, said)]


@pytest.mark.parametrize(
    "said",
    ["That is all. Now we go home together.", "Is that all? Now we go home together."],
)
@pytest.mark.parametrize("shift_s", [-0.5, 0, 0.5])
def test_a_split_near_the_end_of_a_sentence_moves_there(said: str, shift_s: float) -> None:
    words = said.split()
    first = " ".join(words[:3])
    timed = segment(said, 3 - 1.5 + shift_s, 3 - 1.5 + shift_s + 0.5 * len(words))
    assert placed(timed) == [(0, first), (1, " ".join(words[3:]))]


def test_speech_through_all_scenes_is_split_at_every_cut() -> None:
    said = " ".join(str(number) for number in range(20))
    pieces = placed(segment(said, 0, 10))
    assert [number for number, _ in pieces] == [0, 1, 2]
    assert " ".join(words for _, words in pieces) == said


def test_speech_long_after_the_last_scene_belongs_to_none() -> None:
    assert placed(segment("good bye", 12, 13)) == [(None, "good bye")]


def test_speech_without_any_scene_belongs_to_none() -> None:
    assert placed(segment("hello there", 0, 1), ()) == [(None, "hello there")]


@pytest.mark.parametrize(
    ("time_s", "expected"),
    [
        (0, 0), (2.9, 0), (3.1, 1), (10, 2),
        (10 + NEARBY_S - 0.1, 2), (10 + NEARBY_S + 0.1, None),
    ],
)  # fmt: skip
def test_the_scene_at_a_time(time_s: float, expected: int | None) -> None:
    assert scene_at(THREE, time_s) == expected


@pytest.mark.parametrize(("time_s", "expected"), [(1.9, 0), (2.1, 1), (0.2, 0), (-2, None)])
def test_between_scenes_the_nearer_one_counts(time_s: float, expected: int | None) -> None:
    assert scene_at((scene(0.5, 1), scene(3, 4)), time_s) == expected


@given(
    words=st.lists(st.sampled_from(["yes", "no.", "maybe", "really?"]), min_size=1, max_size=40),
    start_s=st.floats(0, 12),
    length_s=st.floats(0.1, 15),
    cuts=st.lists(st.floats(0, 12), max_size=5).map(sorted),
)
def test_no_word_is_lost_or_moved_whatever_the_cuts(
    words: list[str], start_s: float, length_s: float, cuts: list[float]
) -> None:
    bounds = [0.0, *cuts, 12.0]
    scenes = tuple(scene(a, b) for a, b in pairwise(bounds))
    pieces: list[Said] = place(segment(" ".join(words), start_s, start_s + length_s), scenes)
    assert " ".join(piece.text.strip() for piece in pieces).split() == words
    assert [piece.start_s for piece in pieces] == sorted(piece.start_s for piece in pieces)
