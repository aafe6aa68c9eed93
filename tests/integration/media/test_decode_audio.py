"""Real recordings in every format: mono, 16 kHz, whole, within limits."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from multimodal.config import Limits, LoaderArgs
from multimodal.errors import InvalidMedia, MediaTooLarge, UnsupportedMedia
from multimodal.identity import sha256_of
from multimodal.media.decoder import decode
from multimodal.types import SAMPLE_RATE_HZ, Audio, MediaKind, MediaSource
from tests import media

PARAM = "messages.0.content.0"
SENTENCE = "the meeting starts at nine"


def load(data: bytes, *, limits: Limits | None = None, durations: list[float] | None = None) -> Audio:
    source = MediaSource(kind=MediaKind.AUDIO, data=data, param=PARAM)
    told = durations.append if durations is not None else None
    audio = decode(source, limits or Limits(), LoaderArgs(), on_duration=told)
    assert isinstance(audio, Audio)
    return audio


def loudness(audio: Audio, parts: int = 20) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Root mean square of equal stretches: the outline of what is said."""
    return np.array(
        [float(np.sqrt(np.mean(np.square(part)))) for part in np.array_split(audio.samples, parts)]
    )


@pytest.mark.parametrize("format", media.SOUND_FORMATS)
def test_each_format_gives_the_same_speech(format: media.SoundFormat) -> None:
    data = media.speech(SENTENCE, format)
    audio = load(data)
    assert audio.samples.dtype == np.float32
    assert audio.samples.ndim == 1
    assert audio.samples.flags["C_CONTIGUOUS"]
    assert np.abs(audio.samples).max() <= 1
    assert (audio.format, audio.sha256) == (format, sha256_of(data))
    assert audio.duration_s == len(audio.samples) / SAMPLE_RATE_HZ
    original = load(media.speech(SENTENCE))
    assert audio.duration_s == pytest.approx(original.duration_s, abs=0.1)
    assert np.corrcoef(loudness(audio), loudness(original))[0, 1] > 0.8


@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 44_100, 48_000])
@pytest.mark.parametrize("channels", [1, 2, 6])
def test_rates_and_channels_are_brought_together(rate_hz: int, channels: int) -> None:
    audio = load(media.tone(1.0, rate_hz=rate_hz, channels=channels))
    assert audio.duration_s == pytest.approx(1.0, abs=0.01)
    assert float(np.sqrt(np.mean(np.square(audio.samples)))) == pytest.approx(0.488, abs=0.1)


def test_silence_stays_silent() -> None:
    audio = load(media.silence(2.0))
    assert audio.duration_s == pytest.approx(2.0, abs=0.01)
    assert not audio.samples.any()


def test_float_recordings_with_nonsense_are_bounded() -> None:
    values = np.tile(np.array([np.nan, np.inf, -np.inf, 9.0, -9.0, 0.5], np.float32), 4000)
    riff = struct.pack("<4sI4s", b"RIFF", 36 + values.nbytes, b"WAVE")
    float_mono = struct.pack("<4sIHHIIHH", b"fmt ", 16, 3, 1, 16_000, 64_000, 4, 32)
    audio = load(riff + float_mono + struct.pack("<4sI", b"data", values.nbytes) + values.tobytes())
    assert np.isfinite(audio.samples).all()
    assert np.abs(audio.samples).max() <= 1


@pytest.mark.parametrize("format", media.SOUND_FORMATS)
def test_too_long_recordings_are_refused(format: media.SoundFormat) -> None:
    data = media.speech(SENTENCE, format)
    with pytest.raises(MediaTooLarge, match=r"longer than the 0\.5 s") as caught:
        load(data, limits=Limits(audio_s=0.5))
    assert caught.value.param == PARAM


def test_a_header_that_hides_the_length_does_not_help() -> None:
    recording = bytearray(media.tone(3.0))
    recording[40:44] = struct.pack("<I", 0xFFFFFFFF)
    assert load(bytes(recording)).duration_s == pytest.approx(3.0, abs=0.01)
    with pytest.raises(MediaTooLarge):
        load(bytes(recording), limits=Limits(audio_s=2.0))


