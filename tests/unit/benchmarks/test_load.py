from __future__ import annotations

import asyncio
import json

import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.load import Answer, HttpAsker, PromptSource, SseReader, measure, run_turn


def _answer(sent_s: float, arrivals_s: tuple[float, ...], ended_s: float, tokens: int = 3) -> Answer:
    return Answer(
        sent_s=sent_s,
        arrivals_s=arrivals_s,
        ended_s=ended_s,
        text="abc",
        prompt_tokens=5,
        completion_tokens=tokens,
        cached_tokens=0,
    )


def _event(content: str | None = None, usage: dict[str, object] | None = None, **more: object) -> bytes:
    choices = [] if content is None else [{"delta": {"content": content}}]
    return b"data: " + json.dumps({"choices": choices, "usage": usage, **more}).encode() + b"\n\n"


USAGE: dict[str, object] = {
    "prompt_tokens": 5,
    "completion_tokens": 2,
    "prompt_tokens_details": {"cached_tokens": 1},
}
STREAM = [_event(""), _event("a"), _event("é"), _event(""), _event(usage=USAGE), b"data: [DONE]\n\n"]


def test_metrics_of_a_turn() -> None:
    answers = [_answer(0.0, (0.1, 0.2, 0.4), 0.5), _answer(0.0, (0.3, 0.4), 1.0, tokens=5)]
    metrics = measure(answers)
    assert metrics["ttft_ms"] == pytest.approx(200)
    assert metrics["itl_p50_ms"] == pytest.approx(100)
    assert metrics["itl_p99_ms"] == pytest.approx(198)
    assert metrics["tpot_ms"] == pytest.approx((200 + 175) / 2)
    assert metrics["tokens_per_s"] == pytest.approx(8)


def test_the_clock_of_a_turn_starts_with_its_first_request() -> None:
    answers = [_answer(10.0, (10.5, 11.0), 11.0), _answer(12.0, (12.5, 13.0), 13.0)]
    assert measure(answers)["tokens_per_s"] == pytest.approx(2)


def test_an_answer_without_text_is_no_measurement() -> None:
    with pytest.raises(ValueError, match="no text"):
        measure([_answer(0.0, (0.1, 0.2), 1.0), _answer(0.0, (), 1.0)])


@given(st.lists(st.integers(1, 400)))
def test_a_stream_reads_the_same_however_it_is_cut(cuts: list[int]) -> None:
    data, reader = b"".join(STREAM), SseReader()
    for start, end in zip([0, *sorted(cuts)], [*sorted(cuts), len(data)], strict=True):
        reader.feed(data[start:end], now_s=0.0)
    answer = reader.answer(sent_s=0.0)
    assert answer.text == "aé"
    assert (answer.prompt_tokens, answer.completion_tokens, answer.cached_tokens) == (5, 2, 1)


def test_only_pieces_with_text_count_as_arrivals_and_the_last_token_ends_the_answer() -> None:
    reader = SseReader()
    for number, event in enumerate(STREAM):
        reader.feed(event, now_s=float(number))
    answer = reader.answer(sent_s=0.0)
    assert answer.arrivals_s == (1.0, 2.0)
    assert answer.ended_s == 3.0


def test_the_first_token_is_there_with_the_role_even_if_it_has_no_text() -> None:
    reader = SseReader()
    for number, event in enumerate([b'data: {"choices":[],"stage":{}}\n\n', _event(""), *STREAM[1:]]):
        reader.feed(event, now_s=float(number))
    assert reader.answer(sent_s=0.0).began_s == 1.0


def test_the_stages_at_the_end_of_an_answer_are_read() -> None:
    stages = [{"stage": "load", "seconds": 0.1}, {"stage": "encode", "seconds": 0.2, "cached": True}]
    reader = SseReader()
    reader.feed(b"".join([_event("a"), _event(stages=stages), _event(usage=USAGE)]), now_s=0.0)
    assert list(reader.answer(sent_s=0.0).stages) == stages


def test_a_server_need_not_say_what_it_found_in_its_prefix_cache() -> None:
    reader = SseReader()
    reader.feed(_event("a") + _event(usage={**USAGE, "prompt_tokens_details": None}), now_s=0.0)
    assert reader.answer(sent_s=0.0).cached_tokens == 0


def test_an_error_event_fails_the_run() -> None:
    with pytest.raises(RuntimeError, match="restarting"):
        SseReader().feed(b'data: {"error":{"message":"restarting"}}\n\n', now_s=0.0)


def test_a_stream_that_ends_early_fails_the_run() -> None:
    reader = SseReader()
    reader.feed(_event("a"), now_s=0.0)
    with pytest.raises(RuntimeError, match="usage"):
        reader.answer(sent_s=0.0)


async def test_a_request_over_http() -> None:
    seen: list[dict[str, object]] = []

    async def chat(request: web.Request) -> web.StreamResponse:
        seen.append(await request.json())
        response = web.StreamResponse()
        await response.prepare(request)
        for event in STREAM:
            await response.write(event)
        return response

    app = web.Application()
    app.router.add_post("/v1/chat/completions", chat)
    async with TestServer(app) as server, ClientSession() as session:
        answer = await HttpAsker(session, str(server.make_url("")), "m", 128).ask("hello")
    assert answer.text == "aé"
    assert answer.sent_s <= answer.arrivals_s[0] <= answer.ended_s
    assert seen[0]["messages"] == [{"role": "user", "content": "hello"}]
    assert (seen[0]["max_tokens"], seen[0]["temperature"], seen[0]["ignore_eos"]) == (128, 0, True)


async def test_a_refusal_fails_the_run() -> None:
    async def chat(request: web.Request) -> web.Response:
        return web.Response(status=429, text="too much")

    app = web.Application()
    app.router.add_post("/v1/chat/completions", chat)
    async with TestServer(app) as server, ClientSession() as session:
        with pytest.raises(RuntimeError, match=r"429.*too much"):
            await HttpAsker(session, str(server.make_url("")), "m", 128).ask("hello")


async def test_streams_run_at_once_and_each_sends_one_prompt_after_the_other() -> None:
    running: set[str] = set()
    most = 0

    async def ask(prompt: str) -> Answer:
        nonlocal most
        stream = prompt[0]
        assert stream not in running
        running.add(stream)
        most = max(most, len(running))
        await asyncio.sleep(0)
        running.remove(stream)
        return _answer(0.0, (float(prompt[1]),), 1.0)

    answers = await run_turn(ask, [["a1", "a2"], ["b3", "b4"], ["c5", "c6"]])
    assert most == 3
    assert [one.arrivals_s[0] for one in answers] == [1, 2, 3, 4, 5, 6]


def test_prompts_never_repeat_and_depend_on_the_seed_alone() -> None:
    first, again = PromptSource(1, 16), PromptSource(1, 16)
    prompts = [prompt for _ in range(5) for stream in first.streams(16, 3) for prompt in stream]
    assert len({" ".join(prompt.split()[:8]) for prompt in prompts}) == len(prompts)
    assert again.streams(16, 3)[0][0] == prompts[0]
    assert PromptSource(2, 16).streams(1, 1)[0][0] != prompts[0]
