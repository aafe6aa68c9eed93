"""A body that comes faster than it is taken waits with its client, and nothing hangs."""

from __future__ import annotations

import asyncio
import pickle
from collections import deque
from collections.abc import AsyncIterator, Callable

import pytest
from ray.serve._private import proxy, replica
from ray.serve._private.common import RequestMetadata
from starlette.types import Message

from deployments import flow
from deployments.flow import BoundedDirectReceive, BoundedMessageQueue, BoundedReceive
from deployments.proxy import layers

METADATA = RequestMetadata(request_id="r", internal_request_id="i")
LIMIT_BYTES = 10


def body(data: bytes, more: bool = True) -> Message:
    return {"type": "http.request", "body": data, "more_body": more}


async def idle() -> None:
    """Let everything run that can."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_puts_wait_for_room_and_go_on_in_order() -> None:
    queue = BoundedMessageQueue(LIMIT_BYTES)
    put: list[int] = []

    async def fill() -> None:
        for number in range(6):
            await queue(body(bytes([number]) * 4))
            put.append(number)

    filling = asyncio.create_task(fill())
    await idle()
    assert put == [0, 1, 2]  # 12 bytes: the one that crosses the limit is the last

    taken = queue.get_messages_nowait()
    await filling
    taken += queue.get_messages_nowait()
    assert [message["body"][0] for message in taken] == list(range(6))


async def test_one_message_over_the_limit_passes() -> None:
    queue = BoundedMessageQueue(LIMIT_BYTES)
    await queue(body(b"x" * 100))
    assert len(queue.get_messages_nowait()) == 1


async def test_messages_without_a_body_need_no_room() -> None:
    queue = BoundedMessageQueue(LIMIT_BYTES)
    for _ in range(100):
        await queue({"type": "http.disconnect"})
    assert len(queue.get_messages_nowait()) == 100


async def test_closing_frees_whoever_waits() -> None:
    queue = BoundedMessageQueue(LIMIT_BYTES)
    await queue(body(b"x" * 10))
    waiting = asyncio.create_task(queue(body(b"y")))
    await idle()
    queue.close()

    with pytest.raises(RuntimeError, match="closed"):
        await waiting
    assert [message["body"] for message in queue.get_messages_nowait()] == [b"x" * 10]


async def test_a_put_that_waits_can_be_cancelled() -> None:
    queue = BoundedMessageQueue(LIMIT_BYTES)
    await queue(body(b"x" * 10))
    waiting = asyncio.create_task(queue(body(b"y")))
    await idle()
    waiting.cancel()

    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert len(queue.get_messages_nowait()) == 1


class Upload:
    """A client, the proxy's queue and the replica's end, as Serve joins them."""

    def __init__(self, sizes: list[int]) -> None:
        self.queue = BoundedMessageQueue(LIMIT_BYTES)
        self.sent = 0
        """Bytes that the proxy has read from the client."""
        self._sizes = sizes
        self.receive = BoundedReceive({"type": "http"}, METADATA, self._fetch)

    async def _fetch(self, metadata: RequestMetadata) -> bytes:
        await self.queue.wait_for_message()  # type: ignore[no-untyped-call]
        return pickle.dumps(self.queue.get_messages_nowait())

    async def send(self) -> None:
        for size in self._sizes:
            await self.queue(body(b"x" * size))
            self.sent += size
        await self.queue(body(b"", more=False))
        await self.queue({"type": "http.disconnect"})

    async def run(self) -> AsyncIterator[Message]:
        """What the app receives."""
        tasks = [asyncio.create_task(work()) for work in (self.send, self.receive.fetch_until_disconnect)]
        while (message := await self.receive())["type"] == "http.request":
            yield message
        for task in tasks:
            await task


async def test_an_upload_is_never_far_ahead_of_the_app() -> None:
    upload = Upload([4] * 100)
    received, ahead = 0, []
    async for message in upload.run():
        received += len(message["body"])
        await idle()
        ahead.append(upload.sent - received)

    assert received == 400
    # One batch in the replica and one in the proxy, each over the limit by less than a message.
    assert max(ahead) < 2 * (LIMIT_BYTES + 4)


async def test_an_app_that_reads_nothing_stops_the_client() -> None:
    upload = Upload([4] * 100)
    tasks = [asyncio.create_task(work()) for work in (upload.send, upload.receive.fetch_until_disconnect)]
    await idle()

    assert upload.sent < 2 * (LIMIT_BYTES + 4)
    for task in tasks:  # as Serve does when the app has answered
        task.cancel()
    await asyncio.wait(tasks)


async def test_disconnects_are_seen_once_the_body_was_taken() -> None:
    upload = Upload([4, 4])
    assert [len(message["body"]) async for message in upload.run()] == [4, 4, 0]
    assert (await upload.receive())["type"] == "http.disconnect"


async def test_a_request_that_the_proxy_forgot_is_a_disconnect() -> None:
    async def fetch(metadata: RequestMetadata) -> bytes:
        raise KeyError

    receive = BoundedReceive({"type": "http"}, METADATA, fetch)
    await receive.fetch_until_disconnect()  # type: ignore[no-untyped-call]
    assert (await receive())["type"] == "http.disconnect"


class Connection:
    """A client's, as uvicorn in the replica has it, and the replica's end."""

    def __init__(self, *messages: Message) -> None:
        self.read = 0
        """Messages that uvicorn has read from the client."""
        self.hung_up = asyncio.Event()
        self._messages = deque(messages)
        self.receive = BoundedDirectReceive({"type": "http"}, self._receive, asyncio.get_running_loop())
        self.fetching: asyncio.Task[None] = self.receive.fetch_until_disconnect_task()

    async def _receive(self) -> Message:
        if self._messages:
            self.read += 1
            return self._messages.popleft()
        await self.hung_up.wait()
        return {"type": "http.disconnect"}

    async def body(self) -> AsyncIterator[bytes]:
        """What the app receives."""
        more = True
        while more:
            message = await asyncio.wait_for(self.receive(), 10)
            more = message["more_body"]
            yield message["body"]


def numbered(count: int) -> list[Message]:
    return [body(bytes([number]), more=number < count - 1) for number in range(count)]


async def test_a_direct_upload_is_one_message_ahead_of_the_app() -> None:
    connection = Connection(*numbered(100))
    taken, ahead = [], []
    async for data in connection.body():
        taken.append(data[0])
        await idle()
        ahead.append(connection.read - len(taken))

    assert taken == list(range(100))
    assert max(ahead) == 1
    connection.fetching.cancel()


async def test_an_app_that_waits_for_a_direct_upload_gets_all_of_it() -> None:
    connection = Connection(*numbered(100))
    assert [data[0] async for data in connection.body()] == list(range(100))
    connection.fetching.cancel()


async def test_an_app_that_reads_nothing_stops_a_direct_client() -> None:
    connection = Connection(*numbered(100))
    await idle()

    assert connection.read == 1
    connection.fetching.cancel()  # as Serve does when the app has answered
    with pytest.raises(asyncio.CancelledError):
        await connection.fetching


async def test_an_app_without_a_body_to_take_sees_a_direct_client_hang_up() -> None:
    connection = Connection(*numbered(2))
    assert [data async for data in connection.body()] == [b"\0", b"\1"]
    waiting = asyncio.create_task(connection.receive())
    await idle()
    assert not waiting.done()
    connection.hung_up.set()

    assert (await asyncio.wait_for(waiting, 10))["type"] == "http.disconnect"
    await asyncio.wait_for(connection.fetching, 10)  # by which Serve knows
    assert (await asyncio.wait_for(connection.receive(), 10))["type"] == "http.disconnect"


async def test_a_direct_client_that_hangs_up_in_its_upload_is_seen_after_what_it_sent() -> None:
    connection = Connection(*numbered(9)[:3])
    connection.hung_up.set()
    kinds = []
    for _ in range(4):
        await idle()
        kinds.append((await asyncio.wait_for(connection.receive(), 10))["type"])

    assert kinds == ["http.request"] * 3 + ["http.disconnect"]
    await asyncio.wait_for(connection.fetching, 10)


PATCHED = (
    (proxy, "MessageQueue", BoundedMessageQueue),
    (replica, "ASGIReceiveProxy", BoundedReceive),
    (replica, "ASGIDIReceiveProxy", BoundedDirectReceive),
)
"""Modules of Serve, the names in them, and what stands there instead."""


def test_the_proxy_and_the_replica_use_them(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name, _ in PATCHED:
        monkeypatch.setattr(module, name, getattr(module, name))
    around = [repr(layer) for layer in layers()]
    flow.bound_replica()

    assert around == ["Middleware(PiecewiseDownloads)", "Middleware(ProxyEnvelope)"]
    assert all(getattr(module, name) is ours for module, name, ours in PATCHED)


@pytest.mark.parametrize("bound", [flow.bound_proxy, flow.bound_replica])
def test_another_version_of_serve_is_refused(
    monkeypatch: pytest.MonkeyPatch, bound: Callable[[], None]
) -> None:
    for module, name, _ in PATCHED:
        monkeypatch.delattr(module, name)
    with pytest.raises(RuntimeError, match="version of Ray Serve"):
        bound()
