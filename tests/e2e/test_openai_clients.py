"""OpenAI's own clients, in Python and in JavaScript, find everything where they expect it."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import TypedDict

import openai
import pytest
from openai.types.audio import TranscriptionTextDeltaEvent, TranscriptionTextDoneEvent

from multimodal.serving.background import RunningServer
from tests import media
from tests.e2e.conftest import MODEL, ROOT
from tests.e2e.parts import picture, user, words

SENTENCE = "Hello, my name is Anna and I live in Berlin."
PRINTED = "TOTAL 42 EUR"
SPEECH_MODEL = "whisper-1"
TEXT_DIMENSIONS = 384

JAVASCRIPT = ROOT / "tests" / "e2e" / "js"
INSTALL_TIMEOUT_S = 180
SCRIPT_TIMEOUT_S = 180


def recording() -> tuple[str, bytes, str]:
    """A spoken sentence, as the clients take files."""
    return "anna.wav", media.speech(SENTENCE), "audio/wav"


# --- Python ------------------------------------------------------------------------------------


def test_python_chats(client: openai.OpenAI) -> None:
    question = user(words("What is written in the picture?"), picture(media.picture_with_text(PRINTED)))
    whole = client.chat.completions.create(model=MODEL, messages=[question], max_tokens=40)
    with client.chat.completions.stream(
        model=MODEL, messages=[question], max_tokens=40, stream_options={"include_usage": True}
    ) as stream:
        streamed = stream.get_final_completion()
    assert PRINTED in (whole.choices[0].message.content or "")
    assert streamed.choices[0].message.content == whole.choices[0].message.content
    assert whole.usage is not None
    assert streamed.usage is not None
    assert streamed.usage.completion_tokens == whole.usage.completion_tokens


def test_python_lists_models_and_finds_each_of_them(client: openai.OpenAI) -> None:
    models = list(client.models.list())
    assert models[0].id == MODEL
    assert [client.models.retrieve(model.id) for model in models] == models


def test_python_embeds(client: openai.OpenAI) -> None:
    rows = client.embeddings.create(model="text", input=["a red apple", "a green pear"])
    assert [len(row.embedding) for row in rows.data] == [TEXT_DIMENSIONS] * 2


def test_python_transcribes(client: openai.OpenAI) -> None:
    create = client.audio.transcriptions.create
    assert "Berlin" in create(model=SPEECH_MODEL, file=recording()).text
    assert "Berlin" in create(model=SPEECH_MODEL, file=recording(), response_format="text")
    srt = create(model=SPEECH_MODEL, file=recording(), response_format="srt")
    assert srt.startswith("1\n00:00:0")
    assert "Berlin" in srt
    vtt = create(model=SPEECH_MODEL, file=recording(), response_format="vtt")
    assert vtt.startswith("WEBVTT\n\n00:0")
    assert "Berlin" in vtt


def test_python_transcribes_with_times(client: openai.OpenAI) -> None:
    detailed = client.audio.transcriptions.create(
        model=SPEECH_MODEL,
        file=recording(),
        response_format="verbose_json",
        timestamp_granularities=["word", "segment"],
    )
    assert detailed.language == "english"
    assert detailed.words is not None
    assert detailed.segments is not None
    assert "".join(segment.text for segment in detailed.segments).strip() == detailed.text
    assert any("Berlin" in word.word for word in detailed.words)
    assert all(0 <= word.start <= word.end <= detailed.duration for word in detailed.words)


def test_python_transcribes_in_a_stream(client: openai.OpenAI) -> None:
    stream = client.audio.transcriptions.create(model=SPEECH_MODEL, file=recording(), stream=True)
    events = list(stream)
    deltas = [event.delta for event in events if isinstance(event, TranscriptionTextDeltaEvent)]
    assert isinstance(events[-1], TranscriptionTextDoneEvent)
    assert "Berlin" in events[-1].text
    assert "".join(deltas) == events[-1].text


def test_python_raises_its_own_errors(client: openai.OpenAI) -> None:
    hello = user(words("Hi"))
    with pytest.raises(openai.NotFoundError) as unknown:
        client.chat.completions.create(model="no-such-model", messages=[hello])
    assert (unknown.value.code, unknown.value.param) == ("model_not_found", "model")
    with pytest.raises(openai.BadRequestError) as beyond:
        client.chat.completions.create(model=MODEL, messages=[hello], temperature=3)
    assert beyond.value.param == "temperature"
    with pytest.raises(openai.BadRequestError) as broken:
        client.audio.transcriptions.create(model=SPEECH_MODEL, file=("noise.wav", b"not a recording"))
    assert (broken.value.code, broken.value.param) == ("invalid_media", "file")
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("no-such-model")


# --- JavaScript --------------------------------------------------------------------------------


class Said(TypedDict):
    """An answer."""

    text: str
    usage: dict[str, object]


class Streamed(Said):
    """An answer that came in pieces."""

    finishReason: str


class Heard(TypedDict):
    """A transcript that came in pieces, and as the last event has it."""

    text: str
    done: str


class Refused(TypedDict):
    """An error."""

    name: str
    status: int
    code: str
    param: str


class Got(TypedDict):
    """What client.mjs writes."""

    models: list[str]
    whole: Said
    streamed: Streamed
    seen: str
    embeddings: list[int]
    transcript: str
    subtitles: str
    words: list[str]
    heard: Heard
    refused: Refused


@pytest.fixture(scope="module")
def javascript(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the script and the client that its lock file names."""
    folder = tmp_path_factory.mktemp("javascript")
    for file in JAVASCRIPT.iterdir():
        if file.is_file():
            shutil.copy(file, folder)
    run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"], folder, INSTALL_TIMEOUT_S)
    return folder


def run(command: list[str], folder: Path, timeout_s: float) -> str:
    """What a command writes."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=timeout_s, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_javascript_does_all_of_it(javascript: Path, server: RunningServer) -> None:
    (javascript / "anna.wav").write_bytes(media.speech(SENTENCE))
    (javascript / "printed.png").write_bytes(media.picture_with_text(PRINTED))
    command = ["node", "client.mjs", f"{server.base_url}/v1", "anna.wav", "printed.png"]
    got: Got = json.loads(run(command, javascript, SCRIPT_TIMEOUT_S))

    assert got["models"][0] == MODEL
    assert "Tokyo" in got["whole"]["text"]
    assert got["streamed"]["text"] == got["whole"]["text"]
    assert got["streamed"]["finishReason"] in ("stop", "length")
    assert got["streamed"]["usage"]["completion_tokens"] == got["whole"]["usage"]["completion_tokens"]
    assert PRINTED in got["seen"]
    assert got["embeddings"] == [TEXT_DIMENSIONS] * 2
    assert "Berlin" in got["transcript"]
    assert got["subtitles"].startswith("1\n00:00:0")
    assert any("Berlin" in word for word in got["words"])
    assert got["heard"]["text"] == got["heard"]["done"]
    assert "Berlin" in got["heard"]["text"]
    assert got["refused"] == {
        "name": "NotFoundError",
        "status": 404,
        "code": "model_not_found",
        "param": "model",
    }


def test_the_lock_file_names_no_registry() -> None:
    # Anybody's own registry must do.
    lock = (JAVASCRIPT / "package-lock.json").read_text(encoding="utf-8")
    assert '"integrity": "sha512-' in lock
    assert "://" not in lock
