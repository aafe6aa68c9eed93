import io
import wave
from typing import TypedDict, Unpack

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image as Pillow

from multimodal.encoders.speech import window_of
from multimodal.errors import InvalidRequest
from multimodal.hearing import join
from multimodal.stages import AudioBackend, ImageBackend, ReaderBackend, TextBackend, VisionBackend
from multimodal.types import SAMPLE_RATE_HZ, Audio, SpeechHints, Transcript, VideoFeatures
from tests.encoder_fakes import (
    DIMENSIONS,
    FakeAudioEncoder,
    FakeImageEncoder,
    FakeReader,
    FakeTextEncoder,
    FakeVision,
    picture_saying,
    sound_saying,
    vector_of,
)
from tests.fakes import scene, seen
from tests.unit.encoders.pictures import image, plain


class Hints(TypedDict, total=False):
    language: str
    prompt: str
    temperature: float


def audio(samples: NDArray[np.float32]) -> Audio:
    return Audio(sha256="s", samples=samples, duration_s=len(samples) / SAMPLE_RATE_HZ, format="wav")


def transcript_of(samples: NDArray[np.float32], **hints: Unpack[Hints]) -> Transcript:
    fake, recording, said = FakeAudioEncoder(), audio(samples), SpeechHints(**hints)
    plan = fake.plan(recording, said)
    return join(plan, fake.transcribe([window_of(recording, spans, said) for spans in plan.windows]))


def heard(samples: NDArray[np.float32], **hints: Unpack[Hints]) -> list[str]:
    return [segment.text for segment in transcript_of(samples, **hints).segments]


def test_the_fakes_keep_the_protocols() -> None:
    backends: tuple[TextBackend, ImageBackend, ReaderBackend, AudioBackend, VisionBackend] = (
        FakeTextEncoder(),
        FakeImageEncoder(),
        FakeReader(),
        FakeAudioEncoder(),
        FakeVision(),
    )
    assert len(backends) == 5


def test_texts_with_words_in_common_are_closer_than_others() -> None:
    cat, feline, stock = (vector_of(text) for text in ("a black cat", "the black cat", "share prices fell"))
    assert cat @ feline > 0.5 > abs(cat @ stock)


@given(st.lists(st.text(), min_size=1, max_size=5))
def test_text_vectors_have_unit_length_and_depend_on_the_text_alone(texts: list[str]) -> None:
    together = FakeTextEncoder().encode(texts)
    for text, row in zip(texts, together, strict=True):
        assert row.vectors.shape == (1, DIMENSIONS)
        assert row.vectors.dtype == np.float32
        assert np.linalg.norm(row.vectors) == pytest.approx(1, abs=1e-5)
        assert np.array_equal(row.vectors[0], vector_of(text))
        assert row.tokens == FakeTextEncoder().count_tokens(text)


def test_the_vector_of_a_picture_is_that_of_its_main_colour() -> None:
    (features,) = FakeImageEncoder().encode([image(plain(8, 8, (200, 0, 0)))])
    assert features.vector is not None
    assert np.array_equal(features.vector, vector_of("red"))
    assert features.logit_scale is not None


def test_without_a_tower_a_picture_has_no_vector() -> None:
    (features,) = FakeImageEncoder(has_tower=False).encode([image(plain(8, 8, (200, 0, 0)))])
    assert (features.vector, features.logit_scale) == (None, None)
    assert features.colours[0].name == "red"


def test_a_picture_is_seen_as_its_vector_and_a_video_as_those_of_its_scenes() -> None:
    red, blue = vector_of("red"), vector_of("blue")
    scenes = (scene(red, 2), scene(blue, 1, start_s=2.0), scene(None, 1, start_s=3.0))
    clip = VideoFeatures(sha256="v", duration_s=4.0, width=6, height=4, scenes=scenes, transcript=None)
    assert np.array_equal(FakeVision().connect(seen(red)).rows, red[None])
    assert np.array_equal(FakeVision().connect(clip).rows, np.stack([red, blue, np.zeros(DIMENSIONS)]))


def test_words_in_a_picture_are_read_after_png() -> None:
    buffer = io.BytesIO()
    Pillow.fromarray(picture_saying("TOTAL 42 EUR\nThank you!")).save(buffer, "png")
    pixels = np.asarray(Pillow.open(buffer))
    (text,) = FakeReader().read([image(pixels)])
    assert [line.text for line in text.lines] == ["TOTAL 42 EUR", "Thank you!"]
    assert text.lines[0].box[3] <= text.lines[1].box[1]


def test_other_pictures_read_as_their_colour_and_white_paper_as_nothing() -> None:
    texts = FakeReader().read([image(plain(8, 8, (0, 0, 200))), image(plain(8, 8))])
    assert [[line.text for line in text.lines] for text in texts] == [["blue"], []]


def test_words_in_a_sound_are_heard_after_16_bit_wav() -> None:
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE_HZ)
        file.writeframes((sound_saying("the meeting starts") * 32768).astype("<i2").tobytes())
    buffer.seek(0)
    with wave.open(buffer) as file:
        levels = np.frombuffer(file.readframes(file.getnframes()), "<i2")
    assert heard((levels / 32768).astype(np.float32)) == ["the meeting starts"]


def test_heard_words_have_times_within_the_sound() -> None:
    (segment,) = transcript_of(sound_saying("one two", seconds=3)).segments
    assert [(word.text, word.start_s, word.end_s) for word in segment.words] == [
        ("one", 0, 1.5),
        ("two", 1.5, 3),
    ]


def test_long_sound_is_heard_in_windows_with_times_in_the_recording() -> None:
    hum = np.full(45 * SAMPLE_RATE_HZ, 0.3, np.float32)
    plan = FakeAudioEncoder().plan(audio(hum), SpeechHints())
    assert (plan.windows, plan.duration_s) == ((((0, 30),), ((30, 45),)), 45)
    assert heard(hum) == ["30.0 seconds of sound", "15.0 seconds of sound"]


def test_nobody_speaks_in_silence() -> None:
    nothing = transcript_of(np.zeros(SAMPLE_RATE_HZ, np.float32))
    assert nothing == Transcript(segments=(), language="en", duration_s=1.0)


def test_what_a_client_says_about_a_sound_shows_in_what_is_heard() -> None:
    hum = np.full(2 * SAMPLE_RATE_HZ, 0.3, np.float32)
    transcript = transcript_of(hum, language="de", prompt="rain", temperature=0.5)
    assert (transcript.text, transcript.language) == ("2.0 seconds of rain", "de")
    assert transcript.segments[0].temperature == 0.5


def test_a_language_that_whisper_does_not_have_is_refused() -> None:
    with pytest.raises(InvalidRequest) as error:
        FakeAudioEncoder().plan(audio(sound_saying("one")), SpeechHints(language="xx"))
    assert error.value.param == "language"


def test_words_that_do_not_fit_are_an_error_of_the_test() -> None:
    with pytest.raises(ValueError, match="fit"):
        picture_saying("x" * 100, width=4, height=4)
