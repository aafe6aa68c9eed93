"""OpenAI's own client finds everything where it expects it."""

from __future__ import annotations

from hashlib import sha256
from typing import cast

import openai
import pytest
from openai.types.chat import ChatCompletionAssistantMessageParam, ChatCompletionChunk
from pydantic import BaseModel

from multimodal.api import create_app
from multimodal.config import ApiArgs, AppArgs
from multimodal.errors import DeadlineExceeded, InvalidMedia, MultimodalError, Overloaded
from multimodal.types import StageEvent
from tests.unit.api.conftest import official_client
from tests.unit.api.fakes import ACCEPTED, HELLO, MODEL, FakeService, data_url, end, tokens, vectors


async def test_chat(official: openai.AsyncOpenAI) -> None:
    answer = await official.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "Hi"}])

    assert answer.choices[0].message.content == "Hello"
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert answer.usage.prompt_tokens_details is not None
    assert answer.usage.prompt_tokens_details.cached_tokens == 4
    assert answer._request_id


async def test_conversation_with_what_the_client_got(
    official: openai.AsyncOpenAI, service: FakeService
) -> None:
    first = await official.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "Hi"}])
    await official.chat.completions.create(
        model=MODEL,
        messages=[
            {"role": "user", "content": "Hi"},
            cast(ChatCompletionAssistantMessageParam, first.choices[0].message.model_dump()),
            {"role": "user", "content": [{"type": "text", "text": "And?"}]},
        ],
    )

    assert [message.role for message in service.requests[1].messages] == ["user", "assistant", "user"]


async def _stream(official: openai.AsyncOpenAI, **extra: object) -> list[ChatCompletionChunk]:
    stream = await official.chat.completions.create(
        model=MODEL,
        messages=[
            {
                "role": "user",
                "content": [
                    {"type": "image_url", "image_url": {"url": data_url(b"x", "image/png"), "detail": "low"}}
                ],
            }
        ],
        stream=True,
        extra_body=extra,
    )
    return [chunk async for chunk in stream]


async def test_stream(official: openai.AsyncOpenAI) -> None:
    chunks = await _stream(official)

    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "Hello"
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-1].choices[0].finish_reason == "stop"


async def test_stream_with_usage_and_stages(official: openai.AsyncOpenAI, service: FakeService) -> None:
    service.script = (StageEvent(stage="generate"), *HELLO, StageEvent(stage="generate", seconds=1.0))
    chunks = await _stream(official, stream_options={"include_usage": True, "include_stages": True})

    said = "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)
    assert said == "Hello"
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.total_tokens == 14
    assert chunks[-2].model_extra is not None
    assert chunks[-2].model_extra["stages"] == [{"stage": "generate", "param": None, "seconds": 1.0}]


async def test_stream_helper_with_stages(official: openai.AsyncOpenAI, service: FakeService) -> None:
    service.script = (StageEvent(stage="generate"), *HELLO, StageEvent(stage="generate", seconds=1.0))
    async with official.chat.completions.stream(
        model=MODEL,
        messages=[{"role": "user", "content": "Hi"}],
        extra_body={"stream_options": {"include_usage": True, "include_stages": True}},
    ) as stream:
        completion = await stream.get_final_completion()

    assert completion.choices[0].message.content == "Hello"
    assert completion.usage is not None


async def test_error_in_the_middle_of_a_stream(official: openai.AsyncOpenAI, service: FakeService) -> None:
    service.script = (ACCEPTED, *tokens("Hel"), DeadlineExceeded("Too late."))

    with pytest.raises(openai.APIError, match=r"Too late\.") as caught:
        await _stream(official)
    assert caught.value.code == "deadline_exceeded"


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (InvalidMedia("Damaged.", param="messages.0.content.0"), openai.BadRequestError),
        (Overloaded("Full."), openai.RateLimitError),
        (DeadlineExceeded("Late."), openai.InternalServerError),
    ],
)
async def test_errors_are_the_clients_own(
    official: openai.AsyncOpenAI,
    service: FakeService,
    error: MultimodalError,
    kind: type[openai.APIStatusError],
) -> None:
    service.script = (error,)
    with pytest.raises(kind) as caught:
        await _stream(official)
    assert caught.value.code == error.code
    assert caught.value.param == error.param


async def test_unknown_model(official: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.NotFoundError):
        await official.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": "Hi"}])


class City(BaseModel):
    """What the model is asked for."""

    name: str
    people: int


async def test_parsed_answer(official: openai.AsyncOpenAI, service: FakeService) -> None:
    service.script = (ACCEPTED, *tokens('{"name": "Paris", ', '"people": 2100000}'), end())
    answer = await official.chat.completions.parse(
        model=MODEL, messages=[{"role": "user", "content": "Paris"}], response_format=City
    )

    assert answer.choices[0].message.parsed == City(name="Paris", people=2100000)
    schema = service.requests[0].sampling.json_schema
    assert schema is not None
    assert '"people"' in schema


async def test_embeddings(official: openai.AsyncOpenAI) -> None:
    answer = await official.embeddings.create(model="text", input=["a", "b"])

    assert [item.embedding for item in answer.data] == vectors(2).tolist()
    assert answer.usage.total_tokens == 4


async def test_models(official: openai.AsyncOpenAI) -> None:
    models = await official.models.list()
    assert models.data[0].id == MODEL
    assert (await official.models.retrieve("text")).id == "all-minilm-l6-v2"


async def test_key_is_sent_as_bearer() -> None:
    args = AppArgs(api=ApiArgs(keys={sha256(b"secret").hexdigest(): "team"}))
    app = create_app(FakeService, args)
    async with official_client(app, "secret", "api.example.com") as good:
        assert [model async for model in good.models.list()]
    async with official_client(app, "wrong", "api.example.com") as bad:
        with pytest.raises(openai.AuthenticationError):
            await bad.models.list()
