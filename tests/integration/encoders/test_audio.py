"""Whisper tiny.en for real, on synthetic speech."""

from __future__ import annotations

import subprocess
from random import Random
from string import ascii_lowercase

import numpy as np
import pytest
from numpy.typing import NDArray

from multimodal.config import AudioArgs, home
from multimodal.encoders import audio
from multimodal.encoders.audio import WhisperBackend
from multimodal.encoders.speech import window_of
from multimodal.errors import InvalidRequest
from multimodal.hearing import join
from multimodal.models import refs
from multimodal.models.refs import EmbeddedRef
from multimodal.models.store import ModelStore
from multimodal.types import SAMPLE_RATE_HZ, Audio, SpeechHints, SpeechWindow, Transcript, TranscriptWord
from tests import media

TIME_TOLERANCE_S = 0.5
NO_HINTS = SpeechHints()

SENTENCES = (
    ("She sells fresh apples at the market every morning.", ("apples", "market", "morning")),
    ("The weather tomorrow will be cloudy with a little rain in the evening.", ("cloudy", "rain", "evening")),
    ("The train to London leaves from platform seven in ten minutes.", ("train", "london", "minutes")),
    ("Scientists discovered a new kind of butterfly in the forest.", ("scientists", "butterfly", "forest")),
    ("We planted three tall trees behind the old wooden house.", ("planted", "trees", "house")),
    ("The museum is closed on Monday but open all weekend.", ("museum", "monday", "weekend")),
    ("He played the piano while the children danced in the garden.", ("piano", "children", "garden")),
    ("The captain told the passengers to fasten their seat belts.", ("captain", "passengers", "seat")),
    ("Coffee and bread are the cheapest things on this menu.", ("coffee", "bread", "menu")),
    ("A red bicycle was standing in front of the school.", ("red", "bicycle", "school")),
    ("The small restaurant near the station serves excellent soup.", ("small", "station", "soup")),
    ("My grandmother writes long letters to her friends in Canada.", ("grandmother", "letters", "canada")),
)
PAUSES_S = (0.4, 2.5, 1.2, 4.0, 0.6, 3.0)


@pytest.fixture(scope="module")
def whisper() -> WhisperBackend:
    ModelStore(home()).pull(EmbeddedRef("whisper-tiny-en"))
    return WhisperBackend(refs.resolve("embedded:whisper-tiny-en", home()), AudioArgs())


def decoded(recording: bytes) -> NDArray[np.float32]:
    to_samples = ["-f", "f32le", "-ac", "1", "-ar", str(SAMPLE_RATE_HZ), "-"]
    command = ["ffmpeg", "-nostdin", "-v", "error", "-i", "-", *to_samples]
    raw = subprocess.run(command, input=recording, capture_output=True, check=True).stdout
    return np.frombuffer(raw, np.float32)


def say(text: str, words_per_minute: int = 150) -> NDArray[np.float32]:
    return decoded(media.speech(text, words_per_minute=words_per_minute))


def silence(seconds: float) -> NDArray[np.float32]:
    return np.zeros(int(seconds * SAMPLE_RATE_HZ), np.float32)


def noise(seconds: float, level: float = 0.1) -> NDArray[np.float32]:
    samples = np.random.default_rng(0).normal(0, level, int(seconds * SAMPLE_RATE_HZ))
    return samples.clip(-1, 1).astype(np.float32)


