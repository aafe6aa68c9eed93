"""/v1/files/{id}/content and thumbnails: ranges, conditions, and what browsers are told."""

from __future__ import annotations

import asyncio

import httpx
import pytest
from fastapi import FastAPI
from hypothesis import given
from hypothesis import strategies as st
from starlette.datastructures import Headers

from multimodal.api.file_range import RangeNotSatisfiable, Span, is_known, span_of
from multimodal.errors import FileUnknown, StageUnavailable
from multimodal.library.records import FileRecord
from tests.unit.api.fakes import Caller, FakeService, call
from tests.unit.api.library_fakes import FakeFiles, file_id

DATA = bytes(range(256)) * 100
SIZE = len(DATA)


@pytest.fixture
def files(service: FakeService) -> FakeFiles:
    files = service.library.files
    files.piece_bytes = 1000
    return files


@pytest.fixture
def record(files: FakeFiles) -> FileRecord:
    return files.put(DATA, filename="Grüße.html", media_type="text/html")


@pytest.fixture
def path(record: FileRecord) -> str:
    return f"/v1/files/{record.id}/content"


def etag_of(record: FileRecord) -> str:
    return f'"{record.content.sha256}"'


async def test_the_whole_file(client: httpx.AsyncClient, path: str, record: FileRecord) -> None:
    response = await client.get(path)

    assert (response.status_code, response.content) == (200, DATA)
    assert response.headers["content-length"] == str(SIZE)
    assert response.headers["content-type"] == "text/html"
    assert response.headers["accept-ranges"] == "bytes"
    assert response.headers["etag"] == etag_of(record)
    assert "content-range" not in response.headers


async def test_browsers_neither_run_nor_guess_it(client: httpx.AsyncClient, path: str) -> None:
    headers = (await client.get(path)).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["content-security-policy"] == "sandbox"
    assert headers["content-disposition"] == (
        "attachment; filename=\"Gr__e.html\"; filename*=UTF-8''Gr%C3%BC%C3%9Fe.html"
    )
    assert headers["cache-control"] == "private, no-cache"


@pytest.mark.parametrize(
    ("asked", "start", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=0-999", 0, 1000),
        ("bytes=1500-2499", 1500, 2500),
        ("bytes=25599-", 25599, SIZE),
        ("bytes=100-999999999999", 100, SIZE),
        ("bytes=-1", SIZE - 1, SIZE),
        ("bytes=-999999999999", 0, SIZE),
        ("BYTES = 1 - 2", 1, 3),
    ],
)
async def test_a_range(client: httpx.AsyncClient, path: str, asked: str, start: int, end: int) -> None:
    response = await client.get(path, headers={"range": asked})

    assert (response.status_code, response.content) == (206, DATA[start:end])
    assert response.headers["content-range"] == f"bytes {start}-{end - 1}/{SIZE}"
    assert response.headers["content-length"] == str(end - start)


async def test_only_the_range_is_read(client: httpx.AsyncClient, path: str, files: FakeFiles) -> None:
    await client.get(path, headers={"range": "bytes=1000-1999"})
    assert files.read_bytes == 1000


@pytest.mark.parametrize(
    "asked",
    [
        "bytes=0-1,5-6",
        "bytes=5-1",
        "bytes=-",
        "bytes=a-b",
        "items=0-1",
        "bytes=0-1-2",
        "bytes=" + "9" * 30 + "-",
        "bytes=٣-٤",
        "",
    ],
)
async def test_other_ranges_get_the_whole_file(client: httpx.AsyncClient, path: str, asked: str) -> None:
    response = await client.get(path, headers={b"range": asked.encode()})
    assert (response.status_code, len(response.content)) == (200, SIZE)


@pytest.mark.parametrize("asked", [f"bytes={SIZE}-", f"bytes={SIZE + 5}-{SIZE + 9}", "bytes=-0"])
async def test_ranges_after_the_end(client: httpx.AsyncClient, path: str, asked: str) -> None:
    response = await client.get(path, headers={"range": asked})

    assert (response.status_code, response.headers["content-range"]) == (416, f"bytes */{SIZE}")
    assert response.json()["error"]["code"] == "range_not_satisfiable"


async def test_what_the_client_has_is_not_sent_again(
    client: httpx.AsyncClient, path: str, record: FileRecord, files: FakeFiles
) -> None:
    etag = etag_of(record)
    for known in (etag, f'"other", W/{etag}', "*"):
        response = await client.get(path, headers={"if-none-match": known, "range": "bytes=0-1"})
        assert (response.status_code, response.content) == (304, b"")
        assert response.headers["etag"] == etag
    assert files.read_bytes == 0
    assert (await client.get(path, headers={"if-none-match": '"other"'})).status_code == 200


