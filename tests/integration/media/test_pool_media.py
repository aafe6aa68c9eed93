"""The pool with its real workers: what they decode, what confines them, what they leave behind."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from multimodal.config import MIB, Limits, LoaderArgs
from multimodal.errors import InvalidMedia, InvalidRequest, MediaTooLarge, MultimodalError, UnsupportedMedia
from multimodal.media.decoder import decode
from multimodal.media.pool import DecoderPool
from multimodal.types import Audio, Image, Media, MediaKind, MediaSource, RequestContext, Video
from tests import media

SECRET = "MULTIMODAL_TEST_SECRET"


@pytest.fixture(scope="module")
async def pool() -> AsyncIterator[DecoderPool]:
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv(SECRET, "hush")
        made = DecoderPool(Limits(), LoaderArgs(workers=2))
        made.start()
    yield made
    await made.close()


def source(kind: MediaKind, data: bytes) -> MediaSource:
    return MediaSource(kind=kind, data=data, param="messages.0.content.0")


async def load(pool: DecoderPool, kind: MediaKind, data: bytes) -> Media:
    context = RequestContext(request_id="r", tenant="t", deadline_s=time.time() + 60)
    return await pool.load(context, source(kind, data))


async def test_all_kinds_come_back_as_they_are_decoded_here(pool: DecoderPool) -> None:
    clip = media.captioned_clip()
    picture, sound, video = await asyncio.gather(
        load(pool, MediaKind.IMAGE, media.picture_with_text("TOTAL 42 EUR")),
        load(pool, MediaKind.AUDIO, media.speech("hello")),
        load(pool, MediaKind.VIDEO, clip),
    )
    assert isinstance(picture, Image)
    assert isinstance(sound, Audio)
    assert isinstance(video, Video)
    here = decode(source(MediaKind.VIDEO, clip), Limits(), LoaderArgs())
    assert isinstance(here, Video)
    assert repr(video) == repr(here)
    assert np.array_equal(video.frames, here.frames)
    assert video.audio is not None
    assert here.audio is not None
    assert np.array_equal(video.audio.samples, here.audio.samples)


@pytest.mark.parametrize(
    ("kind", "data", "expected"),
    [
        (MediaKind.IMAGE, media.bomb("png"), MediaTooLarge),
        (MediaKind.IMAGE, media.truncated(media.plain("red", "jpeg")), InvalidMedia),
        (MediaKind.IMAGE, b"<svg xmlns='http://www.w3.org/2000/svg'/>", UnsupportedMedia),
        (MediaKind.AUDIO, media.plain("red"), InvalidMedia),
        (MediaKind.VIDEO, b"", InvalidMedia),
    ],
)
async def test_errors_arrive_as_they_were_raised(
    pool: DecoderPool, kind: MediaKind, data: bytes, expected: type[MultimodalError]
) -> None:
    with pytest.raises(expected) as here:
        decode(source(kind, data), Limits(), LoaderArgs())
    with pytest.raises(expected) as there:
        await load(pool, kind, data)
    assert (there.value.message, there.value.param) == (here.value.message, here.value.param)


async def test_workers_are_confined(pool: DecoderPool) -> None:
    await asyncio.gather(*(load(pool, MediaKind.IMAGE, media.plain("red")) for _ in range(4)))
    confined = [Path(f"/proc/{pid}/limits").read_text() for pid in pool.pids]
    limits = {line[:26].strip(): line[26:].split()[0] for line in confined[0].splitlines()}
    assert limits["Max address space"] == str(2048 * MIB)
    assert limits["Max core file size"] == "0"
    assert limits["Max file size"] == "0"


async def test_workers_know_nothing_of_the_environment(pool: DecoderPool) -> None:
    await load(pool, MediaKind.IMAGE, media.plain("red"))
    for pid in pool.pids:
        assert SECRET.encode() not in Path(f"/proc/{pid}/environ").read_bytes()


async def test_what_needs_too_much_memory_is_refused_and_costs_one_worker() -> None:
    pool = DecoderPool(Limits(), LoaderArgs(workers=1, worker_memory_bytes=512 * MIB))
    await load(pool, MediaKind.IMAGE, media.plain("red"))
    before = pool.pids
    with pytest.raises(MediaTooLarge, match="512 MiB"):
        await load(pool, MediaKind.IMAGE, media.plain("red", "png", size=(9000, 9000)))
    assert pool.pids != before
    assert isinstance(await load(pool, MediaKind.VIDEO, media.captioned_clip()), Video)
    await pool.close()


async def test_damaged_clips_do_not_harm_the_next_request(pool: DecoderPool) -> None:
    clip = media.captioned_clip()
    random = np.random.default_rng(0)
    for _ in range(20):
        damaged = bytearray(clip)
        for place in random.integers(0, len(clip), 30):
            damaged[place] ^= 0xFF
        with suppress(InvalidRequest):
            await load(pool, MediaKind.VIDEO, bytes(damaged))
    assert isinstance(await load(pool, MediaKind.VIDEO, clip), Video)
