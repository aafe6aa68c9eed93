"""Models, health, readiness, metrics, and the log."""

from __future__ import annotations

import json
import logging
from itertools import count

import httpx
import pytest
from fastapi import FastAPI
from prometheus_client.parser import text_string_to_metric_families

from multimodal.api import create_app
from multimodal.config import AppArgs, GeneratorArgs, TextArgs
from multimodal.errors import DeadlineExceeded
from multimodal.types import Delta, GenerationStep, StageEvent, StageState
from tests.unit.api.fakes import (
    ACCEPTED,
    HELLO,
    NOW_S,
    FakeService,
    call,
    chat_body,
    end,
    tokens,
)

CHAT = "/v1/chat/completions"


async def test_generator_is_the_first_model(client: httpx.AsyncClient) -> None:
    models = (await client.get("/v1/models")).json()

    assert models["object"] == "list"
    names = [model["id"] for model in models["data"]]
    assert names == ["smollm2-135m-instruct", "all-minilm-l6-v2", "image-tower", "whisper-tiny.en"]
    assert models["data"][0] == {
        "id": "smollm2-135m-instruct",
        "object": "model",
        "created": int(NOW_S),
        "owned_by": "multimodal",
        "modalities": ["text", "image", "audio", "video", "document"],
        "endpoints": ["/v1/chat/completions", "/v1/audio/transcribe", "/v1/video/analyze"],
    }


@pytest.mark.parametrize(
    ("reference", "name"),
    [
        ("hf:sentence-transformers/all-MiniLM-L12-v2@main", "sentence-transformers/all-MiniLM-L12-v2"),
        ("file:/srv/secret/models/mine", "mine"),
        ("embedded:other", "other"),
    ],
)
async def test_names_tell_nothing_but_the_model(reference: str, name: str) -> None:
    args = AppArgs(text=TextArgs(model=reference), generator=GeneratorArgs(served_name="org/big"))
    app = create_app(FakeService, args)

    for wanted in (name, "org/big"):
        caller = await call(app, f"/v1/models/{wanted}", method="GET")
        assert caller.status == 200
        assert json.loads(caller.body)["id"] == wanted


async def test_models_are_found_by_their_conventional_names(client: httpx.AsyncClient) -> None:
    assert (await client.get("/v1/models/text")).json()["id"] == "all-minilm-l6-v2"
    assert (await client.get("/v1/models/image")).json()["id"] == "image-tower"


async def test_the_image_tower_is_a_model_where_it_shares_the_space_of_the_texts() -> None:
    async def entries(**image: object) -> dict[str, tuple[list[str], list[str]]]:
        app = create_app(FakeService, AppArgs.model_validate({"image": image, "vision": None}))
        models = json.loads((await call(app, "/v1/models", method="GET")).body)["data"]
        return {model["id"]: (model["modalities"], model["endpoints"]) for model in models}

    served = ["/v1/embeddings", "/v1/classify"]
    found = await entries(model="hf:someone/tower@main")
    assert found["all-minilm-l6-v2"] == (["text", "audio", "document"], served)
    assert found["someone/tower"] == (["image", "video"], served)
    assert "someone/tower" not in await entries(model="hf:someone/tower@main", space="own")
    assert len(await entries(model=None)) == len(found) - 1


async def test_unknown_model(client: httpx.AsyncClient) -> None:
    response = await client.get("/v1/models/gpt-4o")

    assert response.status_code == 404
    assert response.json()["error"]["code"] == "model_not_found"


async def test_health(client: httpx.AsyncClient) -> None:
    assert (await client.get("/healthz")).json() == {"status": "ok"}


async def test_ready_when_every_stage_is(client: httpx.AsyncClient, service: FakeService) -> None:
    service.stages = {"Generator": StageState.READY, "Reader": StageState.READY}
    response = await client.get("/readyz")

    assert response.status_code == 200
    assert response.json() == {
        "status": "ready",
        "stages": {"Generator": "ready", "Reader": "ready"},
        "unavailable": [],
    }


async def test_not_ready_names_the_stages(client: httpx.AsyncClient, service: FakeService) -> None:
    service.stages = {
        "Generator": StageState.STARTING,
        "Reader": StageState.READY,
        "TextEncoder": StageState.UNAVAILABLE,
    }
    response = await client.get("/readyz")

    assert response.status_code == 503
    assert response.headers["retry-after"] == "5"
    assert response.json()["unavailable"] == ["Generator", "TextEncoder"]
    assert response.json()["error"] == {
        "message": "Not ready yet: Generator (starting), TextEncoder (unavailable).",
        "type": "server_error",
        "code": "stage_unavailable",
    }


async def test_not_ready_when_no_stage_is_known(client: httpx.AsyncClient, service: FakeService) -> None:
    service.stages = {}
    assert (await client.get("/readyz")).status_code == 503


async def _samples(app: FastAPI) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    caller = await call(app, "/metrics", method="GET")
    assert caller.headers["content-type"].startswith("text/plain")
    samples = {}
    for family in text_string_to_metric_families(caller.body.decode()):
        for sample in family.samples:
            labels = dict(sample.labels)
            assert (labels.pop("deployment"), labels.pop("replica")) == ("Gateway", "local")
            samples[sample.name, tuple(sorted(labels.items()))] = sample.value
    return samples


