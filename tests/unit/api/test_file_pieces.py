"""Downloads come through the proxy in pieces, and to the client as one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import pytest
from fastapi import FastAPI
from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from multimodal.api.file_pieces import PIECE_HEADER, PiecewiseDownloads
from multimodal.library.records import FileRecord
from tests.unit.api.fakes import Caller, FakeService, call
from tests.unit.api.library_fakes import FakeFiles, file_id

PIECE_BYTES = 1000
DATA = bytes(range(256)) * 14  # 3584 bytes


class Behind:
    """The app behind the proxy: counts its requests, and may be changed between them."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self.headers: list[Headers] = []
        self.before: Callable[[int], ASGIApp | None] = lambda number: None
        """Called with the number of a request; may answer it."""
        self.largest = 0
        """Bytes of the largest answer."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.headers.append(Headers(scope=scope))
        size = 0

        async def counted(message: Message) -> None:
            nonlocal size
            size += len(message.get("body", b""))
            self.largest = max(self.largest, size)
            await send(message)

        app = self.before(len(self.headers)) or self.app
        await app(scope, receive, counted)


@pytest.fixture
def files(service: FakeService) -> FakeFiles:
    service.library.files.piece_bytes = 300
    return service.library.files


@pytest.fixture
def record(files: FakeFiles) -> FileRecord:
    return files.put(DATA)


@pytest.fixture
def behind(app: FastAPI) -> Behind:
    return Behind(app)


@pytest.fixture
def proxy(behind: Behind) -> PiecewiseDownloads:
    return PiecewiseDownloads(behind, piece_bytes=PIECE_BYTES)


async def get(
    proxy: ASGIApp, record: FileRecord, headers: Mapping[str, str] | None = None, **how: int
) -> Caller:
    path = f"/v1/files/{record.id}/content"
    pipe_breaks_after = how.get("pipe_breaks_after", 1_000_000)
    return await call(proxy, path, method="GET", headers=headers or {}, pipe_breaks_after=pipe_breaks_after)


def ended(caller: Caller) -> bool:
    """Whether the server was told that the answer is whole, and told so once."""
    return [message.get("more_body") for message in caller.sent[1:]].count(False) == 1


async def test_the_client_gets_one_answer(
    proxy: PiecewiseDownloads, behind: Behind, record: FileRecord
) -> None:
    caller = await get(proxy, record)

    assert (caller.status, caller.body) == (200, DATA)
    assert caller.headers["content-length"] == str(len(DATA))
    assert "content-range" not in caller.headers
    assert ended(caller)
    assert len(behind.headers) == 4
    assert behind.largest == PIECE_BYTES


@pytest.mark.parametrize(
    ("asked", "start", "end", "requests"),
    [
        ("bytes=500-2999", 500, 3000, 3),
        ("bytes=500-1499", 500, 1500, 1),
        ("bytes=500-1500", 500, 1501, 2),
        ("bytes=3000-", 3000, 3584, 1),
        ("bytes=-2000", 1584, 3584, 2),
    ],
)
async def test_so_it_is_with_ranges(
    proxy: PiecewiseDownloads,
    behind: Behind,
    record: FileRecord,
    asked: str,
    start: int,
    end: int,
    requests: int,
) -> None:
    caller = await get(proxy, record, {"range": asked})

    assert (caller.status, caller.body) == (206, DATA[start:end])
    assert caller.headers["content-range"] == f"bytes {start}-{end - 1}/{len(DATA)}"
    assert ended(caller)
    assert len(behind.headers) == requests
    assert behind.largest <= PIECE_BYTES


async def test_nothing_is_asked_for_before_the_client_has_the_last_piece(
    proxy: PiecewiseDownloads, behind: Behind, record: FileRecord
) -> None:
    gate = asyncio.Event()
    got = 0

    async def slow_send(message: Message) -> None:
        nonlocal got
        got += len(message.get("body", b""))
        if got >= PIECE_BYTES:
            await gate.wait()

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    seen: Scope = {}

    async def look(scope: Scope, receive: Receive, send: Send) -> None:
        seen.update(scope)

    await call(look, f"/v1/files/{record.id}/content", method="GET")
    download = asyncio.create_task(proxy(seen, _patient(receive), slow_send))
    for _ in range(50):
        await asyncio.sleep(0)
    assert (got, len(behind.headers)) == (PIECE_BYTES, 1)

    gate.set()
    await download
    assert got == len(DATA)


def _patient(receive: Receive) -> Receive:
    """One message, then nothing for ever."""
    asked = False

    async def once() -> Message:
        nonlocal asked
        if asked:
            await asyncio.Event().wait()
        asked = True
        return await receive()

    return once


async def test_conditions_are_the_clients_in_the_first_request_and_ours_in_the_others(
    proxy: PiecewiseDownloads, behind: Behind, record: FileRecord
) -> None:
    await get(proxy, record, {"if-none-match": '"other"', "authorization": "Bearer x", PIECE_HEADER: "7"})
    first, second = behind.headers[:2]

    assert (first["if-none-match"], first[PIECE_HEADER], "range" in first) == ('"other"', "1000", False)
    assert (second["range"], second["if-range"]) == ("bytes=1000-1999", f'"{record.content.sha256}"')
    assert "if-none-match" not in second
    assert PIECE_HEADER not in second
    assert second["authorization"] == "Bearer x"


@pytest.mark.parametrize(
    ("headers", "status"), [({"if-none-match": "*"}, 304), ({"range": "bytes=9999-"}, 416)]
)
async def test_answers_without_the_file_pass(
    proxy: PiecewiseDownloads, behind: Behind, record: FileRecord, headers: dict[str, str], status: int
) -> None:
    caller = await get(proxy, record, headers)
    assert caller.status == status
    assert ended(caller)
    assert len(behind.headers) == 1


async def test_unknown_files_pass(proxy: PiecewiseDownloads, behind: Behind) -> None:
    caller = await call(proxy, f"/v1/files/{file_id(9)}/content", method="GET")
    assert (caller.status, caller.error["code"]) == (404, "file_not_found")
    assert len(behind.headers) == 1


@pytest.mark.parametrize(
    ("method", "path"),
    [("HEAD", f"/v1/files/{file_id(1)}/content"), ("GET", f"/v1/files/{file_id(1)}"), ("GET", "/healthz")],
)
async def test_other_requests_are_left_alone(
    proxy: PiecewiseDownloads, behind: Behind, record: FileRecord, method: str, path: str
) -> None:
    assert (await call(proxy, path, method=method)).status == 200
    assert PIECE_HEADER not in behind.headers[0]


async def test_a_file_that_is_deleted_on_the_way_does_not_look_whole(
    proxy: PiecewiseDownloads, behind: Behind, record: FileRecord, files: FakeFiles
) -> None:
    def delete(number: int) -> None:
        if number == 3:
            files.records.clear()

    behind.before = delete
    caller = await get(proxy, record)
    assert caller.body == DATA[:2000]
    assert not ended(caller)
    assert len(behind.headers) == 3


async def test_a_gateway_that_dies_on_the_way_does_not_look_whole(
    proxy: PiecewiseDownloads, behind: Behind, record: FileRecord
) -> None:
    behind.before = lambda number: PlainTextResponse("gone", 500) if number == 2 else None
    caller = await get(proxy, record)
    assert (caller.status, caller.body) == (200, DATA[:1000])
    assert not ended(caller)


async def test_a_piece_that_was_cut_short_is_the_last(
    proxy: PiecewiseDownloads, behind: Behind, record: FileRecord
) -> None:
    async def nothing(scope: Scope, receive: Receive, send: Send) -> None:
        """A request that Serve gave up: the client is gone."""

    behind.before = lambda number: nothing if number == 2 else None
    caller = await get(proxy, record)
    assert caller.body == DATA[:1000]
    assert not ended(caller)
    assert len(behind.headers) == 2
