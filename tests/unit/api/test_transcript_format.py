"""Transcripts in words: times that players can read, texts that cannot break out of their cue."""

from __future__ import annotations

import re
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.audio import TranscriptionVerbose

from multimodal.api.transcript_format import (
    as_part,
    as_recording,
    as_srt,
    as_verbose,
    as_vtt,
    as_written,
    compression_ratio,
    content_type,
    usage_of,
)
from multimodal.types import Transcript, TranscriptPart, TranscriptSegment
from tests.unit.api.fakes import SPOKEN, segment, transcript

SILENCE = transcript(duration_s=3.0)
TALK = transcript(*SPOKEN)

TIMES_S = st.floats(min_value=0, max_value=1_000_000)
SEGMENTS = st.builds(
    lambda text, start_s, length_s: TranscriptSegment(text=text, start_s=start_s, end_s=start_s + length_s),
    text=st.one_of(
        st.text(max_size=30), st.lists(st.sampled_from(["-->", "-", ">", "\n", "\r", " "])).map("".join)
    ),
    start_s=TIMES_S,
    length_s=st.floats(min_value=0, max_value=30),
)
TRANSCRIPTS = st.lists(SEGMENTS, max_size=8).map(
    lambda items: transcript(*sorted(items, key=lambda item: item.start_s))
)

Cue = tuple[int, int, str]
TIME = r"(\d{2,}):([0-5]\d):([0-5]\d)%s(\d{3})"


def parsed_ms(text: str, mark: str) -> int:
    found = re.fullmatch(TIME % re.escape(mark), text)
    assert found
    hours, minutes, seconds, ms = map(int, found.groups())
    return ((hours * 60 + minutes) * 60 + seconds) * 1000 + ms


def cues_of(blocks: list[str], mark: str) -> list[Cue]:
    """What a player reads: blocks of a line of times and a line of text."""
    cues = []
    for block in blocks:
        times, text = re.split("[\r\n]", block)
        start, end = times.split(" --> ")
        cues.append((parsed_ms(start, mark), parsed_ms(end, mark), text))
    return cues


def srt_cues(srt: str) -> list[Cue]:
    blocks = srt.split("\n\n")
    assert blocks.pop() == ""
    numbers = [block.split("\n", 1)[0] for block in blocks]
    assert numbers == [str(number + 1) for number in range(len(blocks))]
    return cues_of([block.split("\n", 1)[1] for block in blocks], ",")


def vtt_cues(vtt: str) -> list[Cue]:
    header, *blocks = vtt.split("\n\n")
    assert header == "WEBVTT"
    assert blocks.pop() == ""
    return cues_of(blocks, ".")


def spoken(heard: Transcript) -> list[TranscriptSegment]:
    return [item for item in heard.segments if item.text.strip()]


def test_srt() -> None:
    assert as_srt(TALK) == (
        "1\n00:00:00,500 --> 00:00:02,000\nHello there.\n\n2\n00:00:10,000 --> 00:00:12,000\nGood bye!\n\n"
    )


def test_vtt() -> None:
    assert as_vtt(TALK) == (
        "WEBVTT\n\n"
        "00:00:00.500 --> 00:00:02.000\nHello there.\n\n"
        "00:00:10.000 --> 00:00:12.000\nGood bye!\n\n"
    )


@given(heard=TRANSCRIPTS)
def test_times_of_cues_are_those_of_the_segments(heard: Transcript) -> None:
    for cues in (srt_cues(as_srt(heard)), vtt_cues(as_vtt(heard))):
        assert len(cues) == len(spoken(heard))
        for (start_ms, end_ms, _), item in zip(cues, spoken(heard), strict=True):
            assert abs(start_ms / 1000 - item.start_s) <= 0.0005001
            assert abs(end_ms / 1000 - item.end_s) <= 0.0015001
            assert start_ms < end_ms
        starts_ms = [start_ms for start_ms, _, _ in cues]
        assert starts_ms == sorted(starts_ms)


@given(heard=TRANSCRIPTS)
def test_texts_stay_within_their_cues(heard: Transcript) -> None:
    for written in (as_srt(heard), as_vtt(heard)):
        assert written.count("-->") == len(spoken(heard))
    texts = [" ".join(item.text.split()) for item in spoken(heard)]
    assert [re.sub("--+>", "->", text) for text in texts] == [text for _, _, text in srt_cues(as_srt(heard))]


def test_vtt_escapes_markup() -> None:
    assert "R&amp;D &lt;b&gt;now" in as_vtt(transcript(segment("R&D <b>now", 0.0, 1.0)))
    assert "R&D <b>now" in as_srt(transcript(segment("R&D <b>now", 0.0, 1.0)))