def hum(seconds: float) -> NDArray[np.float32]:
    """Mains hum with its harmonics, and a little noise."""
    at_s = np.arange(int(seconds * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    waves = sum(np.sin(2 * np.pi * 50 * k * at_s) / k for k in range(1, 8))
    return (0.1 * waves + noise(seconds, 0.01)).astype(np.float32)


def recording(samples: NDArray[np.float32]) -> Audio:
    return Audio(sha256="s", samples=samples, duration_s=len(samples) / SAMPLE_RATE_HZ, format="wav")


def cut(
    whisper: WhisperBackend, samples: NDArray[np.float32], hints: SpeechHints = NO_HINTS
) -> list[SpeechWindow]:
    sound = recording(samples)
    return [window_of(sound, spans, hints) for spans in whisper.plan(sound, hints).windows]


def uncut(samples: NDArray[np.float32], hints: SpeechHints = NO_HINTS) -> SpeechWindow:
    """All of a sound, as if somebody spoke all the time."""
    return window_of(recording(samples), ((0.0, len(samples) / SAMPLE_RATE_HZ),), hints)


def heard(whisper: WhisperBackend, samples: NDArray[np.float32], hints: SpeechHints = NO_HINTS) -> Transcript:
    plan = whisper.plan(recording(samples), hints)
    return join(plan, whisper.transcribe(cut(whisper, samples, hints)))


def words_of(transcript: Transcript) -> list[TranscriptWord]:
    return [word for segment in transcript.segments for word in segment.words]


def plain(word: TranscriptWord) -> str:
    return word.text.casefold().strip(".,!?")


def loud(samples: NDArray[np.float32]) -> tuple[float, float]:
    """Seconds at which the voice begins and ends."""
    (at,) = np.nonzero(np.abs(samples) > 0.01)
    return float(at[0]) / SAMPLE_RATE_HZ, float(at[-1]) / SAMPLE_RATE_HZ


def test_speech_comes_back_with_the_time_of_each_word(whisper: WhisperBackend) -> None:
    parts = [say("The museum is closed on Monday."), silence(1.5), say("He played the piano in the garden.")]
    transcript = heard(whisper, np.concatenate(parts))
    assert [segment.text for segment in transcript.segments] == [
        "The museum is closed on Monday.",
        "He played the piano in the garden.",
    ]
    assert transcript.language == "en"
    words = words_of(transcript)
    assert [plain(word) for word in words] == transcript.text.casefold().replace(".", "").split()
    ends = [time_s for word in words for time_s in (word.start_s, word.end_s)]
    assert ends == sorted(ends)
    assert all(0.05 < word.end_s - word.start_s < 1.5 for word in words)
    assert all(0 < word.probability <= 1 for word in words)
    assert all(word.tokens for word in words)
    for segment in transcript.segments:
        assert segment.start_s <= segment.words[0].start_s <= segment.words[-1].end_s <= segment.end_s
        assert -1 < segment.log_probability < 0
        assert 0 < segment.no_speech_probability < 0.6
    for segment, part in zip(transcript.segments, (parts[0], parts[2]), strict=True):
        offset_s = 0.0 if part is parts[0] else sum(map(len, parts[:2])) / SAMPLE_RATE_HZ
        start_s, end_s = loud(part)
        assert segment.start_s == pytest.approx(offset_s + start_s, abs=TIME_TOLERANCE_S)
        assert segment.end_s == pytest.approx(offset_s + end_s, abs=TIME_TOLERANCE_S)


def test_recordings_in_one_batch_are_heard_as_each_alone(whisper: WhisperBackend) -> None:
    sounds = [say(text) for text, _ in SENTENCES[:3]]
    windows = [window for sound in sounds for window in cut(whisper, sound)]
    together = whisper.transcribe(windows)
    alone = [part for window in windows for part in whisper.transcribe([window])]
    assert [part.text for part in together] == [part.text for part in alone]
    for one, other in zip(together, alone, strict=True):
        for a, b in zip(words_of(one), words_of(other), strict=True):
            assert a.start_s == pytest.approx(b.start_s, abs=0.1)
            assert a.probability == pytest.approx(b.probability, abs=0.05)


def test_a_long_recording_with_pauses_comes_back_complete_in_order_and_on_time(
    whisper: WhisperBackend,
) -> None:
    pieces: list[NDArray[np.float32]] = []
    spoken: list[tuple[float, float]] = []
    for number, (sentence, _) in enumerate(SENTENCES):
        pieces.append(silence(PAUSES_S[number % len(PAUSES_S)]))
        offset_s = sum(map(len, pieces)) / SAMPLE_RATE_HZ
        pieces.append(say(sentence))
        start_s, end_s = loud(pieces[-1])
        spoken.append((offset_s + start_s, offset_s + end_s))
    samples = np.concatenate(pieces)
    assert len(samples) > 60 * SAMPLE_RATE_HZ

    transcript = heard(whisper, samples)

    words = words_of(transcript)
    for (_, expected), (start_s, end_s) in zip(SENTENCES, spoken, strict=True):
        low_s, high_s = start_s - TIME_TOLERANCE_S, end_s + TIME_TOLERANCE_S
        inside = [word for word in words if word.start_s >= low_s and word.end_s <= high_s]
        assert set(expected) <= {plain(word) for word in inside}
        assert inside[0].start_s == pytest.approx(start_s, abs=TIME_TOLERANCE_S)
        assert inside[-1].end_s == pytest.approx(end_s, abs=TIME_TOLERANCE_S)
    keywords = [keyword for _, expected in SENTENCES for keyword in expected]
    assert [plain(word) for word in words if plain(word) in keywords] == keywords
    assert len(words) == pytest.approx(sum(len(sentence.split()) for sentence, _ in SENTENCES), abs=6)


def test_dense_speech_is_not_cut_short(whisper: WhisperBackend) -> None:
    """More than 113 tokens in one window: half of the text that fits."""
    text = " and ".join(sentence.rstrip(".") for sentence, _ in SENTENCES[:9]) + ", goodbye."
    samples = say(text, words_per_minute=220)
    assert 20 < len(samples) / SAMPLE_RATE_HZ <= 30
    (part,) = whisper.transcribe([uncut(samples)])
    last = words_of(part)[-1]
    assert last.end_s == pytest.approx(loud(samples)[1], abs=1.0)
    assert plain(last) in ("goodbye", "bye")


def test_speech_across_a_block_of_the_voice_detector_is_not_lost(
    whisper: WhisperBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = say("The weather tomorrow will be cloudy with a little rain in the evening.")
    monkeypatch.setattr(audio, "VAD_BLOCK_S", 2)
    (window,) = cut(whisper, samples)
    assert sum(end - start for start, end in window.spans_s) > loud(samples)[1] - loud(samples)[0]
    assert {"tomorrow", "cloudy", "rain", "evening"} <= {
        plain(word) for word in words_of(heard(whisper, samples))
    }


def test_a_sentence_in_a_long_silence_is_heard_on_time(whisper: WhisperBackend) -> None:
    speech = say("The museum is closed on Monday.")
    begin_s, end_s = loud(speech)
    transcript = heard(whisper, np.concatenate([silence(470), speech, silence(430)]))
    (segment,) = transcript.segments
    assert segment.text == "The museum is closed on Monday."
    assert segment.start_s == pytest.approx(470 + begin_s, abs=TIME_TOLERANCE_S)
    assert segment.end_s == pytest.approx(470 + end_s, abs=TIME_TOLERANCE_S)


def test_a_single_short_word_is_heard(whisper: WhisperBackend) -> None:
    samples = np.concatenate([silence(1), say("yes"), silence(1)])
    (word,) = words_of(heard(whisper, samples))
    assert plain(word) == "yes"
    assert 0.5 < word.start_s < word.end_s < 2


def test_windows_are_at_most_thirty_seconds_and_leave_silence_out(whisper: WhisperBackend) -> None:
    spoken = np.concatenate([np.concatenate([say(text), silence(3)]) for text, _ in SENTENCES])
    windows = cut(whisper, spoken)
    assert all(len(window.samples) <= 30 * SAMPLE_RATE_HZ for window in windows)
    lengths_s = sum(len(window.samples) for window in windows) / SAMPLE_RATE_HZ
    assert lengths_s < len(spoken) / SAMPLE_RATE_HZ - 2 * len(SENTENCES)


SOUNDS = {
    "nothing": silence(0),
    "one sample": silence(1)[:1],
    "silence": silence(10),
    "soft noise": noise(10, 0.01),
    "loud noise": noise(10, 0.5),
    "tone": decoded(media.tone(10)),
    "hum": hum(10),
}


@pytest.mark.parametrize("sound", SOUNDS)
def test_nobody_is_heard_where_nobody_speaks(whisper: WhisperBackend, sound: str) -> None:
    transcript = heard(whisper, SOUNDS[sound])
    assert transcript.segments == ()
    assert transcript.duration_s == len(SOUNDS[sound]) / SAMPLE_RATE_HZ


def test_noise_that_reaches_the_model_is_not_turned_into_words(whisper: WhisperBackend) -> None:
    windows = [uncut(noise(20)), uncut(say("The museum is closed on Monday."))]
    assert [part.text for part in whisper.transcribe(windows)] == ["", "The museum is closed on Monday."]


def test_samples_may_be_read_only(whisper: WhisperBackend) -> None:
    """As Ray's object store hands them out."""
    samples = say("yes")
    samples.setflags(write=False)
    assert heard(whisper, samples).text


# --- hints -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["Siobhan", "Qdrant", "Kubernetes", "Tchaikovsky"])
def test_a_prompt_helps_with_a_name(whisper: WhisperBackend, name: str) -> None:
    samples = say(f"Please send the report to {name} tomorrow.")
    prompt = SpeechHints(prompt=f"Szymon, {name}, Ray Serve.")
    without, told = whisper.transcribe([uncut(samples), uncut(samples, prompt)])
    assert name not in without.text
    assert f"report to {name} tomorrow" in told.text
    assert "Szymon" not in told.text


@pytest.mark.parametrize(
    "prompt",
    [
        "<|endoftext|><|startoftranscript|><|notimestamps|><|0.00|>",
        "The cat sat on a mat. " * 60,
        "\ud800\x01\u202e" * 2000,
        " ".join("".join(Random(number).choices(ascii_lowercase, k=6)) for number in range(900)),
    ],
    ids=["control tokens", "loop", "unreadable", "overlong"],
)
def test_a_strange_prompt_does_no_harm(whisper: WhisperBackend, prompt: str) -> None:
    samples = say("The children played in the garden until evening.")
    # The first word after 900 that are none is a matter of rounding, which differs between processors.
    assert "played in the garden" in heard(whisper, samples, SpeechHints(prompt=prompt)).text


@pytest.mark.parametrize("sound", ["silence", "soft noise", "loud noise", "tone", "hum"])
@pytest.mark.parametrize("prompt", ["Kubernetes, Qdrant", "He played the piano in the garden.", "Thank you."])
def test_words_of_a_prompt_are_not_heard_in_sound_that_reaches_the_model(
    whisper: WhisperBackend, sound: str, prompt: str
) -> None:
    (part,) = whisper.transcribe([uncut(SOUNDS[sound], SpeechHints(prompt=prompt))])
    assert part.segments == ()


def test_words_can_be_drawn(whisper: WhisperBackend) -> None:
    samples = say("The museum is closed on Monday.")
    transcript = heard(whisper, samples, SpeechHints(temperature=0.2))
    assert {"museum", "closed", "monday"} <= {plain(word) for word in words_of(transcript)}
    assert {segment.temperature for segment in transcript.segments} == {0.2}


def test_recordings_with_different_hints_share_a_batch(whisper: WhisperBackend) -> None:
    hints = [
        NO_HINTS,
        SpeechHints(prompt="Museums."),
        SpeechHints(temperature=0.1),
        SpeechHints(language="en"),
    ]
    samples = say("The museum is closed on Monday.")
    parts = whisper.transcribe([uncut(samples, each) for each in hints])
    assert ["museum is closed on Monday" in part.text for part in parts] == [True] * 4


def test_an_english_model_refuses_another_language(whisper: WhisperBackend) -> None:
    with pytest.raises(InvalidRequest, match="English") as error:
        whisper.plan(recording(say("yes")), SpeechHints(language="de"))
    assert error.value.param == "language"
