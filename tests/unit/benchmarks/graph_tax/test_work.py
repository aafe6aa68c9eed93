"""What is sent, and what answers it."""

from __future__ import annotations

import base64
import io
import json

import httpx
import pytest
from PIL import Image

from benchmarks.graph_tax import floor, noop
from benchmarks.graph_tax.workload import MODEL, SIDE_PX, Workload
from multimodal.api.responses import ChatCompletion
from multimodal.config import AppArgs
from multimodal.errors import UnsupportedMedia
from multimodal.types import MediaKind, MediaSource, RequestContext

CTX = RequestContext(request_id="r", tenant="t", deadline_s=1e12)


def _picture(body: str) -> bytes:
    url: str = json.loads(body)["messages"][0]["content"][0]["image_url"]["url"]
    return base64.b64decode(url.removeprefix("data:image/png;base64,"))


def test_new_pictures_differ_in_nothing_but_what_is_seen() -> None:
    bodies = Workload(1, 16).fresh(50, stream=False)
    assert len({_picture(body) for body in bodies}) == 50
    assert len({len(body) for body in bodies}) == 1
    for body in bodies:
        with Image.open(io.BytesIO(_picture(body))) as picture:
            assert picture.size == (SIDE_PX, SIDE_PX)


def test_the_same_picture_stays_the_same_and_new_ones_never_come_again() -> None:
    workload = Workload(1, 16)
    before = workload.fresh(20, stream=True)
    assert len(set(workload.same(3, stream=True) + workload.same(2, stream=True))) == 1
    assert not set(before) & set(workload.fresh(20, stream=True))


async def test_the_loader_takes_pictures_only() -> None:
    loader = noop.Loader()
    source = MediaSource(kind=MediaKind.IMAGE, data=b"x", param="messages.0", sha256="ab")
    media = await loader.load(CTX, source)
    assert media.sha256 == "ab"
    with pytest.raises(UnsupportedMedia):
        await loader.load(CTX, MediaSource(kind=MediaKind.AUDIO, data=b"x", param="messages.0"))


def _client() -> httpx.AsyncClient:
    args = AppArgs.model_validate({"generator": {"model": "embedded:smollm2-135m", "served_name": MODEL}})
    return httpx.AsyncClient(transport=httpx.ASGITransport(floor.create_app(args)), base_url="http://x")


async def test_the_floor_answers_as_our_api_does() -> None:
    whole, streamed = (Workload(1, 5).fresh(1, stream=stream)[0] for stream in (False, True))
    async with _client() as client:
        answer = await client.post("/v1/chat/completions", content=whole)
        stream = await client.post("/v1/chat/completions", content=streamed)
    completion = ChatCompletion.model_validate_json(answer.content)
    assert completion.choices[0].message.content == noop.PIECE * 5
    assert completion.usage.completion_tokens == 5
    events = stream.text.strip().split("\n\n")
    assert events[-1] == "data: [DONE]"
    chunks = [json.loads(event.removeprefix("data: ")) for event in events[:-1]]
    texts = [choice["delta"].get("content") for chunk in chunks for choice in chunk["choices"]]
    assert [text for text in texts if text] == [noop.PIECE] * 5
