"""Bodies over the limit are refused, and never held."""

from __future__ import annotations

import pytest
from fastapi import FastAPI

from multimodal.config import AppArgs, Limits
from tests.unit.api.fakes import FakeService, call, chat_body

CHAT = "/v1/chat/completions"
LIMIT_BYTES = 1000


@pytest.fixture
def args() -> AppArgs:
    return AppArgs(limits=Limits(body_bytes=LIMIT_BYTES))


async def test_length_over_the_limit_is_refused(app: FastAPI, service: FakeService) -> None:
    body = b"x" * (LIMIT_BYTES + 1)
    caller = await call(app, CHAT, body, headers={"content-length": str(len(body))})

    assert caller.status == 413
    assert caller.error["code"] == "request_too_large"
    assert str(LIMIT_BYTES) in str(caller.error["message"])


async def test_body_without_a_length_is_counted(app: FastAPI) -> None:
    caller = await call(app, CHAT, b"x" * (LIMIT_BYTES + 1), chunk_bytes=100)

    assert caller.status == 413
    assert caller.error["code"] == "request_too_large"


async def test_body_at_the_limit_is_read(app: FastAPI) -> None:
    body = b'{"model": "smollm2-135m-instruct", "messages": [{"role": "user", "content": "Hi"}]}'
    padded = body.ljust(LIMIT_BYTES)
    caller = await call(app, CHAT, padded, chunk_bytes=99, headers={"content-length": str(LIMIT_BYTES)})

    assert caller.status == 200


@pytest.mark.parametrize("length", [None, "1000000"])
async def test_refused_body_is_drained_within_bounds(app: FastAPI, length: str | None) -> None:
    headers = {} if length is None else {"content-length": length}
    caller = await call(app, CHAT, b"x" * 1_000_000, chunk_bytes=100, headers=headers)

    assert caller.status == 413
    assert 20 <= caller.received <= 32


async def test_client_that_asks_before_it_writes_is_answered_at_once(app: FastAPI) -> None:
    headers = {"content-length": "1000000", "expect": "100-continue"}
    caller = await call(app, CHAT, b"x" * 1_000_000, headers=headers)

    assert caller.status == 413
    assert caller.received == 0


async def test_wrong_content_length_does_not_matter(app: FastAPI) -> None:
    caller = await call(app, CHAT, chat_body(), headers={"content-length": "x"})
    assert caller.status == 200