@pytest.mark.parametrize(("start_s", "end_s"), [(5.0, 4.0), (-1.0, -0.5)])
def test_impossible_times_are_made_possible(start_s: float, end_s: float) -> None:
    heard = transcript(
        TranscriptSegment(text="one", start_s=4.5, end_s=6.0),
        TranscriptSegment(text="two", start_s=start_s, end_s=end_s),
    )
    (first, _, _), (start_ms, end_ms, _) = vtt_cues(as_vtt(heard))

    assert first <= start_ms < end_ms


def test_hours_may_have_three_digits() -> None:
    long = transcript(segment("late", 100 * 3600.0, 100 * 3600.0 + 1))

    assert "100:00:00,000 --> 100:00:01,000" in as_srt(long)


def test_silence() -> None:
    assert as_srt(SILENCE) == ""
    assert as_vtt(SILENCE) == "WEBVTT\n\n"
    assert as_written(SILENCE, "text") == "\n"
    verbose = as_verbose(SILENCE, ("segment", "word"))
    assert (verbose.text, verbose.segments, verbose.words) == ("", [], [])


@pytest.mark.parametrize(
    ("name", "written", "kind"),
    [
        ("text", "Hello there. Good bye!\n", "text/plain; charset=utf-8"),
        ("srt", as_srt(TALK), "text/plain; charset=utf-8"),
        ("vtt", as_vtt(TALK), "text/vtt; charset=utf-8"),
    ],
)
def test_formats_by_name(name: str, written: str, kind: str) -> None:
    assert as_written(TALK, name) == written
    assert content_type(name) == kind


def test_verbose_is_what_openai_parses() -> None:
    item = TranscriptSegment(
        text=" Hello.",
        start_s=1.23449,
        end_s=2.0,
        words=segment("Hello.", 1.23449, 2.0).words,
        log_probability=-0.25,
        no_speech_probability=0.125,
        temperature=0.2,
    )
    verbose = as_verbose(transcript(item, duration_s=2.5), ("segment", "word"))
    parsed = TranscriptionVerbose.model_validate_json(verbose.model_dump_json(exclude_unset=True))

    assert parsed.to_dict() == {
        "task": "transcribe",
        "language": "english",
        "duration": 2.5,
        "text": "Hello.",
        "usage": {"type": "duration", "seconds": 3},
        "segments": [
            {
                "id": 0,
                "seek": 123,
                "start": 1.234,
                "end": 2.0,
                "text": " Hello.",
                "tokens": [7],
                "temperature": 0.2,
                "avg_logprob": -0.25,
                "compression_ratio": 7 / len(zlib.compress(b" Hello.")),
                "no_speech_prob": 0.125,
            }
        ],
        "words": [{"word": "Hello.", "start": 1.234, "end": 2.0}],
    }


@pytest.mark.parametrize("granularity", ["segment", "word"])
def test_verbose_has_what_was_asked_for(granularity: str) -> None:
    fields = as_verbose(TALK, (granularity,)).model_dump(exclude_unset=True)

    assert {name for name in ("segments", "words") if name in fields} == {f"{granularity}s"}


def test_a_text_that_repeats_itself_is_compressible() -> None:
    assert compression_ratio("no no no " * 50) > 2.4
    assert compression_ratio("Hello there.") < 1
    assert compression_ratio("") == 0


@given(duration_s=st.floats(min_value=0, max_value=1e6))
def test_begun_seconds_are_used(duration_s: float) -> None:
    assert duration_s <= usage_of(transcript(duration_s=duration_s)).seconds <= duration_s + 1


def test_recording_with_times() -> None:
    assert as_recording(transcript(segment("Hi you", 1.0, 2.0)), True).model_dump(exclude_unset=True) == {
        "text": "Hi you",
        "language": "en",
        "duration_s": 12.5,
        "segments": [
            {
                "text": "Hi you",
                "start_s": 1.0,
                "end_s": 2.0,
                "words": [
                    {"text": "Hi", "start_s": 1.0, "end_s": 1.5},
                    {"text": "you", "start_s": 1.5, "end_s": 2.0},
                ],
            }
        ],
    }


def test_recording_without_times() -> None:
    assert as_recording(TALK, False).model_dump(exclude_unset=True) == {
        "text": "Hello there. Good bye!",
        "language": "en",
        "duration_s": 12.5,
    }


def test_segments_without_words_have_none() -> None:
    recording = as_recording(transcript(TranscriptSegment(text="Hi", start_s=0.0, end_s=1.0)), True)

    assert recording.model_dump(exclude_unset=True)["segments"] == [
        {"text": "Hi", "start_s": 0.0, "end_s": 1.0}
    ]


@given(heard=TRANSCRIPTS, cut=st.integers(min_value=0, max_value=8))
def test_parts_add_up_to_the_text(heard: Transcript, cut: int) -> None:
    halves = [heard.segments[:cut], heard.segments[cut:]]
    parts = [as_part(TranscriptPart(segments=half), False).text for half in halves if half]

    assert " ".join(parts) == heard.text