async def test_a_part_is_of_use_only_with_the_rest_of_the_same_bytes(
    client: httpx.AsyncClient, path: str, record: FileRecord
) -> None:
    for condition, status in (
        (etag_of(record), 206),
        ('"other"', 200),
        (f"W/{etag_of(record)}", 200),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 200),
    ):
        response = await client.get(path, headers={"range": "bytes=0-1", "if-range": condition})
        assert response.status_code == status, condition


async def test_head_is_get_without_the_bytes(client: httpx.AsyncClient, path: str, files: FakeFiles) -> None:
    head, whole = await client.head(path, headers={"range": "bytes=0-1"}), await client.get(path)

    assert (head.status_code, head.content) == (200, b"")
    for response in (head, whole):
        del response.headers["x-request-id"]
    assert head.headers == whole.headers
    assert files.read_bytes == SIZE
    assert (await client.head(f"/v1/files/{file_id(9)}/content")).status_code == 404


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (FileUnknown("Gone."), 404, "file_not_found"),
        (StageUnavailable("Down."), 503, "stage_unavailable"),
        (OSError("disk"), 500, "internal_error"),
    ],
)
async def test_bytes_that_cannot_be_read_are_an_error(
    app: FastAPI, path: str, files: FakeFiles, error: Exception, status: int, code: str
) -> None:
    files.error = error
    caller = await call(app, path, method="GET")
    assert (caller.status, caller.error["code"]) == (status, code)


async def test_a_file_that_ends_too_soon_does_not_look_whole(
    app: FastAPI, path: str, files: FakeFiles, record: FileRecord
) -> None:
    files.data[record.id] = DATA[:5000]
    caller = await call(app, path, method="GET")

    assert caller.body == DATA[:5000]
    assert caller.sent[-1]["more_body"] is True


async def test_nothing_more_is_read_for_a_client_that_went_away(
    app: FastAPI, path: str, files: FakeFiles
) -> None:
    caller = await call(app, path, method="GET", pipe_breaks_after=4)
    assert len(caller.sent) == 4
    assert files.read_bytes == 4000


async def test_a_client_that_goes_away_while_it_waits(app: FastAPI, files: FakeFiles) -> None:
    record = files.put(DATA)
    waiting, closed = asyncio.Event(), asyncio.Event()

    class Stuck(FakeFiles):
        async def read(self, record: FileRecord, start: int = 0, end: int | None = None):  # type: ignore[no-untyped-def]
            try:
                yield b"x"
                waiting.set()
                await asyncio.Event().wait()
            finally:
                closed.set()

    files.__class__ = Stuck
    caller = Caller(app, f"/v1/files/{record.id}/content", method="GET")
    await waiting.wait()
    caller.go_away()
    await caller.task
    assert closed.is_set()


async def test_thumbnails(client: httpx.AsyncClient, files: FakeFiles, record: FileRecord) -> None:
    files.thumbnails[record.id, 3] = b"jpeg"
    response = await client.get(f"/v1/files/{record.id}/thumbnails/3")

    assert (response.status_code, response.content) == (200, b"jpeg")
    assert response.headers["content-type"] == "image/jpeg"
    assert response.headers["cache-control"] == "private, max-age=31536000, immutable"
    assert response.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    ("ordinal", "status", "code"),
    [("4", 404, "file_not_found"), ("-1", 400, "invalid_request"), ("x", 400, "invalid_request")],
)
async def test_thumbnails_that_do_not_exist(
    client: httpx.AsyncClient, record: FileRecord, ordinal: str, status: int, code: str
) -> None:
    response = await client.get(f"/v1/files/{record.id}/thumbnails/{ordinal}")
    assert (response.status_code, response.json()["error"]["code"]) == (status, code)


# --- the parser --------------------------------------------------------------------------------


ASKED = st.text("bytes=-,0123456789 \t", max_size=30) | st.text(st.characters(codec="latin-1"), max_size=20)


@given(asked=ASKED, size=st.integers(min_value=1, max_value=100))
def test_no_header_gives_more_than_there_is(asked: str, size: int) -> None:
    headers = Headers({"range": asked})
    try:
        span = span_of(headers, '"x"', size)
    except RangeNotSatisfiable:
        return
    assert span is None or 0 <= span.start < span.end <= size


@given(st.data())
def test_every_range_within_is_found(data: st.DataObject) -> None:
    size = data.draw(st.integers(min_value=1, max_value=1 << 40))
    start = data.draw(st.integers(min_value=0, max_value=size - 1))
    last = data.draw(st.integers(min_value=start, max_value=size + 10))
    headers = Headers({"range": f"bytes={start}-{last}"})
    assert span_of(headers, '"x"', size) == Span(start=start, end=min(last + 1, size))


@pytest.mark.parametrize("known", ["", '"y"', "x", 'W/"y"', '"xy", "y"'])
def test_other_tags_are_not_known(known: str) -> None:
    assert not is_known(Headers({"if-none-match": known}), '"x"')
