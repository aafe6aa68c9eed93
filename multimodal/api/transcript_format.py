"""A transcript as text, as subtitles (SubRip, WebVTT), as OpenAI's `verbose_json` and as our JSON."""

from __future__ import annotations

import math
import re
import zlib
from collections.abc import Collection, Iterator, Sequence

from multimodal.api.audio_schemas import (
    DurationUsage,
    Recording,
    TimedSegment,
    TimedWord,
    TranscriptionSegment,
    TranscriptionVerbose,
    TranscriptionWord,
    TranscriptText,
)
from multimodal.languages import name_of
from multimodal.types import Transcript, TranscriptPart, TranscriptSegment

TEXT_TYPE = "text/plain; charset=utf-8"
VTT_TYPE = "text/vtt; charset=utf-8"

_ARROW = re.compile("--+>")
_FRAMES_PER_S = 100
"""Whisper counts `seek` in frames of its spectrogram, 10 ms each."""


def content_type(name: str) -> str:
    """Content-Type of "text", "srt" or "vtt". SubRip has no registered type; OpenAI sends plain text too."""
    return VTT_TYPE if name == "vtt" else TEXT_TYPE


def as_written(transcript: Transcript, name: str) -> str:
    """The transcript as "text", "srt" or "vtt"."""
    if name == "srt":
        return as_srt(transcript)
    return as_vtt(transcript) if name == "vtt" else f"{transcript.text}\n"


def as_srt(transcript: Transcript) -> str:
    """SubRip. Empty where nobody speaks."""
    cues = enumerate(_cues(transcript, ","), start=1)
    return "".join(f"{number}\n{times}\n{text}\n\n" for number, (times, text) in cues)


def as_vtt(transcript: Transcript) -> str:
    """WebVTT (https://www.w3.org/TR/webvtt1)."""
    cues = (f"{times}\n{_escaped(text)}\n\n" for times, text in _cues(transcript, "."))
    return "WEBVTT\n\n" + "".join(cues)


def _cues(transcript: Transcript, mark: str) -> Iterator[tuple[str, str]]:
    """Times and text of each cue. It is shown for 1 ms at least and begins no sooner than the one before."""
    earliest_ms = 0
    for segment in transcript.segments:
        # A blank line would end the cue, and an arrow would begin the next.
        text = _ARROW.sub("->", " ".join(segment.text.split()))
        if not text:
            continue
        start_ms = max(earliest_ms, _milliseconds(segment.start_s))
        end_ms = max(start_ms + 1, _milliseconds(segment.end_s))
        yield f"{_clock(start_ms, mark)} --> {_clock(end_ms, mark)}", text
        earliest_ms = start_ms


def _milliseconds(seconds: float) -> int:
    return max(0, round(seconds * 1000))


def _clock(time_ms: int, mark: str) -> str:
    """`01:02:03,004`; from 100 hours on with as many digits as it takes."""
    seconds, ms = divmod(time_ms, 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{seconds:02}{mark}{ms:03}"


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def usage_of(transcript: Transcript) -> DurationUsage:
    """What OpenAI bills: seconds of sound, rounded up."""
    return DurationUsage(type="duration", seconds=math.ceil(transcript.duration_s))


def as_verbose(transcript: Transcript, granularities: Collection[str]) -> TranscriptionVerbose:
    """OpenAI's longest answer, with "segment", "word" or both."""
    verbose = TranscriptionVerbose(
        task="transcribe",
        language=name_of(transcript.language),
        duration=_written(transcript.duration_s),
        text=transcript.text,
        usage=usage_of(transcript),
    )
    extras: dict[str, object] = {}
    if "segment" in granularities:
        extras["segments"] = [_segment(index, item) for index, item in enumerate(transcript.segments)]
    if "word" in granularities:
        extras["words"] = [
            TranscriptionWord(word=word.text.strip(), start=_written(word.start_s), end=_written(word.end_s))
            for segment in transcript.segments
            for word in segment.words
        ]
    return verbose.model_copy(update=extras)


def _segment(index: int, segment: TranscriptSegment) -> TranscriptionSegment:
    return TranscriptionSegment(
        id=index,
        seek=round(segment.start_s * _FRAMES_PER_S),
        start=_written(segment.start_s),
        end=_written(segment.end_s),
        text=segment.text,
        tokens=[token for word in segment.words for token in word.tokens],
        temperature=segment.temperature,
        avg_logprob=segment.log_probability,
        compression_ratio=compression_ratio(segment.text),
        no_speech_prob=segment.no_speech_probability,
    )


def compression_ratio(text: str) -> float:
    """Bytes over bytes when compressed, as Whisper computes it: high where a text repeats itself."""
    raw = text.encode()
    return len(raw) / len(zlib.compress(raw))


def as_recording(transcript: Transcript, timestamps: bool) -> Recording:
    """A whole transcript, with or without times."""
    recording = Recording(
        text=transcript.text, language=transcript.language, duration_s=_written(transcript.duration_s)
    )
    if not timestamps:
        return recording
    return recording.model_copy(update={"segments": _timed(transcript.segments)})


def as_part(part: TranscriptPart, timestamps: bool) -> TranscriptText:
    """A part of a transcript, with or without times."""
    text = TranscriptText(text=" ".join(segment.text.strip() for segment in part.segments))
    return text.model_copy(update={"segments": _timed(part.segments)}) if timestamps else text


def _timed(segments: Sequence[TranscriptSegment]) -> list[TimedSegment]:
    return [_timed_segment(segment) for segment in segments]


def _timed_segment(segment: TranscriptSegment) -> TimedSegment:
    timed = TimedSegment(
        text=segment.text.strip(), start_s=_written(segment.start_s), end_s=_written(segment.end_s)
    )
    if not segment.words:
        return timed
    words = [
        TimedWord(text=word.text.strip(), start_s=_written(word.start_s), end_s=_written(word.end_s))
        for word in segment.words
    ]
    return timed.model_copy(update={"words": words})


def _written(time_s: float) -> float:
    """A time as it is written: to the millisecond."""
    return round(time_s, 3)
