"""The pool against decoders that crash, hang and lie: each costs one worker, and nobody else notices."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from multimodal.config import Limits, LoaderArgs, StoredLimits
from multimodal.errors import (
    DeadlineExceeded,
    InvalidMedia,
    MediaTooLarge,
    MultimodalError,
    StageUnavailable,
    UnsupportedMedia,
)
from multimodal.identity import sha256_of
from multimodal.media.pool import DecoderPool
from multimodal.types import Audio, Image, Media, MediaKind, MediaSource, RequestContext, StoredContent
from tests.unit.media.fake_worker import PIXELS

FAKE = (sys.executable, "-P", str(Path(__file__).with_name("fake_worker.py")))
PARAM = "messages.0.content.0"


def make_pool(
    mode: str = "obedient", *, workers: int = 1, limits: Limits | None = None, **args: float
) -> DecoderPool:
    settings = LoaderArgs.model_validate({"workers": workers, "decode_timeout_s": 60.0, **args})
    return DecoderPool(limits or Limits(), settings, command=(*FAKE, mode))


@pytest.fixture
async def pool() -> AsyncIterator[DecoderPool]:
    """One obedient worker."""
    made = make_pool()
    yield made
    await made.close()


@pytest.fixture
async def pair() -> AsyncIterator[DecoderPool]:
    """Two obedient workers."""
    made = make_pool(workers=2)
    yield made
    await made.close()


def context(seconds: float = 60.0) -> RequestContext:
    return RequestContext(request_id="r", tenant="t", deadline_s=time.time() + seconds)


async def load(
    pool: DecoderPool, order: str, kind: MediaKind = MediaKind.IMAGE, *, seconds: float = 60.0
) -> Media:
    return await pool.load(context(seconds), MediaSource(kind=kind, data=order.encode(), param=PARAM))


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.01)


def gone(pid: int) -> bool:
    """Whether a process has ended, reaped or not."""
    try:
        return ") Z " in Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True


async def assert_serves(pool: DecoderPool) -> None:
    assert isinstance(await load(pool, "picture"), Image)


async def test_a_picture_comes_back(pool: DecoderPool) -> None:
    image = await load(pool, "picture")
    assert isinstance(image, Image)
    assert (image.width, image.height, image.format) == (20, 30, "png")
    assert image.pixels.tobytes() == PIXELS
    assert image.pixels.shape == (2, 3, 3)


async def test_the_digest_is_the_pools_own(pool: DecoderPool) -> None:
    assert (await load(pool, "picture")).sha256 == sha256_of(b"picture")


async def test_workers_are_kept(pool: DecoderPool) -> None:
    await load(pool, "picture")
    before = pool.pids
    await load(pool, "picture")
    assert pool.pids == before


async def test_reported_errors_keep_the_worker(pool: DecoderPool) -> None:
    await load(pool, "picture")
    before = pool.pids
    with pytest.raises(UnsupportedMedia, match="no such codec") as caught:
        await load(pool, "unsupported")
    assert caught.value.param == "p.q"
    assert pool.pids == before


async def test_a_worker_that_says_it_ends_is_replaced(pool: DecoderPool) -> None:
    await load(pool, "picture")
    before = pool.pids
    with pytest.raises(MultimodalError, match="failed") as caught:
        await load(pool, "failed")
    assert caught.value.status == 500
    assert "why" not in caught.value.message
    assert pool.pids != before
    await assert_serves(pool)


@pytest.mark.parametrize(
    "order", [f"signal {int(signal.SIGSEGV)}", f"signal {int(signal.SIGABRT)}", "exit 1"]
)
async def test_a_crash_is_the_mediums_fault(pool: DecoderPool, order: str) -> None:
    with pytest.raises(InvalidMedia, match="crashed") as caught:
        await load(pool, order)
    assert caught.value.param == PARAM
    await assert_serves(pool)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
async def test_being_stopped_from_outside_is_not(pool: DecoderPool, number: signal.Signals) -> None:
    with pytest.raises(StageUnavailable) as caught:
        await load(pool, f"signal {int(number)}")
    assert caught.value.retry_after_s
    await assert_serves(pool)


@pytest.mark.parametrize("order", ["kind", "huge", "wide", "ready", "overloaded", "long", "text", "pickle"])
async def test_a_worker_that_lies_is_killed_and_replaced(pool: DecoderPool, order: str) -> None:
    await load(pool, "picture")
    (liar,) = pool.pids
    with pytest.raises(InvalidMedia, match="crashed"):
        await load(pool, order)
    await until(lambda: gone(liar))
    await assert_serves(pool)


@pytest.mark.parametrize("order", ["paper", "pages", "picture"])
async def test_a_worker_that_lies_about_a_document_is_replaced(pool: DecoderPool, order: str) -> None:
    with pytest.raises(InvalidMedia, match="crashed"):
        await load(pool, order, MediaKind.DOCUMENT)
    await assert_serves(pool)


async def test_a_worker_past_its_time_is_killed_and_replaced(tmp_path: Path) -> None:
    pool = make_pool(decode_timeout_s=0.5)
    await load(pool, "picture")
    (slow,) = pool.pids
    with pytest.raises(DeadlineExceeded, match=r"longer than the 0\.5 s") as caught:
        await load(pool, f"hang {tmp_path / 'hangs'}")
    assert caught.value.param == PARAM
    await until(lambda: gone(slow))
    assert pool.pids
    await assert_serves(pool)
    await pool.close()


async def test_media_that_play_long_get_more_time() -> None:
    pool = make_pool(decode_timeout_s=0.5, decode_timeout_s_per_media_s=1.0)
    assert isinstance(await load(pool, "slow 60", MediaKind.AUDIO), Audio)
    await pool.close()


async def test_claimed_seconds_count_up_to_the_limit() -> None:
    limits = Limits(audio_s=0.1)
    pool = make_pool(decode_timeout_s=0.5, decode_timeout_s_per_media_s=1.0, limits=limits)
    with pytest.raises(DeadlineExceeded):
        await load(pool, "slow 1000000", MediaKind.AUDIO)
    await pool.close()


async def test_decoding_ends_with_the_requests_deadline(pool: DecoderPool, tmp_path: Path) -> None:
    await load(pool, "picture")
    with pytest.raises(DeadlineExceeded, match="deadline of this request"):
        await load(pool, f"hang {tmp_path / 'hangs'}", seconds=0.3)
    await assert_serves(pool)


async def test_waiting_for_a_worker_ends_with_the_requests_deadline(
    pool: DecoderPool, tmp_path: Path
) -> None:
    hangs = tmp_path / "hangs"
    first = asyncio.create_task(load(pool, f"hang {hangs}"))
    await until(hangs.exists)
    with pytest.raises(DeadlineExceeded, match="busy"):
        await load(pool, "picture", seconds=0.1)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    await assert_serves(pool)


async def test_others_are_served_while_one_hangs(pair: DecoderPool, tmp_path: Path) -> None:
    hangs = tmp_path / "hangs"
    stuck = asyncio.create_task(load(pair, f"hang {hangs}"))
    await until(hangs.exists)
    for _ in range(5):
        await assert_serves(pair)
    with pytest.raises(InvalidMedia):
        await load(pair, "exit 1")
    await assert_serves(pair)
    assert not stuck.done()
    stuck.cancel()
    with pytest.raises(asyncio.CancelledError):
        await stuck


@pytest.mark.parametrize("order", ["hang", "half"])
async def test_a_cancelled_request_leaves_no_poisoned_worker(
    pool: DecoderPool, tmp_path: Path, order: str
) -> None:
    hangs = tmp_path / "hangs"
    task = asyncio.create_task(load(pool, f"{order} {hangs}"))
    await until(hangs.exists)
    (busy,) = pool.pids
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await until(lambda: gone(busy))
    image = await load(pool, "picture")
    assert isinstance(image, Image)
    assert image.pixels.tobytes() == PIXELS


async def test_an_idle_worker_that_died_is_not_used(pool: DecoderPool) -> None:
    await load(pool, "picture")
    (idle,) = pool.pids
    os.kill(idle, signal.SIGKILL)
    await until(lambda: gone(idle))
    await assert_serves(pool)
    assert pool.pids != [idle]


async def test_many_requests_share_few_workers(pair: DecoderPool) -> None:
    orders = ["picture", "unsupported", "exit 1", "huge"] * 5
    results = await asyncio.gather(*(load(pair, order) for order in orders), return_exceptions=True)
    for order, result in zip(orders, results, strict=True):
        expected = {"picture": Image, "unsupported": UnsupportedMedia}.get(order, InvalidMedia)
        assert isinstance(result, expected)
    assert len(pair.pids) == 2


async def test_start_brings_up_all_workers(pair: DecoderPool) -> None:
    pair.start()
    assert len(pair.pids) == 2
    pair.start()
    assert len(pair.pids) == 2


async def test_workers_that_cannot_start_are_unavailable() -> None:
    pool = make_pool("broken")
    with pytest.raises(StageUnavailable):
        await load(pool, "picture")
    await pool.close()


async def test_a_missing_interpreter_is_unavailable() -> None:
    pool = DecoderPool(Limits(), LoaderArgs(workers=1), command=("/nonexistent/python",))
    with pytest.raises(StageUnavailable):
        await load(pool, "picture")
    await pool.close()


async def test_too_many_bytes_cost_no_worker() -> None:
    pool = make_pool(limits=Limits(image_bytes=3))
    with pytest.raises(MediaTooLarge):
        await load(pool, "picture")
    assert pool.pids == []


def stored(data: bytes, sha256: str | None = None) -> MediaSource:
    """An uploaded file whose bytes were read already."""
    content = StoredContent(key="k", sha256=sha256 or sha256_of(data), size_bytes=len(data))
    return MediaSource(kind=MediaKind.IMAGE, data=data, param=PARAM, stored=content)


async def test_uploaded_files_have_limits_of_their_own() -> None:
    small, large = Limits(image_bytes=3), StoredLimits(image_bytes=10)
    pool = DecoderPool(small, LoaderArgs(workers=1), stored=large, command=(*FAKE, "obedient"))
    assert isinstance(await pool.load(context(), stored(b"picture")), Image)
    with pytest.raises(MediaTooLarge, match="10 bytes"):
        await pool.load(context(), stored(b"a larger picture"))
    with pytest.raises(MediaTooLarge, match="3 bytes"):
        await load(pool, "picture")
    await pool.close()


async def test_stored_bytes_that_are_not_those_that_were_stored_are_not_decoded(pool: DecoderPool) -> None:
    with pytest.raises(InvalidMedia, match="stored bytes of this file are damaged") as caught:
        await pool.load(context(), stored(b"picture", sha256="0" * 64))
    assert caught.value.param == PARAM
    assert pool.pids == []


async def test_close_ends_workers_and_requests_in_flight(tmp_path: Path) -> None:
    pool = make_pool(workers=2)
    pool.start()
    hangs = tmp_path / "hangs"
    tasks = [asyncio.create_task(load(pool, f"hang {hangs}")) for _ in range(3)]
    await until(hangs.exists)
    pids = pool.pids
    await pool.close()
    for task in tasks:
        with pytest.raises(StageUnavailable, match="shutting down"):
            await task
    assert all(gone(pid) for pid in pids)
    assert pool.pids == []
    with pytest.raises(StageUnavailable):
        await load(pool, "picture")
    await pool.close()


OUTER = """
import sys, time
from multimodal.config import Limits, LoaderArgs
from multimodal.media.process import WorkerProcess
from multimodal.media.wire import SetupHeader
setup = SetupHeader(limits=Limits(), stored_limits=Limits(), args=LoaderArgs())
worker = WorkerProcess(setup, sys.argv[1:])
print(worker.pid, flush=True)
time.sleep(60)
"""


async def test_a_worker_that_hangs_does_not_outlive_its_parent() -> None:
    with subprocess.Popen([sys.executable, "-c", OUTER, *FAKE, "stubborn"], stdout=subprocess.PIPE) as outer:
        assert outer.stdout is not None
        worker = int(outer.stdout.readline())
        await asyncio.sleep(0.5)
        assert not gone(worker)
        outer.kill()
    await until(lambda: gone(worker))
