"""All pictures of a request go one way: decided once, when all are there, or in their final number."""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing
from typing import Literal

import pytest

from multimodal.config import AppArgs, BypassArgs, GeneratorArgs, VisionArgs
from multimodal.crossing import Crossing
from multimodal.errors import InvalidMedia, LostMedia
from multimodal.generation.bypass import BypassPolicy, Decision, image_tokens
from multimodal.pipeline import Assistant
from multimodal.types import (
    ChatRequest,
    GeneratorEmbedding,
    Image,
    ImageFeatures,
    InputMessage,
    MediaKind,
    MediaSource,
    OnMediaError,
    RequestContext,
    Role,
    Sampling,
    TextPart,
    Video,
    VideoFeatures,
)
from tests.encoder_fakes import vector_of
from tests.fakes import FakeStages, remembering, scene
from tests.unit.api.library_fakes import FakeFiles

SIDE_PX = 280
TOKENS = image_tokens(SIDE_PX, SIDE_PX)


class Policy(BypassPolicy):
    """Notes what it is asked."""

    def __init__(self, args: BypassArgs) -> None:
        super().__init__(args)
        self.asked: list[tuple[int, int, bool]] = []

    def decide(self, *, image_tokens: int, engine_queue: int, cached: bool) -> Decision:
        self.asked.append((image_tokens, engine_queue, cached))
        return super().decide(image_tokens=image_tokens, engine_queue=engine_queue, cached=cached)


class Bench:
    """Auto, with room for two pictures in the engine."""

    def __init__(self, *params: str, max_pixels: int | None = None) -> None:
        self.queue = 0
        self.policy = Policy(BypassArgs(engine_tokens=2 * TOKENS, engine_queue=5))
        self.crossing = Crossing(self.policy, params, max_pixels=max_pixels, engine_queue=lambda: self.queue)

    def arrives(
        self, param: str, features: ImageFeatures | VideoFeatures | None = None, *, known: bool = False
    ) -> asyncio.Future[bool]:
        return asyncio.ensure_future(self.crossing.to_tower(param, features or picture(), known=known))


def picture() -> ImageFeatures:
    return ImageFeatures(sha256="p", width=SIDE_PX, height=SIDE_PX, colours=(), vector=None)


def video(*frames: int) -> VideoFeatures:
    """With scenes of so many frames."""
    scenes = tuple(scene(None, count) for count in frames)
    return VideoFeatures(
        sha256="v", duration_s=1.0, width=SIDE_PX, height=SIDE_PX, scenes=scenes, transcript=None
    )


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_the_decision_waits_for_all_and_holds_for_all() -> None:
    bench = Bench("a", "b", "c")
    tasks = [bench.arrives("a"), bench.arrives("c")]
    await settle()
    assert not any(task.done() for task in tasks)
    assert bench.policy.asked == []
    tasks.append(bench.arrives("b"))
    assert list(await asyncio.gather(*tasks)) == [True, True, True]
    assert bench.policy.asked == [(3 * TOKENS, 0, False)]


async def test_few_tokens_go_to_the_engine() -> None:
    bench = Bench("a", "b")
    assert list(await asyncio.gather(bench.arrives("a"), bench.arrives("b"))) == [False, False]
    assert bench.policy.asked == [(2 * TOKENS, 0, False)]


async def test_every_frame_of_a_video_counts() -> None:
    bench = Bench("a")
    await bench.arrives("a", video(3, 1))
    assert bench.policy.asked == [(4 * TOKENS, 0, False)]


