"""Cutting recordings, counting times back, words to segments."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from multimodal.encoders.speech import WINDOW_S, attach_marks, in_recording, pack, segments_of, window_of
from multimodal.types import SAMPLE_RATE_HZ, Audio, SpeechHints, TranscriptWord

SECOND = SAMPLE_RATE_HZ


def word(
    text: str,
    start_s: float = 0.0,
    end_s: float = 0.0,
    probability: float = 1.0,
    tokens: tuple[int, ...] = (),
) -> TranscriptWord:
    return TranscriptWord(text=text, start_s=start_s, end_s=end_s, probability=probability, tokens=tokens)


def ramp(samples: int) -> Audio:
    """A recording whose samples say where in it they are. Float32 counts exactly to 2 ** 24: 17 minutes."""
    counted = np.arange(samples, dtype=np.float32)
    return Audio(sha256="s", samples=counted, duration_s=samples / SECOND, format="wav")


# --- windows -----------------------------------------------------------------------------------


def test_stretches_that_fit_share_a_window() -> None:
    assert pack([(0, 10 * SECOND), (20 * SECOND, 30 * SECOND)]) == (((0.0, 10.0), (20.0, 30.0)),)


def test_a_stretch_that_does_not_fit_begins_a_window() -> None:
    windows = pack([(0, 20 * SECOND), (21 * SECOND, 32 * SECOND), (33 * SECOND, 40 * SECOND)])
    assert windows == (((0.0, 20.0),), ((21.0, 32.0), (33.0, 40.0)))


def test_no_speech_makes_no_window() -> None:
    assert pack([]) == ()


@st.composite
def spans(draw: st.DrawFn) -> list[tuple[int, int]]:
    edges = sorted(draw(st.sets(st.integers(0, 120 * SECOND), max_size=12)))
    return list(zip(edges[::2], edges[1::2], strict=False))


@given(spans())
def test_windows_hold_all_speech_once_and_in_order_and_at_most_what_whisper_reads(
    speech: list[tuple[int, int]],
) -> None:
    recording = ramp(120 * SECOND)
    windows = [window_of(recording, spans, SpeechHints()) for spans in pack(speech)]
    heard = np.concatenate([window.samples for window in windows] or [recording.samples[:0]])
    expected = [recording.samples[start:end] for start, end in speech]
    assert np.array_equal(heard, np.concatenate(expected or [recording.samples[:0]]))
    for window in windows:
        assert len(window.samples) <= WINDOW_S * SECOND
        assert sum(end - start for start, end in window.spans_s) == pytest.approx(
            len(window.samples) / SECOND
        )


@given(st.integers(0, 4 * 3600 * SECOND), st.integers(1, WINDOW_S * SECOND))
def test_times_in_seconds_name_the_very_samples(start: int, length: int) -> None:
    (((start_s, end_s),),) = pack([(start, start + length)])
    assert (round(start_s * SECOND), round(end_s * SECOND)) == (start, start + length)


def test_a_window_carries_what_the_client_said() -> None:
    hints = SpeechHints(language="fr", prompt="Zoé")
    window = window_of(ramp(SECOND), ((0.25, 0.5),), hints)
    assert (window.hints, window.spans_s) == (hints, ((0.25, 0.5),))


# --- times -------------------------------------------------------------------------------------


def test_a_word_is_moved_to_where_its_stretch_is_in_the_recording() -> None:
    said = [word("one", 0.5, 1.0), word("two", 2.5, 3.0)]
    moved = in_recording(said, ((10.0, 12.0), (20.0, 22.0)))
    assert [(each.start_s, each.end_s) for each in moved] == [(10.5, 11.0), (20.5, 21.0)]


def test_a_word_that_reaches_over_a_cut_stays_in_the_stretch_of_its_middle() -> None:
    said = [word("one", 1.0, 2.5), word("two", 1.5, 3.0)]
    moved = in_recording(said, ((10.0, 12.0), (20.0, 22.0)))
    assert [(each.start_s, each.end_s) for each in moved] == [(11.0, 12.0), (20.0, 21.0)]


def test_a_word_after_the_end_of_the_sound_is_put_at_its_end() -> None:
    moved = in_recording([word("late", 2.0, 2.5)], ((10.0, 12.0),))
    assert (moved[0].start_s, moved[0].end_s) == (12.0, 12.0)


@given(spans().filter(bool), st.lists(st.floats(0, 130), max_size=20))
def test_words_keep_their_order_and_fall_into_speech(
    speech: list[tuple[int, int]], times: list[float]
) -> None:
    pieces = tuple((start / SECOND, end / SECOND) for start, end in speech)
    moved = in_recording([word("w", start, end) for start, end in pairwise(sorted(times))], pieces)
    assert all(one.start_s <= one.end_s <= other.end_s for one, other in pairwise(moved))
    assert all(one.start_s <= other.start_s for one, other in pairwise(moved))
    for each in moved:
        assert any(low <= each.start_s <= each.end_s <= high for low, high in pieces)


# --- words -------------------------------------------------------------------------------------


def joined(*texts: str, spaced: bool = True) -> list[str]:
    return [each.text for each in attach_marks([word(text) for text in texts], spaced=spaced)]


@pytest.mark.parametrize(
    ("pieces", "words"),
    [
        ([" Yes", ",", " please", "."], [" Yes,", " please."]),
        ([" six", " o", "'clock"], [" six", " o'clock"]),
        ([" well", "-", "known"], [" well-known"]),
        ([" she", " said", ",", ' "', "stop", '."'], [" she", " said,", ' "stop."']),
        ([" costs", " $", "5"], [" costs", " $5"]),
        ([" you", " &", " me"], [" you", " &", " me"]),
        (["...", " and"], ["...", " and"]),
    ],
)
def test_marks_and_parts_join_their_word(pieces: list[str], words: list[str]) -> None:
    assert joined(*pieces) == words


def test_languages_without_spaces_keep_their_words_apart() -> None:
    pieces = ("今日", "は", "「", "晴れ", "」", "。", "「", "はい")
    assert joined(*pieces, spaced=False) == ["今日", "は", "「晴れ」。", "「はい"]


def test_a_mark_lends_its_word_no_time_and_no_doubt() -> None:
    (only,) = attach_marks([word(" end", 1.0, 1.5, 0.9, (7,)), word(".", 1.5, 4.0, 0.1, (8,))], spaced=True)
    assert only == word(" end.", 1.0, 1.5, 0.9, (7, 8))


def test_an_opening_mark_lends_its_word_no_time() -> None:
    (only,) = attach_marks([word(' "', 0.0, 1.0, 0.1, (7,)), word("stop", 1.0, 1.5, 0.9, (8,))], spaced=True)
    assert only == word(' "stop', 1.0, 1.5, 0.9, (7, 8))


def test_a_word_in_parts_lasts_from_the_first_to_the_last() -> None:
    (only,) = attach_marks(
        [word(" o", 1.0, 1.2, 0.9, (7,)), word("'clock", 1.2, 1.6, 0.8, (8, 9))], spaced=True
    )
    assert only == word(" o'clock", 1.0, 1.6, 0.8, (7, 8, 9))


# --- segments ----------------------------------------------------------------------------------


def test_a_sentence_is_a_segment() -> None:
    said = [word(" We", 0, 1), word(" won.", 1, 2), word(' "Really?"', 2, 3), word(" Yes", 3, 4)]
    segments = segments_of(said)
    assert [(each.text, each.start_s, each.end_s) for each in segments] == [
        ("We won.", 0, 2),
        ('"Really?"', 2, 3),
        ("Yes", 3, 4),
    ]
    assert [each.text for each in segments[0].words] == ["We", "won."]


def test_a_long_pause_ends_a_segment() -> None:
    said = [word(" wait", 0, 1), word(" for", 1.9, 2), word(" it", 3.5, 4)]
    assert [each.text for each in segments_of(said)] == ["wait for", "it"]


def test_no_words_make_no_segment() -> None:
    assert segments_of([]) == ()


def test_segments_of_a_language_without_spaces_have_none() -> None:
    assert segments_of([word("今日"), word("は。")])[0].text == "今日は。"