async def test_requests_are_counted_by_endpoint_code_and_tenant(app: FastAPI, service: FakeService) -> None:
    await call(app, CHAT, chat_body())
    await call(app, CHAT, b"{")
    await call(app, "/v1/models/gpt-4o", method="GET")
    await call(app, "/some/path", method="GET")
    await call(app, CHAT, chat_body(), client=("10.0.0.1", 1))
    service.script = (ACCEPTED, DeadlineExceeded("Too late."))
    await call(app, CHAT, chat_body(stream=True))

    counted = {
        tuple(value for _, value in labels): value
        for (name, labels), value in (await _samples(app)).items()
        if name == "multimodal_requests_total"
    }
    assert counted == {
        ("200", CHAT, "local"): 1,
        ("400", CHAT, "local"): 1,
        ("404", "/v1/models/{model_id:path}", "local"): 1,
        ("404", "unmatched", "local"): 1,
        ("403", CHAT, ""): 1,
        ("504", CHAT, "local"): 1,
    }


async def test_prompts_whose_beginning_was_known_are_counted(app: FastAPI, service: FakeService) -> None:
    await call(app, CHAT, chat_body())  # of 11 tokens, 4 were in the cache
    await call(app, "/v1/embeddings", {"model": "text", "input": "no prompt"})

    samples = await _samples(app)
    hit = (("feature", "kv_prefix"), ("modality", "prompt"), ("result", "hit"), ("tier", "engine"))
    found = {
        labels: value for (name, labels), value in samples.items() if name.endswith("cache_requests_total")
    }
    assert found == {hit: 1}


async def test_times_are_observed(service: FakeService) -> None:
    ticks = count()  # every look at the timer is a second later
    app = create_app(lambda: service, AppArgs(), timer=lambda: float(next(ticks)))
    service.script = (
        StageEvent(stage="encode", param="messages.0.content.0"),
        StageEvent(stage="encode", param="messages.0.content.0", seconds=0.25),
        *(ACCEPTED, *tokens("a", "b")),
        GenerationStep(deltas=(Delta(index=0, text="cd", tokens=2),)),
        end(),
    )
    await call(app, CHAT, chat_body(stream=True))

    samples = await _samples(app)
    assert samples["multimodal_ttft_seconds_count", ()] == 1
    assert samples["multimodal_ttft_seconds_sum", ()] == 1
    assert samples["multimodal_inter_token_seconds_count", ()] == 2
    assert samples["multimodal_inter_token_seconds_sum", ()] == 1.5
    assert samples["multimodal_stage_seconds_sum", (("stage", "encode"),)] == 0.25


async def test_apps_have_metrics_of_their_own() -> None:
    first, second = create_app(FakeService, AppArgs()), create_app(FakeService, AppArgs())
    await call(first, CHAT, chat_body())

    assert not [name for name, _ in await _samples(second) if name == "multimodal_requests_total"]


def _lines(caplog: pytest.LogCaptureFixture, name: str) -> list[dict[str, object]]:
    return [json.loads(record.message) for record in caplog.records if record.name == name]


async def test_each_request_has_one_log_line(
    app: FastAPI, service: FakeService, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    service.script = (StageEvent(stage="generate"), *HELLO, StageEvent(stage="generate", seconds=1.0))
    body = chat_body() | {"messages": [{"role": "user", "content": "PRIVATE"}]}
    await call(app, CHAT, body, headers={"x-request-id": "r1"})

    assert _lines(caplog, "multimodal.request") == [
        {
            "event": "request",
            "request_id": "r1",
            "tenant": "local",
            "endpoint": CHAT,
            "status": 200,
            "duration_ms": 0.0,
            "prompt_tokens": 11,
            "completion_tokens": 3,
            "cached_tokens": 4,
            "stages": [{"stage": "generate", "param": None, "seconds": 1.0}],
        }
    ]
    assert "PRIVATE" not in caplog.text


async def test_failures_are_logged_with_their_code(app: FastAPI, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    await call(app, CHAT, chat_body(temperature=3))

    (line,) = _lines(caplog, "multimodal.request")
    assert (line["status"], line["code"], line["param"]) == (400, "invalid_request", "temperature")


async def test_unexpected_errors_are_logged_with_frames_but_without_values(
    app: FastAPI, service: FakeService, caplog: pytest.LogCaptureFixture
) -> None:
    error = RuntimeError("PRIVATE")
    error.__cause__ = KeyError("PRIVATE")
    service.script = (error,)
    await call(app, CHAT, chat_body(), headers={"x-request-id": "r1"})

    (line,) = _lines(caplog, "multimodal.error")
    assert line["request_id"] == "r1"
    causes = line["causes"]
    assert isinstance(causes, list)
    assert [cause["error"] for cause in causes] == ["RuntimeError", "KeyError"]
    assert "in chat" in causes[0]["traceback"]
    assert "PRIVATE" not in caplog.text


@pytest.mark.parametrize(
    ("given", "kept"), [("a.b_c-1", True), ("a b", False), ("x" * 65, False), ("", False)]
)
async def test_request_id_is_the_clients_where_it_is_harmless(app: FastAPI, given: str, kept: bool) -> None:
    caller = await call(app, "/healthz", method="GET", headers={"x-request-id": given})

    assert (caller.headers["x-request-id"] == given) is kept
    assert caller.headers["x-request-id"]


@pytest.mark.parametrize(("method", "path"), [("GET", "/nothing"), ("GET", CHAT), ("POST", CHAT)])
async def test_errors_have_a_request_id_too(app: FastAPI, method: str, path: str) -> None:
    caller = await call(app, path, method=method)
    assert caller.status != 200
    assert caller.headers["x-request-id"]


async def test_request_id_header_can_be_left_to_a_proxy() -> None:
    app = create_app(FakeService, AppArgs(), send_request_id=False)
    assert "x-request-id" not in (await call(app, "/healthz", method="GET")).headers
