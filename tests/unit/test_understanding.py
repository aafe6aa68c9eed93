"""One medium on its way: documents, and any other work with what is loaded."""

from __future__ import annotations

import asyncio
import time

import pytest

from multimodal.concurrency import both
from multimodal.config import AppArgs
from multimodal.errors import DeadlineExceeded, InvalidMedia, LostMedia
from multimodal.types import (
    DocumentFeatures,
    MediaKind,
    MediaSource,
    RequestContext,
    StageEvent,
    TranscriptPart,
)
from multimodal.understanding import Medium
from tests.fakes import FakeStages

PARAM = "messages.0.content.0"


def medium(
    stages: FakeStages,
    kind: MediaKind = MediaKind.DOCUMENT,
    *,
    data: bytes = b"paper",
    seconds: float = 30.0,
    events: list[StageEvent | TranscriptPart] | None = None,
) -> Medium:
    ctx = RequestContext(request_id="r", tenant="t", deadline_s=time.time() + seconds)
    source = MediaSource(kind=kind, data=data, param=PARAM)
    seen: list[StageEvent | TranscriptPart] = [] if events is None else events
    return Medium(stages, AppArgs(), ctx, source, seen.append)


async def test_a_document_is_described_by_its_pages() -> None:
    understood = await medium(FakeStages(has_vision_tower=True)).understand("What does it say?")
    assert understood.part.kind is MediaKind.DOCUMENT
    assert "page-of-paper" in " ".join(understood.part.lines)
    assert isinstance(understood.features, DocumentFeatures)
    assert understood.visual is None


async def test_the_features_of_a_document_are_its_pages() -> None:
    features = await medium(FakeStages()).features()
    assert isinstance(features, DocumentFeatures)


async def test_any_work_can_be_done_with_what_is_loaded() -> None:
    events: list[StageEvent | TranscriptPart] = []

    async def work(one: Medium) -> str:
        return (await one.media()).sha256

    assert await medium(FakeStages(), MediaKind.IMAGE, data=b"cat", events=events).work_on(work) == "cat"
    entered = [event.stage for event in events if isinstance(event, StageEvent) and event.seconds is None]
    assert entered == ["load", "encode"]


async def test_work_is_done_again_once_where_the_medium_is_lost() -> None:
    stages = FakeStages()
    tries = 0

    async def work(one: Medium) -> str:
        nonlocal tries
        tries += 1
        await one.media()
        if tries == 1:
            raise LostMedia("gone")
        return "done"

    assert await medium(stages, MediaKind.IMAGE).work_on(work) == "done"
    assert stages.calls == [f"load {PARAM}"] * 2


async def test_work_on_a_broken_medium_fails_with_its_part() -> None:
    async def work(one: Medium) -> str:
        return (await one.media()).sha256

    with pytest.raises(InvalidMedia) as caught:
        await medium(FakeStages(), MediaKind.IMAGE, data=b"bad").work_on(work)
    assert caught.value.param == PARAM


async def test_calls_that_failing_work_began_are_abandoned() -> None:
    stages = FakeStages(gates={"read": asyncio.Event()})
    one = medium(stages, MediaKind.IMAGE)

    async def fail(one: Medium) -> None:
        await one.media()
        raise InvalidMedia("Nothing can be made of it.")

    async def work(one: Medium) -> str:
        await both(one.text(), fail(one))
        return ""

    with pytest.raises(InvalidMedia, match="Nothing can be made of it"):
        await one.work_on(work)
    await asyncio.sleep(0)
    assert stages.cancelled == ["read"]


async def test_work_ends_with_the_deadline() -> None:
    ended = asyncio.Event()

    async def work(one: Medium) -> str:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return ""

    with pytest.raises(DeadlineExceeded):
        await medium(FakeStages(), MediaKind.IMAGE, seconds=0.05).work_on(work)
    assert ended.is_set()
