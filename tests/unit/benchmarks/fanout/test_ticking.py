from __future__ import annotations

import asyncio
import time
from contextlib import aclosing

import pytest

from benchmarks.fanout.ticking import Ticker, TickingGenerator, count, token
from multimodal.types import GenerateRequest, PromptMessage, RequestContext, Role, Sampling, TextPart


@pytest.mark.parametrize("tokens", [0, 1, 10, 23])
def test_tokens_are_counted_by_their_text(tokens: int) -> None:
    assert count("".join(map(token, range(tokens)))) == tokens


@pytest.mark.parametrize("text", [" 1", " 0 2", " 0 1 ", " 0 0", " 0 1 2 3 4 5 6 7 8 9 1"])
def test_lost_tokens_are_noticed(text: str) -> None:
    with pytest.raises(ValueError, match="Tokens were lost"):
        count(text)


async def _read(ticker: Ticker, tokens: int, pause_s: float = 0.0) -> str:
    text = ""
    async for piece in ticker.stream(tokens):
        text += piece
        await asyncio.sleep(pause_s)
    return text


async def test_all_streams_have_a_token_at_each_step() -> None:
    ticker = Ticker(0.01)
    started_s = time.perf_counter()
    texts = await asyncio.gather(*(_read(ticker, 10) for _ in range(8)))
    assert time.perf_counter() - started_s > 0.09
    assert {count(text) for text in texts} == {10}


async def test_the_engine_does_not_wait_for_a_slow_stream() -> None:
    ticker = Ticker(0.005)
    slow = asyncio.create_task(_read(ticker, 20, pause_s=0.02))
    assert count(await _read(ticker, 20)) == 20
    assert not slow.done()
    assert count(await slow) == 20


async def test_it_rests_without_streams_and_goes_on_with_new_ones() -> None:
    ticker = Ticker(0.001)
    async with aclosing(ticker.stream(1000)) as stream:
        assert await anext(stream) == token(0)
    await asyncio.sleep(0.01)
    assert ticker._task is not None
    assert ticker._task.done()
    assert count(await _read(ticker, 3)) == 3


async def test_the_generator_ends_as_an_engine_does() -> None:
    request = GenerateRequest(
        messages=(PromptMessage(role=Role.USER, parts=(TextPart(text="Count."),)),),
        sampling=Sampling(max_tokens=3),
    )
    ctx = RequestContext(request_id="r", tenant="t", deadline_s=time.time() + 60)
    steps = [step async for step in TickingGenerator(0.001).generate(ctx, request, ())]
    assert steps[0].deltas == ()
    assert "".join(delta.text for step in steps for delta in step.deltas) == " 0 1 2"
    assert steps[-1].usage is not None
    assert steps[-1].usage.completion_tokens == 3