def test_too_long_recordings_are_refused_before_they_are_decoded() -> None:
    recording = bytearray(media.as_sound(media.tone(3.0), "m4a"))
    at, end = recording.index(b"mdat") + 4, recording.index(b"moov") - 4
    recording[at:end] = b"\xff" * (end - at)
    with pytest.raises(InvalidMedia):
        load(bytes(recording))
    with pytest.raises(MediaTooLarge):
        load(bytes(recording), limits=Limits(audio_s=1.0))


def test_a_header_that_says_too_long_is_not_believed_alone() -> None:
    recording = bytearray(media.as_sound(media.tone(1.0), "webm"))
    at = recording.index(b"\x44\x89\x88") + 3  # Duration, a float of 8 bytes, in ms
    recording[at : at + 8] = struct.pack(">d", 3_600_000.0)
    assert load(bytes(recording), limits=Limits(audio_s=2.0)).duration_s == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize("format", media.SOUND_FORMATS)
@pytest.mark.parametrize("keep", [0.05, 0.3, 0.5, 0.8, 0.95])
def test_recordings_that_end_early_are_invalid(format: media.SoundFormat, keep: float) -> None:
    with pytest.raises(InvalidMedia) as caught:
        load(media.truncated(media.speech(SENTENCE, format), keep))
    assert caught.value.param == PARAM


def test_a_wav_that_claims_more_than_it_holds_is_invalid() -> None:
    recording = bytearray(media.tone(1.0))
    recording[40:44] = struct.pack("<I", 64_000)
    with pytest.raises(InvalidMedia, match="cut short"):
        load(bytes(recording))


def test_a_video_without_sound_is_no_recording() -> None:
    with pytest.raises(InvalidMedia, match="no sound"):
        load(media.numbered_clip(10))


def test_the_sound_of_a_video_is_a_recording() -> None:
    audio = load(media.captioned_clip())
    assert audio.duration_s == pytest.approx(10.0, abs=0.1)
    assert audio.samples.any()


def test_a_recording_without_samples_is_invalid() -> None:
    with pytest.raises(InvalidMedia):
        load(media.wav([], rate_hz=16_000))


def test_the_duration_is_told_before_decoding() -> None:
    durations: list[float] = []
    load(media.tone(3.0), durations=durations)
    assert durations == pytest.approx([3.0])


def test_what_is_told_never_exceeds_the_limit() -> None:
    durations: list[float] = []
    with pytest.raises(MediaTooLarge):
        load(media.tone(3.0), limits=Limits(audio_s=1.0), durations=durations)
    assert durations == [1.0]


def test_chained_streams_of_different_rates_are_joined() -> None:
    first = media.as_sound(media.tone(1.0, rate_hz=16_000), "mp3")
    second = media.as_sound(media.tone(1.0, rate_hz=44_100, channels=2), "mp3")
    assert load(first + second).duration_s == pytest.approx(2.0, abs=0.3)


@pytest.mark.parametrize("tail", [b"TAG" + bytes(125), bytes(3000), b"LYRICSBEGIN" + b"la" * 200])
def test_tags_behind_an_mp3_are_skipped(tail: bytes) -> None:
    data = media.speech(SENTENCE, "mp3")
    assert load(data + tail).duration_s == pytest.approx(load(data).duration_s, abs=0.1)


def test_an_mp3_without_a_frame_count_that_ends_early_is_invalid() -> None:
    data = media.speech(SENTENCE, "mp3").replace(b"Info", b"\0\0\0\0").replace(b"Xing", b"\0\0\0\0")
    assert load(data).samples.any()
    with pytest.raises(InvalidMedia, match="cut short"):
        load(media.truncated(data))


def test_what_ffmpeg_cannot_do_is_unsupported() -> None:
    first = media.as_sound(media.tone(1.0, rate_hz=16_000), "ogg")
    second = media.as_sound(media.tone(1.0, rate_hz=44_100, channels=2), "ogg")
    with pytest.raises(UnsupportedMedia):
        load(first + second)
