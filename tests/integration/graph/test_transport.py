"""Which way arguments go: small ones by value, large ones and what is on its way by reference."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable
from typing import cast

import numpy as np
import pytest
from ray.serve.handle import DeploymentResponse

from deployments import pictures
from deployments.calls import BY_VALUE_BYTES, Pending, are_small
from deployments.pictures import ENCODED_BYTES, KEPT, LargeOnes, Picture, hand_on, may_be_small
from multimodal.errors import InvalidMedia, LostMedia, StageUnavailable
from multimodal.identity import Feature, FeatureKey
from multimodal.types import Image, Media, MediaKind, MediaSource, Ready
from tests.integration.graph.test_calls import Response


def picture(side_px: int) -> Image:
    pixels = np.zeros((side_px, side_px, 3), np.uint8)
    return Image(sha256="0" * 64, pixels=pixels, width=side_px, height=side_px, format="png")


SMALL, LARGE = picture(64), picture(1024)
assert SMALL.pixels.nbytes < BY_VALUE_BYTES < LARGE.pixels.nbytes


def source(size_bytes: int, kind: MediaKind = MediaKind.IMAGE) -> MediaSource:
    return MediaSource(kind=kind, data=b"x" * size_bytes, param="messages.0")


def key(digest: str = "d") -> FeatureKey:
    return FeatureKey(feature=Feature.DECODED, modality=MediaKind.IMAGE, digest=digest, affinity="a")


def on_its_way(result: object, *, by_reference: bool) -> Pending[object]:
    outcome: asyncio.Future[object] = asyncio.get_running_loop().create_future()
    if isinstance(result, Exception):
        outcome.set_exception(result)
    else:
        outcome.set_result(result)
    response = Response(cast("asyncio.Future[str]", outcome), by_reference=by_reference)
    return Pending(cast("DeploymentResponse[object]", response), "MediaLoader", time.time() + 30)


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        ([], True),
        (["words", [1, 2], None], True),
        (["x" * (BY_VALUE_BYTES + 1)], False),
        ([["x" * (BY_VALUE_BYTES // 2), "y" * BY_VALUE_BYTES]], False),
        ([SMALL], True),
        ([LARGE], False),
        ([Ready(LARGE)], False),
        ([source(10), key()], True),
        ([source(BY_VALUE_BYTES + 1)], False),
    ],
)
def test_what_is_large_goes_by_reference(args: list[object], expected: bool) -> None:
    assert are_small(args) is expected


async def test_what_is_on_its_way_by_reference_stays_so() -> None:
    assert not are_small([on_its_way(SMALL, by_reference=True)])
    assert are_small([on_its_way("words", by_reference=False)])


def test_pictures_of_few_bytes_are_asked_for_by_value() -> None:
    assert may_be_small(source(ENCODED_BYTES))
    assert not may_be_small(source(ENCODED_BYTES + 1))
    assert not may_be_small(source(10, MediaKind.VIDEO))


def a_picture(small: object, large: object = None) -> Picture:
    return Picture(
        cast("Pending[Media | None]", on_its_way(small, by_reference=False)),
        lambda: cast("Pending[Media]", on_its_way(large, by_reference=True)),
    )


async def test_a_small_picture_is_handed_on_by_value() -> None:
    one = a_picture(SMALL)
    given: list[object] = []

    def call(argument: object) -> Pending[str]:
        given.append(argument)
        return cast("Pending[str]", on_its_way("seen", by_reference=False))

    assert await hand_on(one, call) == "seen"
    assert await one is SMALL
    (argument,) = given
    assert isinstance(argument, Ready)
    assert are_small(given)


async def test_a_large_picture_is_handed_on_by_reference() -> None:
    one = a_picture(None, LARGE)
    arrived = await one.arrived()
    assert isinstance(arrived, Pending)
    assert not are_small([arrived])
    assert await cast(Awaitable[Media], one) is LARGE


async def test_a_picture_that_cannot_be_decoded_fails_whoever_wants_it() -> None:
    one = a_picture(InvalidMedia("Damaged."))
    for _ in range(2):
        with pytest.raises(InvalidMedia):
            await hand_on(one, lambda _: cast("Pending[str]", on_its_way("seen", by_reference=False)))
    one.abandon()


async def test_a_picture_that_nobody_wants_any_more_is_given_up() -> None:
    outcome: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    response = Response(outcome)
    small = Pending(cast("DeploymentResponse[Media | None]", response), "MediaLoader", time.time() + 30)
    one = Picture(small, lambda: pytest.fail("loaded again"))
    await asyncio.sleep(0)
    one.abandon()
    await asyncio.sleep(0.01)
    assert response.cancelled


async def test_a_large_picture_is_kept_until_it_is_taken() -> None:
    large = LargeOnes()
    large.put(key(), LARGE)
    assert large.take(key("other")) is None
    assert large.take(key()) is LARGE
    assert large.take(key()) is None


async def test_a_large_picture_that_nobody_takes_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "KEPT_S", 0.01)
    large = LargeOnes()
    large.put(key(), LARGE)
    await asyncio.sleep(0.05)
    assert large.take(key()) is None


async def test_a_small_picture_whose_loader_dies_is_loaded_again_as_a_large_one_is() -> None:
    with pytest.raises(LostMedia):
        await a_picture(StageUnavailable.restarting("MediaLoader")).arrived()


async def test_few_large_pictures_are_kept() -> None:
    large = LargeOnes()
    for number in range(KEPT + 1):
        large.put(key(str(number)), LARGE)
    assert large.take(key("0")) is None
    assert large.take(key(str(KEPT))) is LARGE
