"""Stages that hang, are full or die: what callers are told, and that nothing is lost.

Real Ray Serve with backends that wait where a request tells them to (see `obedient`).
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import httpx
import psutil
import pytest

from multimodal.serving.background import RunningServer, running_server
from tests.e2e.conftest import MODEL
from tests.e2e.envelope import Error, error_in, error_of, events_of
from tests.e2e.obedient import Gate, until
from tests.e2e.profile import Options, write_profile

CHAT = "/v1/chat/completions"
ENCODER_TIMEOUT_S = 3.0
KNOWN_S = 5.0
"""How long after it can be known a client is told."""

PATIENCE_S = 60.0
NOTICED_S = 10.0
"""For Serve to see that a replica is dead: one health check of Generator takes 2 s."""

ENCODER_SLOTS, GATEWAY_SLOTS = 2, 24
ENCODER = {"max_ongoing_requests": ENCODER_SLOTS, "max_queued_requests": 3}
GATEWAY = {"max_ongoing_requests": GATEWAY_SLOTS, "max_queued_requests": 8}

Part = dict[str, object]
Body = Mapping[str, object]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("gates")


@pytest.fixture(scope="module")
def model(folder: Path) -> Path:
    """Without this file Generator cannot start."""
    path = folder / "model"
    path.touch()
    return path


@pytest.fixture(scope="module")
def server(folder: Path, model: Path) -> Iterator[RunningServer]:
    """Short queues, and encoders that may take a few seconds only."""

    def change(args: dict[str, object], options: Options) -> None:
        args["generator"] = {"model": f"file:{model}"}
        for encoder in ("text", "audio"):
            args[encoder] = {"timeout_s": ENCODER_TIMEOUT_S}
        options["ImageEncoder"].update(ENCODER)
        options["Gateway"].update(GATEWAY)

    with running_server(write_profile(folder, change, "obedient")) as server:
        yield server


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    """Open at the end, whatever happened: a stage that still waits would block later tests."""
    gate = Gate(tmp_path / "gate")
    yield gate
    gate.open()


@pytest.fixture(autouse=True)
def healthy(server: RunningServer) -> None:
    """Every test finds every stage at work, whatever the one before has killed."""
    until(lambda: httpx.get(f"{server.base_url}/readyz", timeout=PATIENCE_S).status_code == 200)
    until(lambda: post(server, chat(picture("any"), "well?")).status_code == 200)


def picture(said: str) -> Part:
    """What the stages of the picture are told."""
    encoded = base64.b64encode(said.encode()).decode()
    return {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{encoded}"}}


def sound(said: str) -> Part:
    return {
        "type": "input_audio",
        "input_audio": {"data": base64.b64encode(said.encode()).decode(), "format": "wav"},
    }


def chat(*parts: Part | str, **options: object) -> Body:
    content = [{"type": "text", "text": part} if isinstance(part, str) else part for part in parts]
    return {"model": MODEL, "messages": [{"role": "user", "content": content}], **options}


def post(
    server: RunningServer, body: Body, path: str = CHAT, *, timeout_s: float = PATIENCE_S
) -> httpx.Response:
    return httpx.post(f"{server.base_url}{path}", json=body, timeout=timeout_s)


def said(response: httpx.Response) -> str:
    return str(response.raise_for_status().json()["choices"][0]["message"]["content"])


def at_once(server: RunningServer, bodies: list[Body]) -> list[Future[httpx.Response]]:
    """All of them, each on a connection of its own."""
    pool = ThreadPoolExecutor(len(bodies))
    futures = [pool.submit(post, server, body) for body in bodies]
    pool.shutdown(wait=False)
    return futures


def some_are_done(futures: list[Future[httpx.Response]]) -> bool:
    """They were refused, when every slot is taken. How many is for Serve to say: its queue may overflow."""
    return any(future.done() for future in futures)


def replica(server: RunningServer, deployment: str) -> psutil.Process:
    """The process of a deployment with one replica."""
    for child in psutil.Process(server.pid).children(recursive=True):
        if f":multimodal:{deployment}" in " ".join(child.cmdline()):
            return child
    raise AssertionError(f"{deployment} has no process")


def stream(
    server: RunningServer, body: Body, on_line: Callable[[str], None] = lambda line: None
) -> list[str]:
    """The events of a stream that is closed cleanly, which httpx insists on."""
    lines = []
    with httpx.stream("POST", f"{server.base_url}{CHAT}", json=body, timeout=PATIENCE_S) as response:
        assert response.status_code == 200
        for line in response.iter_lines():
            lines.append(line)
            on_line(line)
    return events_of(lines)


def assert_full(response: httpx.Response) -> None:
    error = error_of(response)
    assert (response.status_code, error["type"], error["code"]) == (429, "rate_limit_error", "overloaded")
    assert int(response.headers["retry-after"]) > 0


def assert_restarting(response: httpx.Response) -> Error:
    error = error_of(response)
    assert (response.status_code, error["type"], error["code"]) == (503, "server_error", "stage_unavailable")
    assert int(response.headers["retry-after"]) > 0
    return error


# --- hanging -----------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True])
def test_an_encoder_that_never_answers_is_named_in_time(
    server: RunningServer, gate: Gate, stream: bool
) -> None:
    body = chat("what?", sound(gate.before("AudioEncoder")), stream=stream)
    response = post(server, body, timeout_s=ENCODER_TIMEOUT_S + KNOWN_S)
    error = error_of(response)
    assert gate.waiting == 1
    assert (response.status_code, error["type"], error["code"]) == (504, "timeout_error", "deadline_exceeded")
    assert "AudioEncoder" in str(error["message"])
    assert error["param"] == "messages.0.content.1"


def test_so_it_is_in_embeddings_and_transcriptions(server: RunningServer, gate: Gate) -> None:
    timeout_s = ENCODER_TIMEOUT_S + KNOWN_S
    text = {"model": "text", "input": gate.before("TextEncoder")}
    embeddings = post(server, text, "/v1/embeddings", timeout_s=timeout_s)
    transcription = httpx.post(
        f"{server.base_url}/v1/audio/transcriptions",
        files={"file": ("speech.wav", gate.before("AudioEncoder").encode())},
        data={"model": "whisper-1"},
        timeout=timeout_s,
    )
    for response, stage in ((embeddings, "TextEncoder"), (transcription, "AudioEncoder")):
        error = error_of(response)
        assert (response.status_code, error["code"]) == (504, "deadline_exceeded")
        assert stage in str(error["message"])


def test_a_stream_that_has_begun_ends_with_the_error(server: RunningServer, gate: Gate) -> None:
    body = chat(sound(gate.before("AudioEncoder")), stream=True, stream_options={"include_stages": True})
    *begun, last = stream(server, body)
    assert begun
    assert error_in(last)["code"] == "deadline_exceeded"


# --- full --------------------------------------------------------------------------------------


def test_a_full_queue_refuses_what_it_cannot_hold_and_loses_nothing(
    server: RunningServer, gate: Gate
) -> None:
    # Other bytes each: who asks about the same shares the work.
    told = [f"{gate.before('ImageEncoder')} {n}" for n in range(20)]
    bodies = [chat(picture(told[n]), f"number {n}", stream=n % 2 == 1) for n in range(20)]
    futures = at_once(server, bodies)
    until(lambda: gate.waiting > 0 and some_are_done(futures))
    gate.open()
    answers = [future.result() for future in futures]
    accepted = [n for n, answer in enumerate(answers) if answer.status_code == 200]
    assert ENCODER_SLOTS <= len(accepted) < len(answers)
    for n in accepted:
        assert f"{n} " in answers[n].text
    for n in set(range(20)) - set(accepted):
        assert_full(answers[n])
        assert error_of(answers[n])["param"] == "messages.0.content.0"


def test_a_full_gateway_says_the_same(server: RunningServer, gate: Gate) -> None:
    futures = at_once(server, [chat(f"number {n} {gate.before('Generator')}") for n in range(60)])
    until(lambda: gate.waiting >= GATEWAY_SLOTS and some_are_done(futures))
    gate.open()
    answers = [future.result() for future in futures]
    accepted = [n for n, answer in enumerate(answers) if answer.status_code == 200]
    assert GATEWAY_SLOTS <= len(accepted) < len(answers)
    for n in accepted:
        assert said(answers[n]).startswith(f"number {n} ")
    for n in set(range(60)) - set(accepted):
        assert_full(answers[n])


# --- dead --------------------------------------------------------------------------------------


def test_a_generator_that_dies_ends_its_streams_with_an_error(server: RunningServer, gate: Gate) -> None:
    generator = replica(server, "Generator")

    def kill_at_the_second_word(line: str) -> None:
        if "two" in line:
            generator.kill()

    events = stream(
        server, chat(f"one two {gate.before('Generator')} three", stream=True), kill_at_the_second_word
    )
    assert error_in(events[-1])["code"] == "stage_unavailable"
    assert not any("three" in event for event in events)


def test_without_a_generator_clients_are_told_when_to_come_back(server: RunningServer, model: Path) -> None:
    model.unlink()
    try:
        replica(server, "Generator").kill()
        # The first ones may come before Serve knows.
        for _ in range(3):
            response = post(server, chat("hello"), timeout_s=NOTICED_S + KNOWN_S)
            assert "Generator" in str(assert_restarting(response)["message"])
        embeddings = post(server, {"model": "text", "input": "still here"}, "/v1/embeddings")
        assert embeddings.status_code == 200
    finally:
        model.touch()
    until(lambda: post(server, chat("hello")).status_code == 200)


def test_an_encoder_that_dies_is_named(server: RunningServer, gate: Gate) -> None:
    (answer,) = at_once(server, [chat(picture(gate.before("ImageEncoder")))])
    until(lambda: gate.waiting == 1)
    replica(server, "ImageEncoder").kill()
    error = assert_restarting(answer.result())
    assert "ImageEncoder" in str(error["message"])
    assert error["param"] == "messages.0.content.0"


def test_media_that_are_lost_are_loaded_again(server: RunningServer, gate: Gate) -> None:
    (answer,) = at_once(server, [chat(picture(gate.before("MediaLoader")), "well?")])
    until(lambda: gate.waiting == 1)
    replica(server, "MediaLoader").kill()
    until(lambda: gate.waiting == 2)
    gate.open()
    assert "well?" in said(answer.result())


def test_media_outlive_the_process_that_decoded_them(
    server: RunningServer, gate: Gate, tmp_path: Path
) -> None:
    busy = at_once(server, [chat(picture(gate.before("ImageEncoder")))] * ENCODER_SLOTS)
    until(lambda: gate.waiting >= 1)
    loaded = Gate(tmp_path / "loaded")
    loaded.open()

    def kill_when_it_is_loaded(line: str) -> None:
        if "encoding image" in line and not gate.is_open:
            replica(server, "MediaLoader").kill()
            gate.open()

    body = chat(picture(loaded.before("MediaLoader")), stream=True, stream_options={"include_stages": True})
    assert stream(server, body, kill_when_it_is_loaded)[-1] == "[DONE]"
    assert gate.is_open
    assert loaded.waiting == 1
    assert {one.result().status_code for one in busy} == {200}


def test_a_gateway_that_dies_leaves_no_answer_that_looks_whole(server: RunningServer, gate: Gate) -> None:
    (whole,) = at_once(server, [chat(gate.before("Generator"))])
    until(lambda: gate.waiting == 1)

    def kill_at_the_second_word(line: str) -> None:
        if "two" in line:
            replica(server, "Gateway").kill()

    body = chat(f"one two {gate.before('Generator')} three", stream=True)
    with pytest.raises(httpx.RemoteProtocolError, match="incomplete"):
        stream(server, body, kill_at_the_second_word)
    assert_restarting(whole.result())
