from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from pydantic import ValidationError

from benchmarks.open_loop import Closed, Load, Loaded, Open, arrivals_s, run_load

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def _serving(answer: Answer) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_post("/", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    (address,) = runner.addresses
    try:
        yield f"http://127.0.0.1:{address[1]}/"
    finally:
        await runner.cleanup()


def _loaded(answer: Answer, pace: Open | Closed, bodies: int, timeout_s: float = 10.0) -> Loaded:
    async def load() -> Loaded:
        async with _serving(answer) as url:
            texts = [str(index) for index in range(bodies)]
            return await run_load(Load(url=url, bodies=texts, pace=pace, timeout_s=timeout_s))

    return asyncio.run(load())


def test_arrivals_have_the_rate_and_are_those_of_their_seed() -> None:
    due_s = arrivals_s(4000, 50.0, seed=1)
    assert due_s == sorted(due_s)
    assert due_s[-1] == pytest.approx(80, rel=0.1)
    assert arrivals_s(4000, 50.0, seed=1) == due_s
    assert arrivals_s(4000, 50.0, seed=2) != due_s


def test_what_was_due_while_the_server_stalled_counts_from_when_it_was_due() -> None:
    lock = asyncio.Lock()

    async def answer(request: web.Request) -> web.Response:
        async with lock:  # one at a time: the first holds up all others
            if await request.text() == "0":
                await asyncio.sleep(0.4)
            return web.Response(text="{}")

    found = _loaded(answer, Open(rate_per_s=100, seed=3, max_in_flight=1000), 20)
    due_s = arrivals_s(20, 100, seed=3)
    stalled = 1e3 * (due_s[0] + 0.4)
    for due, latency_ms in zip(due_s, found.latencies_ms, strict=True):
        assert latency_ms >= stalled - 1e3 * due - 20
    assert found.failures == {}
    assert found.refused == 0


def test_what_is_due_while_too_many_are_under_way_is_refused_and_counted() -> None:
    async def answer(request: web.Request) -> web.Response:
        await asyncio.sleep(0.3)
        return web.Response(text="{}")

    found = _loaded(answer, Open(rate_per_s=1000, seed=1, max_in_flight=4), 10)
    assert len(found.latencies_ms) == 4
    assert found.refused == 6


def test_clients_of_a_closed_loop_wait_for_their_answers() -> None:
    under_way = most = 0

    async def answer(request: web.Request) -> web.Response:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0.01)
        under_way -= 1
        return web.Response(text="{}")

    found = _loaded(answer, Closed(clients=3), 12)
    assert most == 3
    assert len(found.latencies_ms) == 12
    assert found.per_s == pytest.approx(12 / found.seconds)


def test_failures_are_counted_by_what_they_are() -> None:
    async def answer(request: web.Request) -> web.Response:
        match await request.text():
            case "0":
                return web.Response(status=503)
            case "1":
                return web.Response(text='data: {"error":{}}\n\n', content_type="text/event-stream")
            case "2":
                await asyncio.sleep(5)
        return web.Response(text="{}")

    found = _loaded(answer, Closed(clients=4), 4, timeout_s=0.3)
    assert found.failures == {"503": 1, "incomplete": 1, "TimeoutError": 1}
    assert len(found.latencies_ms) == 1


def test_the_first_event_of_a_stream_is_told_from_its_end() -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b'data: {"choices":[]}\n\n')
        await asyncio.sleep(0.2)
        await response.write(b"data: [DONE]\n\n")
        return response

    found = _loaded(answer, Closed(clients=1), 1)
    assert found.failures == {}
    assert found.first_ms[0] < 150 < found.latencies_ms[0]


@pytest.mark.parametrize(
    "wrong", [{"bodies": []}, {"pace": {"mode": "open", "rate_per_s": 0}}, {"paces": 1}, {"url": None}]
)
def test_a_load_that_makes_no_sense_is_refused(wrong: dict[str, object]) -> None:
    right: dict[str, object] = {"url": "http://x", "bodies": ["{}"], "pace": {"mode": "closed", "clients": 1}}
    Load.model_validate(right)
    with pytest.raises(ValidationError):
        Load.model_validate(right | wrong)
