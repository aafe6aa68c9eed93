"""What a client reads where no Gateway answered."""

from __future__ import annotations

import json

import pytest
from starlette.responses import JSONResponse, PlainTextResponse, StreamingResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from multimodal.api.proxied import ProxyEnvelope
from tests.unit.api.fakes import Caller, call


async def ask(app: ASGIApp, path: str = "/v1/chat/completions") -> Caller:
    return await call(ProxyEnvelope(app), path)


@pytest.mark.parametrize(
    ("status", "wanted", "code", "retry_after"),
    [
        (404, 404, "not_found", None),
        (408, 504, "deadline_exceeded", None),
        (429, 429, "overloaded", "5"),
        (500, 503, "stage_unavailable", "5"),
        (503, 503, "stage_unavailable", "5"),
    ],
)
async def test_plain_text_becomes_an_envelope(
    status: int, wanted: int, code: str, retry_after: str | None
) -> None:
    text = PlainTextResponse("Ping http://10.0.0.1/-/routes", status, {"x-request-id": "r1"})
    caller = await ask(text)

    assert caller.status == wanted
    assert caller.error["code"] == code
    assert "10.0.0.1" not in caller.body.decode()
    assert caller.headers.get("retry-after") == retry_after
    assert caller.headers["x-request-id"] == "r1"
    assert caller.headers["content-length"] == str(len(caller.body))


@pytest.mark.parametrize(
    "answer",
    [
        PlainTextResponse("metrics"),
        JSONResponse({"error": {"code": "invalid_json"}}, 400, {"retry-after": "7"}),
        JSONResponse({"stages": {}}, 503),
    ],
)
async def test_answers_of_the_gateway_pass_unchanged(answer: PlainTextResponse | JSONResponse) -> None:
    caller = await ask(answer)
    assert (caller.status, caller.body) == (answer.status_code, answer.body)
    assert caller.headers == dict(answer.headers)


async def test_serves_own_endpoints_pass_unchanged() -> None:
    caller = await ask(PlainTextResponse("draining", 503), "/-/healthz")
    assert (caller.status, caller.body) == (503, b"draining")


async def test_a_stream_passes_piece_by_piece() -> None:
    pieces = [b"data: 1\n\n", b"data: [DONE]\n\n"]
    caller = await ask(StreamingResponse(iter(pieces), media_type="text/event-stream"))
    assert caller.body == b"data: 1\n\ndata: [DONE]\n\n"
    assert [message.get("more_body") for message in caller.sent[1:]] == [True, True, False]


def half_an_answer(kind: str) -> ASGIApp:
    """A proxy whose Gateway dies after the first piece."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"content-type", kind.encode())]
        start: Message = {"type": "http.response.start", "status": 200, "headers": headers}
        await send(start)
        await send({"type": "http.response.body", "body": b"data: 1\n\n", "more_body": True})

    return app


async def test_a_stream_that_stops_half_way_ends_with_an_error_event() -> None:
    caller = await ask(half_an_answer("text/event-stream; charset=utf-8"))
    first, last, rest = caller.body.split(b"\n\n")
    assert (first, rest) == (b"data: 1", b"")
    assert json.loads(last.removeprefix(b"data: "))["error"]["code"] == "stage_unavailable"
    assert caller.sent[-1]["more_body"] is False


async def test_other_answers_that_stop_half_way_are_not_made_to_look_whole() -> None:
    caller = await ask(half_an_answer("application/json"))
    assert caller.body == b"data: 1\n\n"
    assert caller.sent[-1]["more_body"] is True


async def test_no_answer_at_all_becomes_an_envelope() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        """A Gateway that died."""

    caller = await ask(app)
    assert (caller.status, caller.error["code"]) == (503, "stage_unavailable")
    assert caller.headers["retry-after"] == "5"