async def test_large_pictures_count_as_they_will_be_scaled() -> None:
    bench = Bench("a", max_pixels=SIDE_PX * SIDE_PX // 4)
    await bench.arrives("a")
    assert bench.policy.asked == [(image_tokens(SIDE_PX // 2, SIDE_PX // 2), 0, False)]


async def test_the_queue_is_that_of_the_moment_of_the_decision() -> None:
    bench = Bench("a", "b")
    first = bench.arrives("a")
    await settle()
    bench.queue = 5
    assert list(await asyncio.gather(first, bench.arrives("b"))) == [True, True]
    assert bench.policy.asked == [(2 * TOKENS, 5, False)]


async def test_known_embeddings_count_as_the_engine_would_not_use_them() -> None:
    bench = Bench("a", "b", "c")
    tasks = bench.arrives("a", video(9), known=True), bench.arrives("b"), bench.arrives("c", known=True)
    assert list(await asyncio.gather(*tasks)) == [True] * 3
    assert bench.policy.asked == [(11 * TOKENS, 0, False)]


async def test_where_all_embeddings_are_known_they_are_used() -> None:
    bench = Bench("a", "b")
    assert (
        list(await asyncio.gather(bench.arrives("a", known=True), bench.arrives("b", known=True)))
        == [True] * 2
    )
    assert bench.policy.asked == [(2 * TOKENS, 0, True)]


async def test_nobody_waits_for_media_that_are_left_out() -> None:
    bench = Bench("a", "b", "c")
    bench.crossing.leave("c")
    first = bench.arrives("a")
    await settle()
    assert not first.done()
    bench.crossing.leave("b")
    assert await first is False
    assert bench.policy.asked == [(TOKENS, 0, False)]
    bench.crossing.leave("b")
    bench.crossing.leave("of a recording")
    assert len(bench.policy.asked) == 1


async def test_a_medium_that_comes_again_is_counted_once() -> None:
    bench = Bench("a", "b")
    first = bench.arrives("a")
    await settle()
    first.cancel()
    again = bench.arrives("a", known=True)
    assert list(await asyncio.gather(again, bench.arrives("b"))) == [False, False]
    assert bench.policy.asked == [(2 * TOKENS, 0, False)]


async def test_a_medium_that_comes_again_after_the_decision_follows_it() -> None:
    bench = Bench("a")
    assert await bench.arrives("a", video(9)) is True
    assert await bench.arrives("a") is True
    assert len(bench.policy.asked) == 1


# --- through a chat --------------------------------------------------------------------------------------

PICTURE = MediaSource(kind=MediaKind.IMAGE, data=b"cat", param="messages.0.content.0")
CLIP = MediaSource(kind=MediaKind.VIDEO, data=b"clip", param="messages.0.content.1")
SPEECH = MediaSource(kind=MediaKind.AUDIO, data=b"hello", param="messages.0.content.2")
BROKEN = MediaSource(kind=MediaKind.IMAGE, data=b"bad", param="messages.0.content.3")


def configured(route: Literal["auto", "tower", "engine"], engine_tokens: int = 0) -> AppArgs:
    bypass = BypassArgs(route=route, engine_tokens=engine_tokens, engine_queue=5)
    return AppArgs(generator=GeneratorArgs(pixels=True), vision=VisionArgs(source="tower", bypass=bypass))


def graph(args: AppArgs) -> FakeStages:
    return FakeStages(
        once=remembering(2**22, args),
        picture=vector_of("red"),
        scenes=(scene(vector_of("red"), 2),),
        has_vision_tower=True,
    )


async def shown(
    stages: FakeStages, args: AppArgs, *media: MediaSource, skips: bool = False
) -> list[type[object]]:
    """What the generator was given in the place of these media."""
    stages.visuals.clear()
    ctx = RequestContext(request_id="r", tenant="t", deadline_s=time.time() + 10)
    request = ChatRequest(
        messages=(InputMessage(role=Role.USER, parts=(*media, TextPart(text="What is it?"))),),
        sampling=Sampling(),
        on_media_error=OnMediaError.SKIP if skips else OnMediaError.FAIL,
    )
    async with aclosing(Assistant(stages, args, FakeFiles()).chat(ctx, request)) as events:
        async for _ in events:
            pass
    return [type(visual) for visual in stages.visuals]


async def test_forced_into_the_tower() -> None:
    args = configured("tower", engine_tokens=10**6)
    stages = graph(args)
    assert await shown(stages, args, PICTURE, CLIP) == [GeneratorEmbedding] * 2
    assert stages.calls.count("see") == 2


async def test_forced_into_the_engine() -> None:
    args = configured("engine")
    stages = graph(args)
    stages.generating = 9
    for _ in range(2):
        assert await shown(stages, args, PICTURE, CLIP) == [Image, Video]
    assert "see" not in stages.calls


async def test_few_tokens_are_decoded_pictures_for_the_engine() -> None:
    args = configured("auto", engine_tokens=3)
    stages = graph(args)
    assert await shown(stages, args, PICTURE, CLIP) == [Image, Video]


async def test_many_tokens_go_to_the_tower_all_together() -> None:
    args = configured("auto", engine_tokens=2)
    stages = graph(args)
    assert await shown(stages, args, PICTURE) == [Image]
    assert await shown(stages, args, CLIP) == [Video]
    assert await shown(stages, args, PICTURE, CLIP) == [GeneratorEmbedding] * 2


async def test_a_busy_engine_is_left_alone() -> None:
    args = configured("auto", engine_tokens=10**6)
    stages = graph(args)
    stages.generating = 5
    assert await shown(stages, args, PICTURE) == [GeneratorEmbedding]


async def test_embeddings_that_are_known_are_used_whatever_is_free() -> None:
    args = configured("auto", engine_tokens=10**6)
    stages = graph(args)
    stages.generating = 5
    await shown(stages, args, PICTURE)
    stages.generating, called = 0, len(stages.calls)
    assert await shown(stages, args, PICTURE) == [GeneratorEmbedding]
    assert len(stages.calls) == called


async def test_recordings_are_no_part_of_it() -> None:
    args = configured("auto", engine_tokens=1)
    stages = graph(args)
    assert await shown(stages, args, PICTURE, SPEECH) == [Image]
    assert await shown(stages, args, SPEECH) == []


async def test_a_medium_that_is_skipped_holds_nobody_up() -> None:
    args = configured("auto", engine_tokens=1)
    stages = graph(args)
    async with asyncio.timeout(5):
        assert await shown(stages, args, PICTURE, BROKEN, skips=True) == [Image]


async def test_a_medium_that_fails_ends_those_that_wait_for_it() -> None:
    args = configured("auto")
    stages = graph(args)
    async with asyncio.timeout(5):
        with pytest.raises(InvalidMedia) as caught:
            await shown(stages, args, PICTURE, BROKEN)
    assert caught.value.param == BROKEN.param


async def test_a_medium_that_is_lost_is_counted_once() -> None:
    args = configured("auto", engine_tokens=1)
    stages = graph(args)
    stages.gates = {"read": (gate := asyncio.Event())}
    stages.failures["read"] = [LostMedia("gone")]
    asked = asyncio.ensure_future(shown(stages, args, PICTURE))
    await settle()
    gate.set()
    assert await asked == [Image]
    assert stages.calls.count(f"load {PICTURE.param}") == 2
