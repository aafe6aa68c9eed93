from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread

import pytest
from aiohttp import web

from benchmarks.generator_tax.client import Client, Recorded, answer, answers, payloads

EVENTS = (
    b'data: {"choices":[{"delta":{"role":"assistant","content":""}}]}\n\n',
    b'data: {"choices":[{"delta":{"content":"a"}}]}\n\n',
    b'data: {"choices":[{"delta":{"content":" b"}}]}\n\n',
    b'data: {"choices":[],'
    b'"usage":{"prompt_tokens":3,"completion_tokens":2,"prompt_tokens_details":null}}\n\n',
    b"data: [DONE]\n\n",
)
HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"


def chunked(*parts: bytes) -> bytes:
    return b"".join(f"{len(part):x}\r\n".encode() + part + b"\r\n" for part in parts) + b"0\r\n\r\n"


@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_an_answer_is_read_from_whatever_pieces_it_came_in(size: int) -> None:
    whole = HEAD + chunked(*EVENTS)
    pieces = [(float(at), whole[at : at + size]) for at in range(0, len(whole), size)]
    found = answer(Recorded(sent_s=-1.0, pieces=pieces))
    assert (found.text, found.completion_tokens, found.sent_s) == ("a b", 2, -1.0)
    line_ends = [whole.index(event) + event.index(b"\n") for event in EVENTS[1:3]]
    for arrived, end in zip(found.arrivals_s, line_ends, strict=True):
        assert arrived == end // size * size


def test_a_piece_has_the_time_of_its_bytes() -> None:
    first, rest = HEAD + chunked(*EVENTS)[:90], chunked(*EVENTS)[90:]
    parts = list(payloads(Recorded(sent_s=0.0, pieces=[(1.0, first), (2.0, rest)])))
    assert [at_s for at_s, _ in parts] == [1.0, 2.0]
    assert b"".join(data for _, data in parts) == b"".join(EVENTS)


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (HEAD + chunked(*EVENTS)[:-5], "ended early"),
        (b"", "ended early"),
        (b"HTTP/1.1 429 Too Many\r\nContent-Length: 4\r\n\r\nbusy", "429.*busy"),
    ],
)
def test_anything_but_a_whole_answer_is_refused(raw: bytes, why: str) -> None:
    with pytest.raises(RuntimeError, match=why):
        list(payloads(Recorded(sent_s=0.0, pieces=[(0.0, raw)] if raw else [])))


async def stream(request: web.Request) -> web.StreamResponse:
    body = await request.json()
    response = web.StreamResponse()
    await response.prepare(request)
    for event in EVENTS:
        await response.write(event.replace(b" b", body["prompt"].encode()))
        await asyncio.sleep(0)
    return response


@contextmanager
def serving() -> Iterator[str]:
    """On a loop of its own: the client blocks."""
    loop = asyncio.new_event_loop()
    app = web.Application()
    app.router.add_post("/chat", stream)
    runner = web.AppRunner(app)
    loop.run_until_complete(runner.setup())
    site = web.TCPSite(runner, "127.0.0.1", 0)
    loop.run_until_complete(site.start())
    thread = Thread(target=loop.run_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/chat"
    finally:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def test_a_turn_over_http() -> None:
    prompts = [["one", "two"], ["three", "four"]]
    with serving() as url:
        found = answers(Client(url), prompts, lambda prompt: json.dumps({"prompt": prompt}).encode())
    assert [one.text for one in found] == ["aone", "atwo", "athree", "afour"]
    assert all(one.sent_s < one.arrivals_s[0] <= one.ended_s for one in found)


def test_a_server_that_is_not_there() -> None:
    with pytest.raises(ConnectionRefusedError):
        Client("http://127.0.0.1:9/chat").turn([[b"{}"]])
