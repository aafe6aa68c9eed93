"""/v1/files: upload, list, look at, retry and delete, as OpenAI's client and others see it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import cast

import httpx
import openai
import pytest
from fastapi import FastAPI

from multimodal.api import create_app
from multimodal.config import ApiArgs, AppArgs, LibraryArgs, Limits
from multimodal.errors import QuotaExceeded, StageUnavailable
from multimodal.library.records import FileStatus
from multimodal.types import MediaKind
from tests.unit.api.conftest import official_client
from tests.unit.api.fakes import NOW_S, Caller, FakeService, call
from tests.unit.api.library_fakes import CREATED_S, FakeFiles, FakeLibrary, file_id

FILES = "/v1/files"
UPLOAD_BYTES = 4 * 1024 * 1024
KEYS = {hashlib.sha256(name.encode()).hexdigest(): name for name in ("one", "two")}


@pytest.fixture
def args() -> AppArgs:
    """Ordinary bodies are smaller than uploads."""
    return AppArgs(
        limits=Limits(body_bytes=1000), library=LibraryArgs(upload_bytes=UPLOAD_BYTES, metadata_keys=3)
    )


@pytest.fixture
def library(service: FakeService) -> FakeLibrary:
    return service.library


@pytest.fixture
def files(library: FakeLibrary) -> FakeFiles:
    return library.files


def form(
    file: bytes | None = b"words", fields: Mapping[str, str] | None = None, filename: str = "notes.txt"
) -> tuple[bytes, dict[str, str]]:
    parts: list[tuple[str, tuple[str | None, bytes | str, str | None]]] = []
    if file is not None:
        parts.append(("file", (filename, file, "text/html")))
    parts += [
        (name, (None, value, None))
        for name, value in ({"purpose": "user_data"} if fields is None else fields).items()
    ]
    request = httpx.Request("POST", "http://localhost", files=parts)
    return request.read(), {"content-type": request.headers["content-type"]}


async def send(
    app: FastAPI, file: bytes | None = b"words", fields: Mapping[str, str] | None = None
) -> Caller:
    body, headers = form(file, fields)
    return await call(app, FILES, body, headers=headers)


# --- upload ------------------------------------------------------------------------------------


async def test_an_upload_is_answered_with_everything_that_is_known(app: FastAPI, files: FakeFiles) -> None:
    body, headers = form(b"words", {"purpose": "assistants", "metadata": '{"year": 2026, "who": "me"}'})
    caller = await call(app, FILES, body, headers=headers)

    assert caller.status == 200
    assert json.loads(caller.body) == {
        "id": file_id(1),
        "object": "file",
        "bytes": 5,
        "created_at": CREATED_S,
        "expires_at": None,
        "filename": "notes.txt",
        "purpose": "assistants",
        "status": "uploaded",
        "status_details": None,
        "media_type": "text/plain",
        "kind": "document",
        "sha256": hashlib.sha256(b"words").hexdigest(),
        "metadata": {"year": 2026, "who": "me"},
        "stage": None,
        "progress": 0.0,
        "segments": 0,
        "duration_s": None,
        "pages": None,
        "error": None,
        "duplicates": [],
    }
    assert files.data == {file_id(1): b"words"}


async def test_the_fields_may_come_in_any_order(app: FastAPI, files: FakeFiles) -> None:
    after = httpx.Request(
        "POST", "http://localhost", files=[("purpose", (None, "vision")), ("file", ("a.txt", b"x"))]
    )
    await call(app, FILES, after.read(), headers={"content-type": after.headers["content-type"]})
    await send(app, fields={"purpose": "vision"})

    assert [record.purpose for record in files.records.values()] == ["vision", "vision"]


async def test_a_large_file_is_written_while_it_comes(app: FastAPI, files: FakeFiles) -> None:
    data = bytes(range(256)) * 4096 * 3
    body, headers = form(data)
    caller = await call(app, FILES, body, headers=headers, chunk_bytes=1 << 16)

    assert caller.status == 200
    (upload,) = files.uploads
    assert (upload.data, upload.state) == (data, "added")
    assert len(upload.written) == 3
    assert max(map(len, upload.written)) < (1 << 20) + (1 << 16)


async def test_a_file_of_exactly_the_limit_is_taken(app: FastAPI) -> None:
    assert (await send(app, b"x" * UPLOAD_BYTES)).status == 200


async def test_a_larger_one_is_refused_as_soon_as_it_is_known(app: FastAPI, files: FakeFiles) -> None:
    body, headers = form(b"x" * (UPLOAD_BYTES + 1))
    caller = await call(app, FILES, body, headers=headers)

    assert (caller.status, caller.error["code"], caller.error["param"]) == (413, "media_too_large", "file")
    assert "4 MiB" in str(caller.error["message"])
    assert [upload.state for upload in files.uploads] == ["aborted"]
    assert files.records == {}


async def test_a_body_that_says_it_is_too_long_is_not_kept_at_all(app: FastAPI, files: FakeFiles) -> None:
    headers = {"content-length": str(UPLOAD_BYTES * 2), "content-type": "multipart/form-data; boundary=x"}
    caller = await call(app, FILES, b"x" * 1000, headers=headers)

    assert (caller.status, caller.error["code"]) == (413, "media_too_large")
    assert files.uploads == []


async def test_other_bodies_keep_their_own_limit(app: FastAPI) -> None:
    caller = await call(app, "/v1/chat/completions", b"x" * 1001)
    assert (caller.status, caller.error["code"]) == (413, "request_too_large")


@pytest.mark.parametrize(
    ("fields", "code", "param", "words"),
    [
        ({"purpose": "two words"}, "invalid_request", "purpose", "pattern"),
        ({"expires_after": '{"seconds": 1}'}, "unsupported_parameter", "expires_after", "not expire"),
        ({"expires_after[seconds]": "1"}, "unsupported_parameter", "expires_after", "not expire"),
        ({"metadata": "{"}, "invalid_request", "metadata", "JSON object"),
        ({"metadata": "[1]"}, "invalid_request", "metadata", "JSON object"),
        ({"metadata": "null"}, "invalid_request", "metadata", "JSON object"),
        ({"metadata": '{"a b": 1}'}, "invalid_request", "metadata", "keys of 1 to 64"),
        ({"metadata": json.dumps({"k" * 65: 1})}, "invalid_request", "metadata", "keys of 1 to 64"),
        ({"metadata": '{"": 1}'}, "invalid_request", "metadata", "keys of 1 to 64"),
        ({"metadata": '{"a": null}'}, "invalid_request", "metadata", "texts, numbers"),
        ({"metadata": '{"a": [1]}'}, "invalid_request", "metadata", "texts, numbers"),
        ({"metadata": '{"a": NaN}'}, "invalid_request", "metadata", "JSON object"),
        ({"metadata": '{"a": 1e999}'}, "invalid_request", "metadata", ""),
        ({"metadata": json.dumps({"a": 2**63})}, "invalid_request", "metadata", "64 bits"),
        ({"metadata": json.dumps({"a": "x" * 513})}, "invalid_request", "metadata", "512"),
        ({"metadata": '{"a": "\\u0000"}'}, "invalid_request", "metadata", "NUL"),
        ({"metadata": '{"a": 1, "b": 1, "c": 1, "d": 1}'}, "invalid_request", "metadata", "3 keys"),
        ({"metadata[a b]": "1"}, "invalid_request", "metadata", "keys of 1 to 64"),
    ],
    ids=str,
)
async def test_wrong_fields_are_named_and_nothing_is_kept(
    app: FastAPI, files: FakeFiles, fields: dict[str, str], code: str, param: str, words: str
) -> None:
    caller = await send(app, fields=fields)

    assert (caller.status, caller.error["code"], caller.error["param"]) == (400, code, param)
    assert words in str(caller.error["message"])
    assert [upload.state for upload in files.uploads] == ["aborted"]


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ({}, {}),
        ({"metadata": "{}"}, {}),
        (
            {"metadata": '{"a": true, "b": 1, "c": 1.5}'},
            {"a": True, "b": 1, "c": 1.5},
        ),
        ({"metadata[a]": "1", "metadata[b.c-d_e]": "Grüße"}, {"a": "1", "b.c-d_e": "Grüße"}),
        ({"metadata": json.dumps({"k" * 64: "x" * 512})}, {"k" * 64: "x" * 512}),
    ],
    ids=str,
)
async def test_metadata_keep_their_types(
    app: FastAPI, files: FakeFiles, fields: dict[str, str], found: dict[str, object]
) -> None:
    assert (await send(app, fields=fields)).status == 200
    metadata = files.records[file_id(1)].metadata
    assert metadata == found
    assert [type(value) for value in metadata.values()] == [type(value) for value in found.values()]


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("C:\\photos\\sea.png", "sea.png"),
        ("../../etc/passwd", "passwd"),
        ("Grüße 你好.txt", "Grüße 你好.txt"),
        ("x" * 300 + ".mp4", "x" * 251 + ".mp4"),
        ("..", "upload"),
    ],
)
async def test_file_names_are_made_harmless(app: FastAPI, given: str, kept: str) -> None:
    body, headers = form(filename=given)
    assert json.loads((await call(app, FILES, body, headers=headers)).body)["filename"] == kept


async def test_a_form_without_its_file_is_refused(app: FastAPI, files: FakeFiles) -> None:
    caller = await send(app, None)
    assert (caller.status, caller.error["param"]) == (400, "file")
    assert files.uploads == []


async def test_an_empty_file_is_refused(app: FastAPI) -> None:
    caller = await send(app, b"")
    assert (caller.status, caller.error["code"]) == (400, "invalid_media")


async def test_a_client_that_goes_away_leaves_nothing(app: FastAPI, files: FakeFiles) -> None:
    body, headers = form(b"x" * (3 << 20))
    headers["content-length"] = str(len(body))
    caller = Caller(app, FILES, body[:-5000], headers=headers, cut=True)
    caller.go_away()
    await caller.task

    assert [upload.state for upload in files.uploads] == ["aborted"]
    assert files.records == {}


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (QuotaExceeded("Full."), 413, "quota_exceeded"),
        (StageUnavailable("Down."), 503, "stage_unavailable"),
        (OSError("disk"), 500, "internal_error"),
    ],
)
async def test_a_store_that_fails_is_an_error_and_leaves_nothing(
    app: FastAPI, files: FakeFiles, error: Exception, status: int, code: str
) -> None:
    files.error = error
    body, headers = form(b"x" * (2 << 20))
    caller = await call(app, FILES, body, headers=headers, chunk_bytes=1 << 16)

    assert (caller.status, caller.error["code"]) == (status, code)
    assert [upload.state for upload in files.uploads] == ["aborted"]


async def test_the_same_bytes_name_each_other(app: FastAPI) -> None:
    await send(app)
    second = json.loads((await send(app)).body)
    assert second["duplicates"] == [
        {"file_id": file_id(1), "similarity": 1.0, "exact": True, "start_s": None}
    ]


# --- look at -----------------------------------------------------------------------------------


async def test_progress_and_errors_are_shown(client: httpx.AsyncClient, files: FakeFiles) -> None:
    record = files.put(b"film", kind=MediaKind.VIDEO, status=FileStatus.PROCESSING, stage="encode")
    files.change(record.id, progress=0.25, duration_s=12.5)
    shown = (await client.get(f"{FILES}/{record.id}")).json()
    assert (shown["status"], shown["stage"], shown["progress"]) == ("processing", "encode", 0.25)
    assert shown["duration_s"] == 12.5

    files.change(
        record.id, status=FileStatus.ERROR, error_code="invalid_media", error_message="It is damaged."
    )
    shown = (await client.get(f"{FILES}/{record.id}")).json()
    assert (shown["status"], shown["status_details"]) == ("error", "It is damaged.")
    assert shown["error"] == {"code": "invalid_media", "message": "It is damaged."}


@pytest.mark.parametrize("name", [file_id(7), "file-x", "x" * 300, "%00", "a%2Fb"])
@pytest.mark.parametrize(
    ("method", "rest"), [("GET", ""), ("DELETE", ""), ("POST", "/retry"), ("GET", "/content")]
)
async def test_unknown_files(client: httpx.AsyncClient, method: str, rest: str, name: str) -> None:
    response = await client.request(method, f"{FILES}/{name}{rest}")
    assert response.status_code == 404
    error = response.json()["error"]
    assert (error["code"], error["type"]) in (
        ("file_not_found", "not_found_error"),
        ("not_found", "not_found_error"),  # a slash in the name
    )


async def test_tenants_do_not_see_each_others_files(service: FakeService) -> None:
    app = create_app(lambda: service, AppArgs(api=ApiArgs(keys=KEYS)))
    async with official_client(app, "one") as one, official_client(app, "two") as two:
        file = await one.files.create(file=b"mine", purpose="user_data")
        assert [shown.id async for shown in one.files.list()] == [file.id]
        assert [shown.id async for shown in two.files.list()] == []
        for refused in (two.files.retrieve, two.files.delete, two.files.content):
            with pytest.raises(openai.NotFoundError):
                await refused(file.id)
        assert (await one.files.content(file.id)).content == b"mine"


async def test_retry(client: httpx.AsyncClient, files: FakeFiles) -> None:
    record = files.put(b"x", status=FileStatus.ERROR, error_code="invalid_media", error_message="No.")
    shown = (await client.post(f"{FILES}/{record.id}/retry")).json()
    assert (shown["status"], shown["error"]) == ("uploaded", None)

    files.change(record.id, status=FileStatus.PROCESSING)
    response = await client.post(f"{FILES}/{record.id}/retry")
    assert (response.status_code, response.json()["error"]["code"]) == (400, "invalid_request")


# --- lists -------------------------------------------------------------------------------------


async def ids(client: httpx.AsyncClient, **params: str | int) -> list[str]:
    response = await client.get(FILES, params=params)
    assert response.status_code == 200, response.text
    return [file["id"] for file in response.json()["data"]]


async def test_lists_have_pages(client: httpx.AsyncClient, files: FakeFiles) -> None:
    for number in range(3):
        files.put(bytes([number]))
    page = (await client.get(FILES, params={"limit": 2})).json()
    assert (page["object"], page["has_more"]) == ("list", True)
    assert (page["first_id"], page["last_id"]) == (file_id(3), file_id(2))

    page = (await client.get(FILES, params={"after": page["last_id"]})).json()
    assert [file["id"] for file in page["data"]] == [file_id(1)]
    assert page["has_more"] is False


async def test_an_empty_list(client: httpx.AsyncClient) -> None:
    expected = {"object": "list", "data": [], "has_more": False, "first_id": None, "last_id": None}
    assert (await client.get(FILES)).json() == expected


async def test_lists_are_ordered_and_filtered(client: httpx.AsyncClient, files: FakeFiles) -> None:
    files.put(b"a", purpose="vision")
    files.put(b"b", status=FileStatus.PROCESSED)

    assert await ids(client) == [file_id(2), file_id(1)]
    assert await ids(client, order="asc") == [file_id(1), file_id(2)]
    assert await ids(client, purpose="vision") == [file_id(1)]
    assert await ids(client, status="processed") == [file_id(2)]
    assert await ids(client, sha256=hashlib.sha256(b"b").hexdigest()) == [file_id(2)]
    assert await ids(client, sha256="0" * 64) == []


@pytest.mark.parametrize(
    ("params", "status", "param"),
    [
        ({"limit": "0"}, 400, "limit"),
        ({"limit": "10001"}, 400, "limit"),
        ({"order": "up"}, 400, "order"),
        ({"status": "lost"}, 400, "status"),
        ({"sha256": "abc"}, 400, "sha256"),
        ({"purpose": "x" * 65}, 400, "purpose"),
        ({"after": file_id(9)}, 404, None),
        ({"after": "\0"}, 404, "after"),
    ],
    ids=str,
)
async def test_wrong_lists(
    client: httpx.AsyncClient, params: dict[str, str], status: int, param: str | None
) -> None:
    response = await client.get(FILES, params=params)
    assert response.status_code == status
    assert str(response.json()["error"]["param"]).endswith(str(param))


# --- OpenAI's client ---------------------------------------------------------------------------


async def test_openais_client_goes_all_the_way(official: openai.AsyncOpenAI, files: FakeFiles) -> None:
    file = await official.files.create(file=("walk.txt", b"a walk by the sea"), purpose="assistants")
    assert (file.object, file.filename, file.bytes) == ("file", "walk.txt", 17)
    assert file.purpose == "assistants"
    assert await official.files.retrieve(file.id) == file
    assert (await official.files.content(file.id)).content == b"a walk by the sea"

    deleted = await official.files.delete(file.id)
    assert (deleted.id, deleted.object, deleted.deleted) == (file.id, "file", True)
    assert files.records == {}
    with pytest.raises(openai.NotFoundError) as caught:
        await official.files.retrieve(file.id)
    assert caught.value.code == "file_not_found"


async def test_openais_client_turns_pages(official: openai.AsyncOpenAI, files: FakeFiles) -> None:
    for number in range(5):
        files.put(bytes([number]))
    newest_first = [file.id async for file in official.files.list(limit=2)]
    assert newest_first == [file_id(number) for number in (5, 4, 3, 2, 1)]
    assert [file.id async for file in official.files.list(limit=3, order="asc")] == newest_first[::-1]


async def test_openais_client_sends_metadata_as_texts(official: openai.AsyncOpenAI, files: FakeFiles) -> None:
    extra = cast(object, {"metadata": {"project": "blue"}})
    await official.files.create(file=b"words", purpose="user_data", extra_body=extra)
    assert files.records[file_id(1)].metadata == {"project": "blue"}


async def test_openais_client_waits_for_processing(official: openai.AsyncOpenAI, files: FakeFiles) -> None:
    record = files.put(b"x", status=FileStatus.PROCESSED)
    assert (await official.files.wait_for_processing(record.id)).status == "processed"


async def test_the_library_is_told_who_asks(app: FastAPI, library: FakeLibrary) -> None:
    await send(app)
    (context,) = library.contexts
    assert (context.tenant, context.deadline_s) == ("local", NOW_S + AppArgs().deadline.base_s)


async def test_a_refused_method_names_those_of_all_endpoints_of_the_path(client: httpx.AsyncClient) -> None:
    for path, allowed in (
        (FILES, "GET, POST"),
        (f"{FILES}/{file_id(1)}", "DELETE, GET"),
        (f"{FILES}/{file_id(1)}/content", "GET, HEAD"),
    ):
        response = await client.put(path)
        assert (response.status_code, response.headers["allow"]) == (405, allowed)
