"""Recordings and videos on the real server: transcripts, scenes, and questions about them."""

from __future__ import annotations

import io
import json
import wave

import httpx
import numpy as np
import openai
import pytest
from openai.types.audio import TranscriptionTextDeltaEvent

from tests import media

CITIES = ("Berlin", "London", "Paris", "Madrid", "Boston", "Chicago")
CHAPTERS = (("firebrick", "CHAPTER ONE", 4.0), ("darkgreen", "CHAPTER TWO", 2.0), ("navy", "THE END", 6.0))


def form(name: str, data: bytes, **fields: str) -> dict[str, object]:
    """Arguments of a multipart request."""
    return {"files": {"file": (name, data)}, "data": fields}


def post(http: httpx.Client, path: str, request: dict[str, object]) -> httpx.Response:
    return http.post(path, **request)  # type: ignore[arg-type]


def events(response: httpx.Response) -> list[dict[str, object]]:
    lines = [line for line in response.text.splitlines() if line]
    assert lines[-1] == "data: [DONE]"
    return [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]


def spoken(text: str) -> np.ndarray[tuple[int], np.dtype[np.int16]]:
    with wave.open(io.BytesIO(media.speech(text))) as file:
        return np.frombuffer(file.readframes(file.getnframes()), np.int16)


def long_recording(pause_s: int = 2) -> tuple[bytes, list[float]]:
    """Three minutes of a voice that names a city every half minute, and when each begins. As MP3."""
    rate_hz, filler = (
        22_050,
        spoken("Then she looked at the map for a while and wrote a letter to her brother."),
    )
    samples, starts_s, length = [], [], 0
    for city in CITIES:
        told = [spoken(f"My name is Anna and I live in {city}.")]
        while sum(map(len, told)) < 26 * rate_hz:
            told += [np.zeros(rate_hz, np.int16), filler]
        told.append(np.zeros(pause_s * rate_hz, np.int16))
        starts_s.append(length / rate_hz)
        samples += told
        length += sum(map(len, told))
    whole = media.wav(np.concatenate(samples).tolist(), rate_hz=rate_hz)
    return media.as_sound(whole, "mp3"), starts_s


def test_a_long_recording_is_heard_to_its_end_and_in_order(client: openai.OpenAI) -> None:
    recording, starts_s = long_recording()
    heard = client.audio.transcriptions.create(
        model="whisper-1", file=("long.mp3", recording), response_format="verbose_json"
    )
    assert heard.segments is not None
    assert [segment.start for segment in heard.segments] == sorted(s.start for s in heard.segments)
    for city, start_s in zip(CITIES, starts_s, strict=True):
        named = [segment.start for segment in heard.segments if city in segment.text]
        assert any(abs(named_s - start_s) < 3 for named_s in named), (city, start_s, named)


def test_a_long_recording_streams_in_parts_that_make_up_the_whole(client: openai.OpenAI) -> None:
    recording, _ = long_recording(pause_s=3)  # none that is known already
    *deltas, done = client.audio.transcriptions.create(
        model="whisper-1", file=("long.mp3", recording), stream=True
    )
    assert len(deltas) > 1
    assert done.type == "transcript.text.done"
    assert "".join(e.delta for e in deltas if isinstance(e, TranscriptionTextDeltaEvent)) == done.text


def test_nobody_speaks_in_silence(client: openai.OpenAI) -> None:
    for recording in (media.silence(40), media.tone(3)):
        assert client.audio.transcriptions.create(model="whisper-1", file=("a.wav", recording)).text == ""


def test_a_prompt_helps_with_a_name(client: openai.OpenAI) -> None:
    recording = ("a.wav", media.speech("We run everything on Kubernetes."))
    heard = client.audio.transcriptions.create(model="whisper-1", file=recording, prompt="Kubernetes, Qdrant")
    assert "Kubernetes" in heard.text


def test_a_language_that_the_model_does_not_hear_is_refused(client: openai.OpenAI) -> None:
    recording = ("a.wav", media.speech("Good morning."))
    with pytest.raises(openai.BadRequestError) as error:
        client.audio.transcriptions.create(model="whisper-1", file=recording, language="de")
    assert error.value.param == "language"


def test_a_recording_is_transcribed_and_asked_about(http: httpx.Client) -> None:
    recording = media.speech("Hello, my name is Anna and I live in Berlin.")
    request = form("a.wav", recording, prompt="Where does Anna live?")
    answer = post(http, "/v1/audio/transcribe", request).raise_for_status().json()
    assert "Berlin" in answer["text"]
    assert "Berlin" in answer["answer"]
    assert answer["segments"][0]["end_s"] <= answer["duration_s"]
    assert answer["usage"]["completion_tokens"] > 0


def test_a_recording_without_a_question_costs_no_tokens(http: httpx.Client) -> None:
    request = form("a.mp3", media.speech("Hello, my name is Anna and I live in Berlin.", "mp3"))
    answer = post(http, "/v1/audio/transcribe", request).raise_for_status().json()
    assert (answer["answer"], answer["usage"]) == (None, None)


@pytest.mark.parametrize("sampling", ["uniform", "keyframes", "scene"])
def test_a_video_is_told_with_the_times_of_its_frames_and_the_text_on_them(
    http: httpx.Client, sampling: str
) -> None:
    body = {
        "video_url": {"url": media.data_url("video/mp4", media.cut_clip(CHAPTERS))},
        "frame_sampling": sampling,
        "max_frames": 6,
    }
    found = http.post("/v1/video/analyze", json=body).raise_for_status().json()
    times_s = [frame["time_s"] for frame in found["frames"]]
    assert times_s == sorted(times_s)
    assert 0 < len(times_s) <= 6
    assert times_s[-1] <= found["duration_s"]
    for frame in found["frames"]:
        assert frame["time_s"] in found["scenes"][frame["scene"]]["frame_times_s"]
    read = [scene["text"] for scene in found["scenes"]]
    chapters = [text for _, text, _ in CHAPTERS]
    # The encoder need not place a key frame in each of them.
    assert read == ([text for text in chapters if text in read] if sampling == "keyframes" else chapters)
    assert found["transcript"] is None
    assert found["answer"] is None


def test_scenes_are_cut_where_the_picture_changes(http: httpx.Client) -> None:
    request = form("a.mp4", media.cut_clip(CHAPTERS), frame_sampling="scene")
    scenes = post(http, "/v1/video/analyze", request).raise_for_status().json()["scenes"]
    assert [scene["start_s"] for scene in scenes] == pytest.approx([0, 4, 6], abs=0.3)


def test_a_clip_streams_what_is_known_and_then_the_answer(http: httpx.Client) -> None:
    clip = media.captioned_clip(voice="Hello, my name is Anna and I live in Berlin.")
    request = form("a.mp4", clip, prompt="Where does Anna live?", stream="true", max_tokens="40")
    known, *deltas, done = events(post(http, "/v1/video/analyze", request).raise_for_status())
    assert known["object"] == "video.analysis"
    transcript = known["transcript"]
    assert isinstance(transcript, dict)
    assert "Berlin" in transcript["text"]
    # tiny.en hears another name through this codec, so that what is answered is not asked here.
    assert deltas
    assert "".join(str(event["delta"]) for event in deltas) == done["answer"]


def test_a_broken_clip_is_named_before_a_stream_begins(http: httpx.Client) -> None:
    broken = media.truncated(media.captioned_clip())
    for fields in ({}, {"stream": "true"}):
        refused = post(http, "/v1/video/analyze", form("a.mp4", broken, **fields))
        assert refused.status_code == 400
        assert refused.json()["error"]["param"] == "file"
