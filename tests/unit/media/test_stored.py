"""Uploaded files are read where they are decoded: only what may be decoded, and only so many at once."""

from __future__ import annotations

import asyncio
import threading
import time
from dataclasses import dataclass, field

import numpy as np
import pytest

from multimodal.errors import DeadlineExceeded, FileUnknown, MediaTooLarge
from multimodal.media.stored import StoredLoader
from multimodal.types import Image, Media, MediaKind, MediaSource, RequestContext, StoredContent

PARAM = "messages.0.content.0"
CONTENT = StoredContent(key="ab/cd", sha256="0" * 64, size_bytes=5)


def context(seconds: float = 60.0) -> RequestContext:
    return RequestContext(request_id="r", tenant="t", deadline_s=time.time() + seconds)


def source(stored: StoredContent | None = CONTENT, data: bytes = b"") -> MediaSource:
    return MediaSource(kind=MediaKind.IMAGE, data=data, param=PARAM, stored=stored)


@dataclass
class Decoders:
    """Remembers what it was given; nothing of more than 10 bytes is decoded."""

    given: list[MediaSource] = field(default_factory=list)
    gate: asyncio.Event | None = None
    at_once: int = 0
    most: int = 0
    done: list[str] = field(default_factory=list)

    def check(self, source: MediaSource) -> None:
        if source.size_bytes > 10:
            raise MediaTooLarge("Too large.", param=source.param)

    async def load(self, ctx: RequestContext, source: MediaSource) -> Media:
        self.given.append(source)
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        if self.gate is not None:
            await self.gate.wait()
        self.at_once -= 1
        return Image(sha256="d", pixels=np.zeros((1, 1, 3), np.uint8), width=1, height=1, format="png")

    def start(self) -> None:
        self.done.append("start")

    def check_health(self) -> None:
        self.done.append("check_health")

    async def close(self) -> None:
        self.done.append("close")


async def test_the_bytes_of_an_uploaded_file_are_read_off_the_event_loop() -> None:
    threads: list[threading.Thread] = []

    def read(stored: StoredContent) -> bytes:
        threads.append(threading.current_thread())
        return stored.key.encode()

    decoders = Decoders()
    await StoredLoader(decoders, read).load(context(), source())
    (given,) = decoders.given
    assert (given.data, given.stored, given.param) == (b"ab/cd", CONTENT, PARAM)
    assert threads[0] is not threading.current_thread()


async def test_other_media_pass_through() -> None:
    decoders = Decoders()
    sent = source(None, b"bytes of a request")
    await StoredLoader(decoders, lambda _: pytest.fail("nothing is to be read")).load(context(), sent)
    assert decoders.given == [sent]


async def test_a_file_that_is_too_large_is_not_even_read() -> None:
    large = StoredContent(key="k", sha256="0" * 64, size_bytes=11)
    loader = StoredLoader(Decoders(), lambda _: pytest.fail("nothing is to be read"))
    with pytest.raises(MediaTooLarge):
        await loader.load(context(), source(large))


@pytest.mark.parametrize("error", [FileNotFoundError(), FileUnknown("gone")])
async def test_bytes_that_are_gone_are_a_missing_file(error: Exception) -> None:
    def read(stored: StoredContent) -> bytes:
        raise error

    with pytest.raises(FileUnknown, match="are gone") as caught:
        await StoredLoader(Decoders(), read).load(context(), source())
    assert caught.value.param == PARAM
    assert "ab/cd" not in caught.value.message


async def test_few_files_are_in_memory_at_once_and_waiting_ends_with_the_deadline() -> None:
    decoders = Decoders(gate=asyncio.Event())
    loader = StoredLoader(decoders, lambda _: b"bytes")
    tasks = [asyncio.create_task(loader.load(context(), source())) for _ in range(9)]
    while len(decoders.given) < 4:
        await asyncio.sleep(0.01)
    with pytest.raises(DeadlineExceeded):
        await loader.load(context(0.05), source())
    assert decoders.gate is not None
    decoders.gate.set()
    await asyncio.gather(*tasks)
    assert (len(decoders.given), decoders.most) == (9, 4)


async def test_a_read_that_hangs_ends_with_the_deadline() -> None:
    released = threading.Event()

    def read(stored: StoredContent) -> bytes:
        released.wait()
        return b""

    loader = StoredLoader(Decoders(), read)
    with pytest.raises(DeadlineExceeded, match="could not be read"):
        await loader.load(context(0.05), source())
    released.set()


async def test_the_rest_is_the_decoders_own() -> None:
    decoders = Decoders()
    loader = StoredLoader(decoders, lambda _: b"")
    loader.start()
    loader.check_health()
    await loader.close()
    assert decoders.done == ["start", "check_health", "close"]
