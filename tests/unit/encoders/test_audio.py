"""WhisperBackend over a model whose answers are written down beforehand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from multimodal.config import AudioArgs
from multimodal.encoders.audio import WhisperBackend
from multimodal.encoders.whisper import load_whisper
from multimodal.errors import ConfigError, InvalidRequest
from multimodal.types import SAMPLE_RATE_HZ, Audio, SpeechHints, SpeechPlan, Transcript
from tests.unit.encoders.fake_whisper import (
    LANGUAGES,
    NO_TIMESTAMPS,
    SOT,
    SOT_PREV,
    Answer,
    Model,
    model,
    window,
)


def backend(model: Model) -> WhisperBackend:
    return WhisperBackend(Path("unused"), AudioArgs(beam_size=3), load=lambda folder, args: model.loaded())


def nothing(seconds: float = 3.0) -> Audio:
    samples = np.zeros(int(seconds * SAMPLE_RATE_HZ), np.float32)
    return Audio(sha256="s", samples=samples, duration_s=seconds, format="wav")


def texts(transcripts: Sequence[Transcript]) -> list[str]:
    return [transcript.text for transcript in transcripts]


def test_windows_of_different_recordings_go_through_the_model_at_once() -> None:
    whisper = model(Answer("hello there."), Answer("good bye."))
    heard = backend(whisper).transcribe([window(1), window(0), window(1)])
    assert texts(heard) == ["good bye.", "hello there.", "good bye."]
    assert len(whisper.generated) == len(whisper.aligned) == 1


def test_words_have_times_of_the_recording() -> None:
    whisper = model(Answer("one two three four"))
    (heard,) = backend(whisper).transcribe([window(0, (10.0, 11.0), (20.0, 22.0))])
    words = [word for segment in heard.segments for word in segment.words]
    assert [(word.text, word.start_s, word.end_s) for word in words] == [
        ("one", 10.0, 10.5),
        ("two", 10.5, 11.0),
        ("three", 20.0, 20.5),
        ("four", 20.5, 21.0),
    ]
    assert words[0].probability == pytest.approx(0.9)
    assert [word.tokens for word in words] == [(0,), (1,), (2,), (3,)]
    assert [segment.text for segment in heard.segments] == ["one two", "three four"]


def test_words_are_looked_for_in_the_sound_of_the_window_alone() -> None:
    whisper = model(Answer("one"))
    backend(whisper).transcribe([window(0, (0.0, 30.0)), window(0, (5.0, 6.0)), window(0, (0.0, 0.005))])
    assert [frames for _, _, frames in whisper.aligned] == [[3000, 100, 2]]


def test_nothing_to_transcribe_does_not_call_the_model() -> None:
    whisper = model()
    assert backend(whisper).transcribe([]) == []
    assert whisper.generated == []


def test_a_segment_says_how_sure_the_model_is_of_its_window() -> None:
    whisper = model(Answer("one two three. four", score=-0.4, no_speech_prob=0.3))
    (heard,) = backend(whisper).transcribe([window(0)])
    for segment in heard.segments:
        # Whisper counts the end of the text as one more token.
        assert segment.log_probability == pytest.approx(-0.4 * 4 / 5)
        assert segment.no_speech_probability == 0.3
        assert segment.temperature == 0
    assert len(heard.segments) == 2


# --- languages ---------------------------------------------------------------------------------


def test_an_english_model_is_prompted_without_a_language() -> None:
    whisper = model(Answer("hello"))
    (heard,) = backend(whisper).transcribe([window(0)])
    assert heard.language == "en"
    assert whisper.generated[0].prompts == [[SOT, NO_TIMESTAMPS]]


def test_a_multilingual_model_hears_each_window_in_its_own_language() -> None:
    whisper = model(Answer("bonjour", language="fr"), Answer("hello", language="en"), multilingual=True)
    heard = backend(whisper).transcribe([window(0), window(1), window(0)])
    assert [(each.language, each.text) for each in heard] == [
        ("fr", "bonjour"),
        ("en", "hello"),
        ("fr", "bonjour"),
    ]
    french, english = ([SOT, LANGUAGES[code], NO_TIMESTAMPS] for code in ("fr", "en"))
    assert [call.prompts for call in whisper.generated] == [[french, english, french]]
    assert sorted(start for start, _, _ in whisper.aligned) == [[SOT, 3000], [SOT, 3001]]


def test_words_of_a_language_without_spaces_stay_apart() -> None:
    whisper = model(Answer("今日 は", language="ja"), multilingual=True)
    (heard,) = backend(whisper).transcribe([window(0)])
    assert [word.text for segment in heard.segments for word in segment.words] == ["今日", "は"]


def test_a_language_that_the_client_names_is_not_guessed() -> None:
    whisper = model(Answer("bonjour", language="fr"), multilingual=True)
    (heard,) = backend(whisper).transcribe([window(0, hints=SpeechHints(language="en"))])
    assert heard.language == "en"
    assert whisper.generated[0].prompts == [[SOT, LANGUAGES["en"], NO_TIMESTAMPS]]
    assert whisper.aligned[0][0] == [SOT, LANGUAGES["en"]]
    assert whisper.detected == 0


def test_one_recording_s_language_does_not_force_that_of_another() -> None:
    whisper = model(Answer("bonjour", language="fr"), Answer("hello"), multilingual=True)
    named, free = window(1, hints=SpeechHints(language="ja")), window(0)
    assert [each.language for each in backend(whisper).transcribe([named, free])] == ["ja", "fr"]
    assert len(whisper.generated) == 1


@pytest.mark.parametrize(
    ("multilingual", "wanted", "language"),
    [(False, None, "en"), (False, "en", "en"), (True, None, "und"), (True, "fr", "fr")],
)
def test_a_recording_without_speech_has_an_empty_plan(
    multilingual: bool, wanted: str | None, language: str
) -> None:
    plan = backend(model(multilingual=multilingual)).plan(nothing(), SpeechHints(language=wanted))
    assert plan == SpeechPlan(windows=(), language=language, duration_s=3.0)


@pytest.mark.parametrize(
    ("multilingual", "language", "advice"),
    [(False, "fr", "English only"), (True, "zh", "detected"), (True, "<|fr|>", "detected")],
)
def test_a_language_that_the_model_does_not_know_is_refused(
    multilingual: bool, language: str, advice: str
) -> None:
    with pytest.raises(InvalidRequest, match=advice) as error:
        backend(model(multilingual=multilingual)).plan(nothing(), SpeechHints(language=language))
    assert error.value.param == "language"
    assert language not in error.value.message


# --- prompts -----------------------------------------------------------------------------------


def test_a_prompt_stands_before_the_start_and_does_not_come_back_as_text() -> None:
    whisper = model(Answer("hello Joey", prompted="hello Zoey"))
    (heard,) = backend(whisper).transcribe([window(0, hints=SpeechHints(prompt="Zoey and Noe"))])
    words = whisper.vocabulary.encode("Zoey and Noe")
    assert whisper.generated[0].prompts == [[SOT_PREV, *words, SOT, NO_TIMESTAMPS]]
    assert whisper.aligned[0][0] == [SOT]
    assert [word.text for segment in heard.segments for word in segment.words] == ["hello", "Zoey"]


def test_each_window_gets_its_own_prompt_and_those_of_one_length_are_decoded_at_once() -> None:
    whisper = model(Answer("zero."), Answer("one."), Answer("two."))
    prompts = ("", "Ray Serve", "vLLM", "", "Open CLIP")
    windows = [
        window(level, hints=SpeechHints(prompt=prompt))
        for level, prompt in zip((0, 1, 2, 2, 0), prompts, strict=True)
    ]
    assert texts(backend(whisper).transcribe(windows)) == ["zero.", "one.", "two.", "two.", "zero."]
    told = [[prompt[: prompt.index(SOT)][1:] for prompt in call.prompts] for call in whisper.generated]
    encode = whisper.vocabulary.encode
    assert told == [[[], []], [encode("Ray Serve"), encode("Open CLIP")], [encode("vLLM")]]


# --- temperatures ------------------------------------------------------------------------------


def test_windows_are_decoded_at_their_own_temperature() -> None:
    whisper = model(Answer("zero."), Answer("one."))
    windows = [
        window(level, hints=SpeechHints(temperature=temperature))
        for level, temperature in ((0, 0.0), (1, 0.7), (1, 0.0), (0, 0.7))
    ]
    heard = backend(whisper).transcribe(windows)
    assert texts(heard) == ["zero.", "one.", "one.", "zero."]
    assert [part.segments[0].temperature for part in heard] == [0.0, 0.7, 0.0, 0.7]
    assert [(len(call.prompts), call.beam_size) for call in whisper.generated] == [(2, 3), (2, 1)]
    assert [call.sampling for call in whisper.generated] == [(1, 1.0), (0, 0.7)]


def test_the_least_temperature_is_none() -> None:
    """Dividing by a denormal number gives no words."""
    whisper = model(Answer("zero."))
    assert texts(backend(whisper).transcribe([window(0, hints=SpeechHints(temperature=1e-45))])) == ["zero."]
    assert whisper.generated[0].sampling == (1, 1.0)


# --- loading -----------------------------------------------------------------------------------


def test_a_folder_without_a_model_is_a_configuration_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"model\.bin") as error:
        load_whisper(tmp_path, AudioArgs())
    assert str(tmp_path) not in error.value.message


def test_a_broken_model_is_a_configuration_error(tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(b"not a model")
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ConfigError, match="cannot run") as error:
        load_whisper(tmp_path, AudioArgs())
    assert str(tmp_path) not in error.value.message
